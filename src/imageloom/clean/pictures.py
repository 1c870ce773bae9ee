"""The pictures as they were found, and what people decided about them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from imageloom.decisions import Decided
from imageloom.params import UNLABELLED

# What someone said who looked at the picture, after which no check marks it.
SETTLING = ("label", "relabel", "keep")


@dataclass
class Picture:
    """One picture, whatever the number of addresses that gave it.

    Args:
        id: SHA-256 of its bytes.
        first: The manifest's row that saw it first.
        crawl: Number, from 0, of the crawl that first saw it.
        classes: The classes that it was found under, in the order of first sight.
        copies: How many addresses gave these same bytes.
        given: The class that it was given in review; empty where it was given none.
        decided: The decision that stands: label, relabel, drop or keep; empty where there is none.
        reason: Why it is not used whatever the checks say: undecodable, dropped, too_small, two_classes, unlabelled.
    """

    id: str
    first: Mapping[str, Any]
    crawl: int = 0
    classes: list[str] = field(default_factory=list)
    copies: int = 0
    given: str = ""
    decided: str = ""
    reason: str = ""

    @property
    def labels(self) -> list[str]:
        """The classes that say what it shows; a picture of the pool may have been found under one as well."""
        return [name for name in self.classes if name != UNLABELLED]

    @property
    def class_name(self) -> str:
        """The class that it was given, else the first that it was found under; UNLABELLED where there is none."""
        return self.given or (self.labels or self.classes)[0]

    @property
    def path(self) -> str:
        """Its file, below data/raw."""
        return str(self.first["path"])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.first["width"])

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.first["height"])

    @property
    def settled(self) -> bool:
        """Whether someone looked at it and said what it is."""
        return self.decided in SETTLING

    @property
    def opens(self) -> bool:
        """Whether it is looked at at all: what was dropped still holds its group of near duplicates together."""
        return self.reason != "undecodable"

    @property
    def usable(self) -> bool:
        """Whether checks mark it."""
        return self.reason not in ("undecodable", "dropped", "too_small")

    @property
    def trusted(self) -> bool:
        """Whether a probe may be fitted on it: it has one class, and can be used."""
        return not self.reason


def read(
    manifest: Iterable[dict[str, Any]], undecodable: Mapping[str, str], decided: Decided, min_side: int
) -> list[Picture]:
    """The pictures in the order of their ids.

    Args:
        manifest: Rows of `tables.MANIFEST`.
        undecodable: Pictures that could not be opened: id -> why.
        decided: What people decided.
        min_side: Pixels that the shorter side must have, unless somebody says that the picture is fine.
    """
    rows = sorted(manifest, key=lambda row: (row["first_seen"], row["class"], row["url"]))
    crawls = {moment: number for number, moment in enumerate(sorted({row["first_seen"] for row in rows}))}
    pictures: dict[str, Picture] = {}
    for row in rows:
        if not row["sha256"] or not row["used"]:
            continue
        picture = pictures.setdefault(row["sha256"], Picture(row["sha256"], row, crawls[row["first_seen"]]))
        picture.copies += 1
        if row["class"] not in picture.classes:
            picture.classes.append(row["class"])
    for picture in pictures.values():
        picture.given = decided.label(picture.id) or ""
        standing = decided.standing(picture.id)
        picture.decided = standing.decision if standing else ""
        picture.reason = _reason(picture, picture.id in undecodable, min_side)
    return [pictures[name] for name in sorted(pictures)]


def _reason(picture: Picture, undecodable: bool, min_side: int) -> str:
    reasons = {
        "undecodable": undecodable,
        "dropped": picture.decided == "drop",
        "too_small": not picture.settled and min(picture.width, picture.height) < min_side,
        "two_classes": not picture.settled and not picture.given and len(picture.labels) > 1,
        "unlabelled": picture.class_name == UNLABELLED,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
