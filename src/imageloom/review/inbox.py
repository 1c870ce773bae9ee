"""Pictures that `imageloom serve` kept for a person to look at: `data/inbox/`, listed in its `inbox.csv`."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from imageloom.files import Paths

LIST = "inbox.csv"

_FILE = re.compile(r"[0-9a-f]{20}\.[a-z]{2,5}")


@dataclass(frozen=True)
class Kept:
    """One picture.

    Args:
        id: SHA-256 of its bytes.
        file: Its name in the inbox.
        predicted: The class that the model named.
        probability: How probable that was said to be.
        label: The class that a visitor says is right; empty where nobody said one.
        corrected: Whether a visitor said that the model is wrong.
    """

    id: str
    file: str
    predicted: str
    probability: float
    label: str
    corrected: bool

    def told(self) -> str:
        """Why it was kept, in words."""
        if not self.corrected:
            return "the model was not sure"
        return f"a visitor says: {self.label}" if self.label else "a visitor says: none of the classes"


def folder(paths: Paths) -> Path:
    """Where they are."""
    return paths.root / "data" / "inbox"


def read(paths: Paths) -> list[Kept]:
    """Every picture once, as its last line tells of it; lines that a person has spoilt are passed over."""
    found: dict[str, Kept] = {}
    try:
        with (folder(paths) / LIST).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                kept = _kept(row)
                if kept is not None:
                    found[kept.id] = kept
    except (OSError, UnicodeDecodeError, csv.Error):
        return list(found.values())
    return list(found.values())


def _kept(row: dict[str, str | None]) -> Kept | None:
    identity, name = row.get("id") or "", row.get("file") or ""
    if not re.fullmatch(r"[0-9a-f]{64}", identity) or not _FILE.fullmatch(name):
        return None
    try:
        probability = float(row.get("probability") or 0)
    except ValueError:
        probability = 0.0
    corrected = row.get("reason") == "correction"
    return Kept(identity, name, row.get("predicted") or "", probability, row.get("label") or "", corrected)
