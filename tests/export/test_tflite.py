"""TFLite files are put together on their flatbuffer without a bit of the backbone's answers being changed."""

import io
import zipfile

import flatbuffers
import numpy as np
import pytest

from imageloom import tflite_editor, tflite_metadata
from imageloom.engine import Engine
from imageloom.export import metadata, tflite
from imageloom.recipes.head import Head
from imageloom.tflite_graph import TFLiteGraph

LABELS = ["卡特彼勒", "rosa 🌹", "a\u2028b"]
ABOUT = metadata.About(name="imageloom probe", description="Three classes.", licence="BSD-3-Clause", size=32)


@pytest.fixture
def head() -> Head:
    random = np.random.default_rng(3)
    return Head(random.normal(size=(48, 3)).astype(np.float32), random.normal(size=3).astype(np.float32))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def backbone(tiles_backbone) -> bytes:
    return (tiles_backbone / "backbone.tflite").read_bytes()


def answers(content: bytes, pixels: np.ndarray, path) -> np.ndarray:
    path.write_bytes(content)
    return np.stack([Engine(path)(image) for image in pixels])


def test_classifier_is_the_backbone_and_the_head(backbone, head, pixels, tmp_path):
    features = answers(backbone, pixels, tmp_path / "backbone.tflite")
    found = answers(tflite.classifier(backbone, head).to_bytes(), pixels, tmp_path / "classifier.tflite")
    assert found == pytest.approx(head.probabilities(features), abs=1e-6)
    assert Engine(tmp_path / "classifier.tflite").input_dtype == np.uint8


def test_classifier_has_one_input_one_output_and_its_features_can_be_found(backbone, head, pixels, tmp_path):
    content = tflite.classifier(backbone, head).to_bytes()
    graph, path = TFLiteGraph(content), tmp_path / "classifier.tflite"
    path.write_bytes(content)
    assert len(graph.outputs) == 1
    index = graph.features()
    _, features = Engine(path, [index]).tensors(pixels[0], index)
    assert np.array_equal(features, answers(backbone, pixels[:1], tmp_path / "backbone.tflite")[0])


def test_constants_lie_where_a_runtime_may_map_them(backbone, head):
    content = tflite.classifier(backbone, head).to_bytes()
    places = buffer_places(content)
    assert len(places) > 3
    assert all(place % 16 == 0 for place in places)


def test_constants_without_the_alignment_would_be_noticed(backbone, head, monkeypatch):
    monkeypatch.setattr(tflite_editor, "_ALIGNMENT", 1)
    assert any(place % 16 for place in buffer_places(tflite.classifier(backbone, head).to_bytes()))


def buffer_places(content: bytes) -> list[int]:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(content, 0)
    tables = [model.Buffers(index)._tab for index in range(model.BuffersLength())]
    fields = [(table, flatbuffers.number_types.UOffsetTFlags.py_type(table.Offset(4))) for table in tables]
    return [table.Vector(field) for table, field in fields if field]


def test_float16_is_half_as_large_and_nearly_the_same(backbone, pixels, tmp_path):
    random = np.random.default_rng(5)
    large = Head(random.normal(size=(48, 2000)).astype(np.float32), np.zeros(2000, np.float32))
    whole = tflite.classifier(backbone, large)
    half = tflite.classifier(backbone, large)
    half.halve()
    assert len(half.to_bytes()) < 0.52 * len(whole.to_bytes())
    # The pixels, and the kernel; not the 8 kB of the bias.
    assert [half.tensor(one.inputs[0]).shape[-1] for one in half.operators if half.name(one) == "DEQUANTIZE"] == [48, 3]
    found, wanted = (answers(one.to_bytes(), pixels, tmp_path / "model.tflite") for one in (half, whole))
    assert not np.array_equal(found, wanted)
    assert found == pytest.approx(wanted, rel=0.05, abs=1e-6)


def test_metadata_tells_labels_and_normalisation_in_any_script(backbone, head, pixels, tmp_path):
    graph = tflite.classifier(backbone, head)
    before = answers(graph.to_bytes(), pixels, tmp_path / "model.tflite")
    graph.add_metadata(metadata.NAME, metadata.metadata(ABOUT))
    content = metadata.with_labels(graph.to_bytes(), LABELS)
    told = tflite_metadata.read(content)
    assert told.labels == tuple(LABELS)
    assert (told.mean, told.std) == (0.0, 255.0)
    assert np.array_equal(answers(content, pixels, tmp_path / "model.tflite"), before)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt"]


def test_same_changes_give_the_same_bytes(backbone, head):
    def make() -> bytes:
        graph = tflite.classifier(backbone, head)
        graph.halve()
        graph.add_metadata(metadata.NAME, metadata.metadata(ABOUT))
        return metadata.with_labels(graph.to_bytes(), LABELS)

    assert make() == make()
