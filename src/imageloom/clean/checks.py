"""The checks of stage `clean`, in the order of precedence, and what becomes of what they mark."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from imageloom.clean.findings import Findings
from imageloom.clean.pictures import Picture
from imageloom.files import Paths
from imageloom.params import StageParams

Action = Literal["drop", "flag", "group"]


class CheckParams(StageParams):
    """Thresholds and actions of the checks."""

    def action(self, check: str) -> Action:
        """What becomes of a picture that the check marks."""
        return "flag"


@dataclass(frozen=True)
class Check:
    """A check.

    Args:
        name: In tables and parameters.
        title: In the report.
        help: What it marks, in a sentence.
    """

    name: str
    title: str
    help: str


CHECKS: dict[str, Check] = {}


def find(pictures: Sequence[Picture], params: CheckParams, paths: Paths) -> Findings:
    """Runs every check."""
    return Findings()
