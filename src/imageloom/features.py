"""The store of feature vectors, data/features/: `part-NNNN.parquet`, each with up to `PART` pictures in a fixed order.

New pictures become new parts, so that adding some costs what they cost. `recipe.json` says how the vectors were made; a
store made another way is not added to but made anew beside it, and replaced when that is whole. `failed.csv` lists the
pictures that could not be opened.
"""

import csv
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imageloom import files, tables
from imageloom.console import counted
from imageloom.errors import DataError

PART = 4096  # pictures; a part is rewritten whole or not at all, so this bounds what an interruption can cost
_ROWS = 256  # written at a time, which keeps memory flat


def schema(length: int) -> pa.Schema:
    """Columns of a part, for vectors of `length` numbers."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), length), nullable=False),
        ]
    )


def key(picture: str, view: str = "") -> str:
    """Under what the vector of a picture is stored: its id; that of another view of it, such as mirrored, beside it."""
    return f"{picture}:{view}" if view else picture


def picture_of(stored: str) -> str:
    """The id of the picture that a key is of."""
    return stored.partition(":")[0]


def view_of(stored: str) -> str:
    """Which view a key is of; empty for the picture itself."""
    return stored.partition(":")[2]


class FeatureStore:
    """Feature vectors by picture id, and of other views of the pictures by `key`.

    Args:
        folder: Where the parts stand.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def made_by(self) -> dict[str, Any]:
        """How the stored vectors were made.

        Raises:
            DataError: There are none.
        """
        return files.read_json(self._folder / "recipe.json", "embed")

    def prepare(self, recipe: dict[str, Any]) -> "FeatureStore":
        """The store that vectors made by `recipe` are to be added to, which `adopt` is given when it is whole.

        It is this one; or, while this one holds vectors made another way, one beside it. What a killed process left
        behind is put in order: of a store beside it, the parts that were finished are kept.
        """
        files.restore_folder(self._folder)
        if self._is_made_by(recipe) or not self._parts():
            store = self
            shutil.rmtree(self._beside, ignore_errors=True)
        else:
            store = FeatureStore(self._beside)
        store._begin(recipe)
        return store

    def adopt(self, store: "FeatureStore") -> None:
        """Becomes what `prepare` gave; its own vectors, if that is another, are removed."""
        if store is not self:
            files.replace_folder(self._folder, store._folder)

    def unfinished(self) -> "FeatureStore":
        """What an embedding that was interrupted left beside this store; without vectors where none was."""
        return FeatureStore(self._beside)

    def ids(self) -> list[str]:
        """Ids of the stored pictures, in the order of storage."""
        return [name for part in self._parts() for name in self._table(part, ["id"])["id"].to_pylist()]

    def views(self) -> list[str]:
        """Names of the views that are stored beside the pictures, sorted."""
        return sorted({view_of(name) for name in self.ids()} - {""})

    def append(self, vectors: Iterable[tuple[str, np.ndarray]], length: int) -> int:
        """Adds one part, and returns how many vectors went into it.

        Args:
            vectors: At most `PART` pairs of an id and float32[length].
            length: Numbers in a vector.
        """
        numbers = [int(part.stem.removeprefix("part-")) for part in self._parts()]
        target = self._folder / f"part-{max(numbers, default=0) + 1:04d}.parquet"
        count = 0
        with (
            files.atomic_file(target) as temporary,
            pq.ParquetWriter(temporary, schema(length), compression="none") as writer,
        ):
            for batch in _batches(vectors, _ROWS):
                writer.write_batch(_record_batch(batch, length))
                count += len(batch)
        if count == 0:
            target.unlink()
        return count

    def keep_only(self, ids: set[str]) -> int:
        """Drops the vectors of pictures that are no more, and returns how many those were."""
        dropped = 0
        for part in self._parts():
            table = self._table(part)
            mask = [name in ids for name in table["id"].to_pylist()]
            if all(mask):
                continue
            dropped += len(mask) - sum(mask)
            if any(mask):
                with files.atomic_file(part) as temporary:
                    pq.write_table(table.filter(tables.array(mask, pa.bool_())), temporary, compression="none")
            else:
                part.unlink()
        return dropped

    def read(self, ids: Sequence[str]) -> np.ndarray:
        """Vectors of the pictures `ids`, in their order.

        Returns:
            float32[len(ids), D].

        Raises:
            DataError: One has no vector, or a part is damaged.
        """
        row_of = {name: row for row, name in enumerate(ids)}
        matrix: np.ndarray | None = None
        found = 0
        for names, values in self.parts():
            if matrix is None:
                matrix = np.empty((len(ids), values.shape[1]), np.float32)
            pairs = [(row_of[name], row) for row, name in enumerate(names) if name in row_of]
            if pairs:
                targets, sources = map(list, zip(*pairs, strict=True))
                matrix[targets] = values[sources]
            found += len(pairs)
        if matrix is None or found != len(ids):
            raise DataError(f"no features of {counted(len(ids) - found, 'picture')}", "run `dvc repro embed`")
        return matrix

    def parts(self) -> Iterator[tuple[list[str], np.ndarray]]:
        """All vectors, up to `PART` at a time: ids, and float32[len(ids), D] in their order.

        Raises:
            DataError: A part is damaged.
        """
        for part in self._parts():
            table = self._table(part)
            length = table.schema.field("vector").type.list_size
            values = tables.to_numpy(table["vector"].combine_chunks().flatten())
            yield table["id"].to_pylist(), values.reshape(-1, length)

    def failed(self) -> dict[str, str]:
        """Pictures that could not be opened: id -> why."""
        try:
            with (self._folder / "failed.csv").open(encoding="utf-8", newline="") as file:
                return {row["id"]: row["error"] for row in csv.DictReader(file)}
        except FileNotFoundError:
            return {}

    def write_failed(self, failed: dict[str, str]) -> None:
        """Replaces the list of pictures that could not be opened."""
        files.write_csv(self._folder / "failed.csv", ["id", "error"], sorted(failed.items()))

    @property
    def _beside(self) -> Path:
        return self._folder.with_name(f".{self._folder.name}.new")

    def _begin(self, recipe: dict[str, Any]) -> None:
        """Removes what a killed process left half written, and vectors that were made another way."""
        for leftover in self._folder.glob(".*.tmp"):
            leftover.unlink()
        if self._is_made_by(recipe):
            return
        for part in self._parts():
            part.unlink()
        (self._folder / "failed.csv").unlink(missing_ok=True)
        files.write_json(self._folder / "recipe.json", recipe)

    def _is_made_by(self, recipe: dict[str, Any]) -> bool:
        try:
            return self.made_by() == recipe
        except DataError:
            return False

    def _table(self, part: Path, columns: list[str] | None = None) -> pa.Table:
        try:
            return tables.read_file(part, columns)
        except (pa.ArrowException, OSError) as fault:
            reason = str(fault).splitlines()[0]
            raise DataError(f"cannot read {part}: {reason}", "remove it and run `dvc repro --force embed`") from None

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("part-*.parquet"))


def _batches(vectors: Iterable[tuple[str, np.ndarray]], size: int) -> Iterator[list[tuple[str, np.ndarray]]]:
    batch: list[tuple[str, np.ndarray]] = []
    for pair in vectors:
        batch.append(pair)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _record_batch(batch: list[tuple[str, np.ndarray]], length: int) -> pa.RecordBatch:
    names = tables.array([name for name, _ in batch], pa.string())
    flat = tables.to_arrow(np.concatenate([vector for _, vector in batch]))
    return pa.RecordBatch.from_arrays([names, pa.FixedSizeListArray.from_arrays(flat, length)], schema=schema(length))
