"""What a training that was killed goes on from: all that it has learnt, after each epoch, in files written whole."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import arrays, console, files
from imageloom.errors import ModelError
from imageloom.params import StageParams
from imageloom.recipes.data import Data
from imageloom.recipes.workshop import Workshop


def digest(data: Sequence[Data], params: StageParams, workshop: Workshop, code: Sequence[str]) -> str:
    """Of all that decides what a training makes, by which it is known again.

    Args:
        data: The pictures, training before validation; their features tell what is on them. What each counts, and the
            groups by which a probe that a training begins with is fitted, decide as well.
        params: Of the recipe.
        workshop: Where it works.
        code: Files of modules that a training which goes on must find unchanged.
    """
    digests = [files.sha256(Path(file)) for file in code]
    content = [params.model_dump(), workshop.pretrained.about["sha256"], workshop.aspect, digests]
    found = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for each in data:
        for values in (each.features, *each.views, each.classes.astype(np.int64), each.weights.astype(np.float64)):
            found.update(np.ascontiguousarray(values).tobytes())
        found.update(json.dumps(each.groups.tolist()).encode())
    return found.hexdigest()


class Checkpoints:
    """Those of one training, which is known by what goes into it: of another, nothing is taken.

    Args:
        kept: The folder for them; what another training left there is removed.
        key: Digest of all that decides what comes out.
        writes: Whether this process writes them, or reads them only.
    """

    def __init__(self, kept: Path, key: str, writes: bool = True) -> None:
        self.folder, self._writes = kept / key[:16], writes
        if writes and kept.exists():
            for other in kept.iterdir():
                if other != self.folder:
                    shutil.rmtree(other, ignore_errors=True)

    def read(self) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
        """The newest state, and the history up to it; both empty where there is none, or a file is damaged."""
        path = self.folder / "last.npz"
        if not path.exists():
            return [], []
        try:
            self.best()  # without it the training could not end
            return _read(path)
        except (ModelError, ValueError) as fault:
            console.warn(f"train: begins anew, since what was kept cannot be read: {fault}")
            return [], []

    def write(self, state: Sequence[np.ndarray], history: list[dict[str, Any]]) -> None:
        """Keeps the state after an epoch.

        Raises:
            ImageloomError: The disk is full, or the folder cannot be written.
        """
        self._write("last.npz", state, history)
        if self._writes:
            header = list(history[0])
            files.write_csv(self.folder / "history.csv", header, [list(row.values()) for row in history])

    def write_best(self, state: Sequence[np.ndarray]) -> None:
        """Keeps a state as the best so far; to be called before `write`, which tells of its epoch."""
        self._write("best.npz", state, [])

    def best(self) -> list[np.ndarray]:
        """The best state."""
        return _read(self.folder / "best.npz")[0]

    def _write(self, name: str, state: Sequence[np.ndarray], history: list[dict[str, Any]]) -> None:
        if not self._writes:
            return
        told = np.frombuffer(json.dumps(history).encode(), np.uint8)
        with files.atomic_file(self.folder / name) as temporary:
            numbered = {f"a{place}": values for place, values in enumerate(state)}
            arrays.save(temporary, history=told, count=np.array(len(state)), **numbered)


def _read(path: Path) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    told, count = arrays.load(path, ("history", "count"), "train")
    names = [f"a{place}" for place in range(int(count))]
    return arrays.load(path, names, "train"), json.loads(told.tobytes().decode())
