"""What can be wrong with a picture: each check looks at the pictures as a whole and names those that it marks.

`CHECKS` lists them in order of precedence: a picture gets the reason of the first check that marks it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from imageloom.params import UNLABELLED


@dataclass
class Picture:
    """What the checks know of one picture.

    Args:
        id: SHA-256 of its bytes.
        classes: The classes that it was found under, in the order of first sight.
        width: In pixels.
        height: In pixels.
        copies: How many addresses gave these same bytes.
    """

    id: str
    classes: list[str] = field(default_factory=list)
    width: int = 0
    height: int = 0
    copies: int = 0

    @property
    def labels(self) -> list[str]:
        """The classes that say what it shows; a picture of the pool may have been found under one as well."""
        return [name for name in self.classes if name != UNLABELLED]


@dataclass(frozen=True)
class Evidence:
    """What the checks may use beside the pictures.

    Args:
        undecodable: Pictures that could not be opened: id -> why.
        min_side: The shorter side must have this many pixels.
    """

    undecodable: dict[str, str]
    min_side: int


def undecodable(picture: Picture, evidence: Evidence) -> bool:
    """The file cannot be opened as a picture."""
    return picture.id in evidence.undecodable


def too_small(picture: Picture, evidence: Evidence) -> bool:
    """Its shorter side has fewer pixels than `clean.min_side`."""
    return min(picture.width, picture.height) < evidence.min_side


def two_classes(picture: Picture, evidence: Evidence) -> bool:
    """The same bytes were found under more than one class, so that neither label can be trusted."""
    return len(picture.labels) > 1


def unlabelled(picture: Picture, evidence: Evidence) -> bool:
    """It is in the pool, and nobody has said yet what it shows."""
    return not picture.labels


CHECKS: dict[str, Callable[[Picture, Evidence], bool]] = {
    "undecodable": undecodable,
    "too_small": too_small,
    "two_classes": two_classes,
    "unlabelled": unlabelled,
}
