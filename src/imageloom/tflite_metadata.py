"""Reads what a TFLite file tells about itself: its labels, and how the pixels are normalised.

Field numbers are those of TFLite Support's `metadata_schema.fbs`; labels stand in a zip archive behind the model.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from flatbuffers import number_types
from flatbuffers.table import Table

NAME = "TFLITE_METADATA"

MAX_LABELS_BYTES = 16_000_000  # a million labels; more is no list of classes

_UNREADABLE = (
    *(struct.error, IndexError, StopIteration, TypeError, ValueError, KeyError, OSError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)

# schema.fbs (of the model): numbers of the fields that are read.
_MODEL_BUFFERS, _MODEL_METADATA, _METADATA_NAME, _METADATA_BUFFER, _BUFFER_DATA = 4, 6, 0, 1, 0
# metadata_schema.fbs
_SUBGRAPHS, _INPUTS, _OUTPUTS, _PROCESS_UNITS, _FILES = 3, 2, 3, 4, 6
_OPTIONS_TYPE, _OPTIONS, _MEAN, _STD, _FILE_NAME, _FILE_TYPE = 0, 1, 0, 1, 0, 2
_NORMALIZATION_OPTIONS, _TENSOR_AXIS_LABELS = 1, 2


@dataclass(frozen=True)
class Metadata:
    """What a TFLite file tells about itself.

    Args:
        labels: Of the outputs, in their order; None where there are none.
        mean: What is subtracted from the pixels; None where it is not told, or differs by channel.
        std: What they are then divided by.
    """

    labels: tuple[str, ...] | None = None
    mean: float | None = None
    std: float | None = None


def read(content: bytes) -> Metadata:
    """The metadata in a `.tflite` file; empty where it holds none, or none that can be read.

    Args:
        content: The file's bytes.
    """
    try:
        told = _find(content)
        if told is None:
            return Metadata()
        graph = next(_tables(Table(told, _root(told)), _SUBGRAPHS))
        mean, std = _normalisation(graph)
        return Metadata(_labels(content, graph), mean, std)
    except _UNREADABLE:
        return Metadata()  # people can name the labels and say what the normalisation is


def lines(listed: bytes) -> tuple[str, ...]:
    """The labels in a file that has one on each line."""
    # Not splitlines(): a label may hold U+2028 or other characters that Python takes for the end of a line.
    text = listed.decode("utf-8-sig").removesuffix("\n")
    return tuple(line.removesuffix("\r") for line in text.split("\n"))


def _find(content: bytes) -> bytes | None:
    """The flatbuffer with the metadata, which is one of the model's buffers."""
    model = Table(content, _root(content))
    for entry in _tables(model, _MODEL_METADATA):
        if _text(entry, _METADATA_NAME) == NAME:
            number = entry.GetSlot(4 + 2 * _METADATA_BUFFER, 0, number_types.Uint32Flags)
            buffer = list(_tables(model, _MODEL_BUFFERS))[number]
            offset = buffer.Offset(4 + 2 * _BUFFER_DATA)
            start = buffer.Vector(offset)
            return content[start : start + buffer.VectorLen(offset)] if offset else None
    return None


def _normalisation(graph: Table) -> tuple[float | None, float | None]:
    for unit in _tables(next(_tables(graph, _INPUTS)), _PROCESS_UNITS):
        kind = unit.GetSlot(4 + 2 * _OPTIONS_TYPE, 0, number_types.Uint8Flags)
        if kind == _NORMALIZATION_OPTIONS:
            options = Table(unit.Bytes, unit.Indirect(_place(unit, _OPTIONS)))
            means, stds = _floats(options, _MEAN), _floats(options, _STD)
            if len(set(means)) == len(set(stds)) == 1 and stds[0]:
                return means[0], stds[0]
    return None, None


def _labels(content: bytes, graph: Table) -> tuple[str, ...] | None:
    for file in _tables(next(_tables(graph, _OUTPUTS)), _FILES):
        if file.GetSlot(4 + 2 * _FILE_TYPE, 0, number_types.Int8Flags) == _TENSOR_AXIS_LABELS:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                listed = archive.getinfo(_text(file, _FILE_NAME))
                return None if listed.file_size > MAX_LABELS_BYTES else lines(archive.read(listed))
    return None


def _root(content: bytes) -> int:
    return int(struct.unpack_from("<I", content)[0])


def _place(table: Table, field: int) -> int:
    """Where the field of a table stands; 0 where the table does not hold it."""
    offset = table.Offset(4 + 2 * field)
    return int(table.Pos + offset) if offset else 0


def _tables(table: Table, field: int) -> Iterator[Table]:
    """The tables of a vector of tables."""
    offset = table.Offset(4 + 2 * field)
    if offset:
        start = table.Vector(offset)
        for number in range(table.VectorLen(offset)):
            yield Table(table.Bytes, table.Indirect(start + 4 * number))


def _floats(table: Table, field: int) -> list[float]:
    offset = table.Offset(4 + 2 * field)
    if not offset:
        return []
    return list(struct.unpack_from(f"<{table.VectorLen(offset)}f", table.Bytes, table.Vector(offset)))


def _text(table: Table, field: int) -> str:
    place = _place(table, field)
    return table.String(place).decode("utf-8") if place else ""
