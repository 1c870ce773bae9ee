"""Which pictures a model was trained on, told beside it, so that none of them passes for a new one.

Of each picture's id, the SHA-256 of its bytes, the first eight bytes are kept: 8 MB for a million pictures, and one
picture in 2 * 10^13 is taken for one of them by chance.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imageloom import arrays

FILE = "trained_on.npz"

_DIGITS = 16  # of a SHA-256 in hexadecimal


@dataclass(frozen=True, eq=False)
class TrainedOn:
    """The pictures on which a model was fitted, and those by which its settings were chosen.

    Args:
        beginnings: uint64[N], the first eight bytes of their ids, ascending.
    """

    beginnings: np.ndarray

    @classmethod
    def of(cls, ids: Iterable[str]) -> "TrainedOn":
        """Pictures of these ids."""
        return cls(np.unique(np.array([_beginning(one) for one in ids], np.uint64)))

    def __contains__(self, id: str) -> bool:
        beginning = _beginning(id)
        place = int(np.searchsorted(self.beginnings, beginning))
        return place < len(self.beginnings) and self.beginnings[place] == beginning

    def save(self, path: Path) -> None:
        """Writes them as `.npz`; the same pictures give the same bytes."""
        arrays.save(path, beginnings=self.beginnings)

    @classmethod
    def load(cls, path: Path, made_by: str = "train") -> "TrainedOn":
        """Reads what `save` wrote.

        Args:
            path: The file.
            made_by: The stage that wrote it, for the hint.

        Raises:
            ModelError: The file is missing or damaged.
        """
        return cls(*arrays.load(path, ("beginnings",), made_by))


def _beginning(id: str) -> np.uint64:
    return np.uint64(int(id[:_DIGITS], 16))
