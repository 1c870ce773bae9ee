"""The Parquet tables through which the stages speak, each with a declared schema, written whole or not at all."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imageloom.errors import DataError
from imageloom.files import atomic_file

# One row per candidate ever seen: an address under a class, whatever became of it.
MANIFEST = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),  # a folder's file has the address file:<path below the project>
        pa.field("class", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # the source's kind
        pa.field("page", pa.string()),  # where the address was found
        pa.field("title", pa.string()),
        pa.field("author", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("used", pa.bool_(), nullable=False),  # whether params.yaml still has its kind of source and its class
        pa.field("status", pa.string(), nullable=False),  # one of fetch.status.Status
        pa.field("http_status", pa.int16()),
        pa.field("attempts", pa.int16(), nullable=False),
        pa.field("sha256", pa.string()),  # of the last bytes that were a picture, kept when a later crawl fails
        pa.field("path", pa.string()),  # below data/raw
        pa.field("bytes", pa.int64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("format", pa.string()),
        pa.field("etag", pa.string()),
        pa.field("last_modified", pa.string()),
        pa.field("fresh_until", pa.timestamp("s", tz="UTC")),  # until then its server need not be asked again
        pa.field("first_seen", pa.timestamp("s", tz="UTC"), nullable=False),  # the start of the crawl that first saw it
        pa.field("last_seen", pa.timestamp("s", tz="UTC"), nullable=False),
        pa.field("error", pa.string()),
    ]
)

LATER = ("fresh_until", "weight")  # columns that files of earlier versions lack: empty then

# One row per picture, by `id`, its bytes' SHA-256.
CLEAN = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("class", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # below data/raw
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("copies", pa.int32(), nullable=False),  # how many addresses gave these same bytes
        pa.field("crawl", pa.int32(), nullable=False),  # number, from 0, of the crawl that first saw it
        pa.field("group", pa.string(), nullable=False),  # id of the first-seen member of its near-duplicate group
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # why it is not kept; empty where it is
        pa.field("flags", pa.list_(pa.string()), nullable=False),  # the checks that marked it, though it is kept
        pa.field("decided", pa.string(), nullable=False),  # label, relabel, drop or keep in review; empty where none
        pa.field("url", pa.string(), nullable=False),
        # of the address that was seen first:
        pa.field("source", pa.string()),
        pa.field("page", pa.string()),
        pa.field("title", pa.string()),
        pa.field("author", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("format", pa.string()),
    ]
)

# One row per picture and check that looked at it.
SCORES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("check", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),  # from 0, the worst, to 1
        pa.field("flagged", pa.bool_(), nullable=False),  # and nobody decided that it is fine
        pa.field("detail", pa.string(), nullable=False),  # another class, the picture it resembles, ...; or empty
    ]
)

# One row per picture that was decoded for the checks; the schema's metadata says how under `made_by`.
LOOKS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("brightness_99", pa.float32(), nullable=False),  # percentiles of perceived brightness, from 0 to 1
        pa.field("brightness_5", pa.float32(), nullable=False),
        pa.field("entropy", pa.float32(), nullable=False),  # of the tones of grey, in bits
        pa.field("edges", pa.float32(), nullable=False),  # standard deviation of the edges
        pa.field("histogram", pa.float32(), nullable=False),  # standard deviation of the numbers of each tone
        pa.field("print", pa.binary(), nullable=False),  # see clean.prints
    ]
)

# One row per pair of near duplicates.
LINKS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False),
        pa.field("agreement", pa.float32(), nullable=False),  # of their prints, at most 1
    ]
)

# One row per picture: how probable each class is, by a probe that was not fitted on it. The schema's metadata has the
# classes under `classes`, as a JSON list.
PROBABILITIES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),
    ]
)

# One row per kept picture.
SPLIT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("class", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # below data/raw
        pa.field("group", pa.string(), nullable=False),
        pa.field("side", pa.string(), nullable=False),  # train, validation or test
        pa.field("weight", pa.float32()),  # how much it counts in training; 1 where it is empty
    ]
)

BATCH = 1024  # rows that are held as Python's objects at a time, where a table may be of any length
GROUP = 4 * BATCH  # rows of a row group in such a table

SIDES = ("train", "validation", "test")

_NUMBERS = {"float": "float32", "double": "float64"}  # Arrow's names of types that NumPy calls otherwise


def read(path: Path, schema: pa.Schema, made_by: str) -> pa.Table:
    """Reads a table.

    Args:
        path: The Parquet file.
        schema: What it must hold.
        made_by: The stage that writes it, for the hint.

    Raises:
        DataError: It is missing, damaged, or has other columns.
    """
    with _told(path, made_by):
        return _fitted(read_file(path), schema)


def read_file(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a Parquet file as it is, without the data sets and so the pandas that `pq.read_table` imports.

    Args:
        path: The file.
        columns: Those that are wanted; all of them if not given.

    Raises:
        ArrowException, OSError: It is missing or damaged, or lacks a column.
    """
    with pq.ParquetFile(path) as file:
        return file.read(columns)


def read_batches(path: Path, schema: pa.Schema, made_by: str) -> Iterator[pa.RecordBatch]:
    """Reads a table of any length, `BATCH` rows at a time; arguments and faults are those of `read`."""
    with _told(path, made_by), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH, use_threads=False):
            yield _fitted(batch, schema)


def write(path: Path, rows: Sequence[dict[str, Any]] | pa.Table, schema: pa.Schema) -> None:
    """Writes a table; the same rows give the same bytes.

    Raises:
        ImageloomError: The disk is full, or the folder cannot be written.
    """
    table = rows if isinstance(rows, pa.Table) else from_rows(rows, schema)
    with atomic_file(path) as temporary:
        pq.write_table(table.cast(schema), temporary, compression="zstd")


def write_batches(
    path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema, seal: Callable[[Path], None] | None = None
) -> None:
    """Writes a table of any length.

    Args:
        path: The Parquet file.
        batches: Its rows, up to `BATCH` at a time.
        schema: What they hold.
        seal: Called with the whole file before it takes its name, so that its writer can note what is coming.

    Raises:
        ImageloomError: The disk is full, or the folder cannot be written.
    """
    with atomic_file(path) as temporary:
        with temporary.open("wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                rows = iter(batches)
                while group := list(itertools.islice(rows, GROUP // BATCH)):
                    writer.write_table(pa.Table.from_batches(group, schema))
            file.flush()
            os.fsync(file.fileno())  # its writer may now forget what it knew
        if seal is not None:
            seal(temporary)


def use_little_memory() -> None:
    """Has Arrow give back what it no longer needs; its own pool keeps tens of megabytes for later."""
    pa.set_memory_pool(pa.system_memory_pool())


# Arrow asks pandas whether values are its own, and so imports it: 0.4 to 0.7 s and 50 MB, for which no stage has any
# use. What follows gives Arrow its values, and takes them, in ways that do not ask; a test watches over it.


def from_rows(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table of rows by column name; what a row lacks is null. As `pa.Table.from_pylist`, without pandas."""
    return pa.Table.from_arrays(
        [_column([row.get(each.name) for row in rows], each.type) for each in schema], schema=schema
    )


def to_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows by column name. As `pa.Table.to_pylist`, without pandas; moments are seconds since 1970."""
    for place, each in enumerate(table.schema):
        if pa.types.is_timestamp(each.type):
            table = table.set_column(place, each.name, table[each.name].cast(pa.int64()))
    return list(table.to_pylist())


def array(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
    """`pa.array`, without pandas and without Arrow's computing, which takes as long to load as a small crawl.

    Args:
        values: Text, numbers, seconds since 1970 for a timestamp, or None.
        kind: What they become.
    """
    if pa.types.is_string(kind):
        builder = pa.lib.StringBuilder()
        builder.append_values([None if value is None else str(value) for value in values])
        return builder.finish()
    listed = list(values)
    known = np.array([value is not None for value in listed], bool)
    numbers = np.array([0 if value is None else value for value in listed], _dtype(kind))
    data = np.packbits(numbers, bitorder="little") if pa.types.is_boolean(kind) else numbers
    validity = None if known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(kind, len(listed), [validity, pa.py_buffer(data)])


def to_arrow(values: np.ndarray) -> pa.Array:
    """Numbers as Arrow has them, row by row; they are not copied."""
    flat = np.ascontiguousarray(values).ravel()
    return pa.Array.from_buffers(pa.from_numpy_dtype(flat.dtype), len(flat), [None, pa.py_buffer(flat)])


def to_numpy(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Numbers as NumPy has them, to be read only.

    Args:
        column: Numbers, none of them null.
    """
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = _dtype(values.type)
    if not len(values):
        return np.empty(0, kind)
    return np.frombuffer(values.buffers()[1], kind, len(values), values.offset * kind.itemsize)


def _dtype(kind: pa.DataType) -> np.dtype:
    """What NumPy calls a kind of numbers; of a timestamp, its seconds."""
    return np.dtype("int64" if pa.types.is_timestamp(kind) else _NUMBERS.get(str(kind), str(kind)))


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_list(kind):
        inner = _column([item for value in values for item in value or ()], kind.value_type)
        return pa.ListArray.from_arrays(to_arrow(_ends([len(value or ()) for value in values])), inner)
    if pa.types.is_binary(kind):
        ends = to_arrow(_ends([len(value) for value in values])).buffers()[1]
        return pa.Array.from_buffers(kind, len(values), [None, ends, pa.py_buffer(b"".join(values))])
    if pa.types.is_timestamp(kind):
        values = [None if value is None else int(value.timestamp()) for value in values]
    return array(values, kind)


def _ends(lengths: Sequence[int]) -> np.ndarray:
    """int32[N + 1], where each of N pieces begins and ends when they follow each other."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int32)


def _fitted(rows: Any, schema: pa.Schema) -> Any:
    for field in schema:
        if field.name in LATER and field.name not in rows.schema.names:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    rows = rows.select(schema.names)
    return rows if rows.schema.equals(schema) else rows.cast(schema)


@contextlib.contextmanager
def _told(path: Path, made_by: str) -> Iterator[None]:
    """Tells of a table that cannot be read as users are told."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"no {path}", f"run `dvc repro {made_by}` first") from None
    except (pa.ArrowException, OSError, KeyError, ValueError) as fault:
        raise DataError(f"cannot read {path}: {fault}", f"run `dvc repro --force {made_by}` to make it again") from None
