"""What the checks find, for those who act on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Score:
    """What one check thinks of one picture.

    Args:
        id: The picture.
        check: The check's name.
        score: From 0, the worst, to 1.
        flagged: Whether the score is below the check's threshold.
        detail: Another class, the picture that it resembles, or what else belongs to it.
    """

    id: str
    check: str
    score: float
    flagged: bool
    detail: str = ""


@dataclass(frozen=True)
class Findings:
    """What all checks found.

    Args:
        scores: By picture and check.
        groups: Root of the near-duplicate group of each picture that has near duplicates.
        bridges: Pictures that link groups which stood apart in an earlier crawl.
        ids: The N pictures that have probabilities.
        probabilities: float32[N, K], by probes that were not fitted on the picture.
        classes: The K classes.
        looks: What decoding the pictures told, to be kept for the next time; None where nothing was decoded.
        links: Pairs of near duplicates, and how well their prints agree.
    """

    scores: Sequence[Score] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    bridges: frozenset[str] = frozenset()
    ids: Sequence[str] = ()
    probabilities: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    classes: Sequence[str] = ()
    looks: pa.Table | None = None
    links: Sequence[tuple[str, str, float]] = ()
