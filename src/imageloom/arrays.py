"""Named arrays in one `.npz` file: read without pickles, and written so that the same arrays give the same bytes."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from imageloom.errors import ModelError


def save(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays under their names."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load(path: Path, names: Iterable[str], made_by: str) -> list[np.ndarray]:
    """Reads what `save` wrote.

    Args:
        path: The file.
        names: Of the arrays, in the order in which they are wanted.
        made_by: The stage that writes the file, for the hint.

    Raises:
        ModelError: The file is missing or damaged, lacks one of the arrays, or holds what is no number.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = [arrays[name] for name in names]
        if not all(np.isfinite(values).all() for values in found):
            raise ValueError("it holds what is infinite or no number")
        return found
    except FileNotFoundError:
        raise ModelError(f"no {path}", f"run `dvc repro {made_by}` first") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as fault:
        raise ModelError(f"{path} is damaged: {fault}", f"run `dvc repro --force {made_by}`") from fault
