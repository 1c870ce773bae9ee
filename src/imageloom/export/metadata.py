"""TFLite Metadata: what a classifier takes and answers, told inside its file.

MediaPipe's Tasks and Android's tools read it: the input's normalisation, and the labels, which are a file in a zip
archive behind the model. Field numbers are those of TFLite Support's `metadata_schema.fbs`, version 1.0.0.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers

NAME = "TFLITE_METADATA"  # under which readers look for it
LABELS_FILE = "labels.txt"

_PARSER = "1.0.0"
# Of the numbers that the input's own scale, 1/255, then turns back into pixels: these go in as they are.
_MEAN, _STD = 0.0, 255.0
# metadata_schema.fbs: numbers of enums and unions.
_TENSOR_AXIS_LABELS, _RGB = 2, 1
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES, _NORMALIZATION_OPTIONS = 1, 2, 1


@dataclass(frozen=True)
class About:
    """What the metadata tells.

    Args:
        name: Of the model.
        description: One sentence for people.
        licence: Of the backbone's weights; empty where it is not known.
        size: Side of the pictures, in pixels.
    """

    name: str
    description: str
    licence: str
    size: int


def metadata(about: About) -> bytes:
    """The flatbuffer `ModelMetadata` of a classifier from uint8 pixels to probabilities."""
    build = flatbuffers.Builder(1024)
    graph = _table(build, {2: ("offset", _vector(build, [_input(build, about.size)]))} | _output(build))
    texts = {0: about.name, 1: about.description, 5: about.licence, 7: _PARSER}
    fields = {slot: ("offset", build.CreateString(text)) for slot, text in texts.items() if text}
    build.Finish(_table(build, fields | {3: ("offset", _vector(build, [graph]))}), b"M001")
    return bytes(build.Output())


def with_labels(content: bytes, labels: Sequence[str]) -> bytes:
    """A model with its labels behind it, a line each; it can still be opened as a model and as a zip archive."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        # Readers map the file into memory, so it is stored as it is; and an archive's entry needs some date.
        entry = zipfile.ZipInfo(LABELS_FILE, date_time=(1980, 1, 1, 0, 0, 0))
        archive.writestr(entry, "".join(f"{label}\n" for label in labels).encode())
    return file.getvalue()


def _input(build: flatbuffers.Builder, size: int) -> int:
    square = _table(build, {0: ("uint32", size), 1: ("uint32", size)})
    image = _table(build, {0: ("int8", _RGB), 1: ("offset", square)})
    content = _table(build, {0: ("uint8", _IMAGE_PROPERTIES), 1: ("offset", image)})
    mean, std = _floats(build, [_MEAN]), _floats(build, [_STD])
    normalisation = _table(build, {0: ("offset", mean), 1: ("offset", std)})
    unit = _table(build, {0: ("uint8", _NORMALIZATION_OPTIONS), 1: ("offset", normalisation)})
    texts = {0: "image", 1: f"RGB picture of {size} x {size} pixels, 0 to 255"}
    fields = {slot: ("offset", build.CreateString(text)) for slot, text in texts.items()}
    units, stats = _vector(build, [unit]), _range(build, 0, 255)
    return _table(build, fields | {3: ("offset", content), 4: ("offset", units), 5: ("offset", stats)})


def _output(build: flatbuffers.Builder) -> dict[int, tuple[str, int]]:
    """The field of a subgraph's metadata that tells of its output."""
    name, about = build.CreateString(LABELS_FILE), build.CreateString("The classes, in the order of the probabilities.")
    labels = _table(build, {0: ("offset", name), 1: ("offset", about), 2: ("int8", _TENSOR_AXIS_LABELS)})
    content = _table(build, {0: ("uint8", _FEATURE_PROPERTIES), 1: ("offset", _table(build, {}))})
    texts = {0: "probability", 1: "Probability of each class; together they are one."}
    fields = {slot: ("offset", build.CreateString(text)) for slot, text in texts.items()}
    files, stats = _vector(build, [labels]), _range(build, 0, 1)
    tensor = _table(build, fields | {3: ("offset", content), 5: ("offset", stats), 6: ("offset", files)})
    return {3: ("offset", _vector(build, [tensor]))}


def _range(build: flatbuffers.Builder, least: float, most: float) -> int:
    largest, smallest = _floats(build, [most]), _floats(build, [least])
    return _table(build, {0: ("offset", largest), 1: ("offset", smallest)})


def _table(build: flatbuffers.Builder, fields: dict[int, tuple[str, Any]]) -> int:
    """A table: number of a field -> what kind of value, and the value; an offset is that of a part made before."""
    write = {
        "offset": build.PrependUOffsetTRelativeSlot,
        "uint32": build.PrependUint32Slot,
        "uint8": build.PrependUint8Slot,
        "int8": build.PrependInt8Slot,
    }
    build.StartObject(max(fields, default=-1) + 1)
    for slot, (kind, value) in fields.items():
        write[kind](slot, value, 0)
    return int(build.EndObject())


def _vector(build: flatbuffers.Builder, tables: Sequence[int]) -> int:
    build.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        build.PrependUOffsetTRelative(table)
    return int(build.EndVector())


def _floats(build: flatbuffers.Builder, values: Sequence[float]) -> int:
    build.StartVector(4, len(values), 4)
    for value in reversed(values):
        build.PrependFloat32(value)
    return int(build.EndVector())
