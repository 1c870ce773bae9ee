"""Constants that differ by colour only are repeated along a row of the picture, and no bit of an answer changes."""

import numpy as np
import pytest

from imageloom.engine import Engine
from imageloom.tflite_editor import Graph


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def backbone(tiles_backbone) -> bytes:
    return (tiles_backbone / "backbone.tflite").read_bytes()


def normalised(backbone: bytes) -> bytes:
    """The backbone behind a difference and a product that differ by colour."""
    graph = Graph(backbone)
    shape = graph.tensor(graph.input).shape
    raw, shifted = graph.add_tensor("raw", shape), graph.add_tensor("shifted", shape)
    mean = graph.add_constant("mean", np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 1, 1, 3))
    scale = graph.add_constant("scale", np.array([4.4, 4.5, 4.4], np.float32).reshape(1, 1, 1, 3))
    graph.put_first(graph.operator("SUB", [raw, mean], shifted), graph.operator("MUL", [shifted, scale], graph.input))
    graph.set_ends(raw, graph.output)
    return graph.to_bytes()


def answers(content: bytes, pixels: np.ndarray, path) -> np.ndarray:
    path.write_bytes(content)
    return np.stack([Engine(path)(image) for image in pixels])


def factors(graph: Graph) -> list[tuple[int, ...]]:
    """Shapes of the constants by which the picture is shifted and multiplied, in this order."""
    first, second = graph.operators[:2]
    return [graph.constant(one.inputs[1]).shape for one in (first, second)]


def test_rows_change_no_bit(backbone, pixels, tmp_path):
    narrow = normalised(backbone)
    graph = Graph(narrow)
    assert factors(graph) == [(1, 1, 1, 3)] * 2
    graph.widen()
    assert factors(graph) == [(1, 1, 32, 3)] * 2
    wide = graph.to_bytes()
    assert np.array_equal(answers(wide, pixels, tmp_path / "w.tflite"), answers(narrow, pixels, tmp_path / "n.tflite"))


def test_rows_are_made_once(backbone):
    graph = Graph(normalised(backbone))
    graph.widen()
    once = graph.to_bytes()
    graph.widen()
    assert graph.to_bytes() == once


@pytest.mark.parametrize(("channels", "repeated"), [(15, True), (16, False)])
def test_what_fills_a_register_is_not_repeated(backbone, channels, repeated):
    graph = Graph(backbone)
    inner, shifted = (graph.add_tensor(name, (1, 4, 5, channels)) for name in ("inner", "shifted"))
    one = graph.operator("ADD", [inner, graph.add_constant("bias", np.ones(channels, np.float32))], shifted)
    graph.put_last(one)
    graph.widen()
    assert graph.constant(one.inputs[1]).shape == ((1, 1, 5, channels) if repeated else (channels,))


def test_a_single_number_is_not_repeated(backbone):
    graph = Graph(backbone)
    inner, doubled = (graph.add_tensor(name, (1, 4, 5, 1)) for name in ("inner", "doubled"))
    one = graph.operator("MUL", [inner, graph.add_constant("two", np.array(2, np.float32))], doubled)
    graph.put_last(one)
    graph.widen()
    assert graph.constant(one.inputs[1]).shape == ()


def test_what_is_no_picture_has_no_rows(backbone, pixels, tmp_path):
    graph = Graph(backbone)
    kernel = graph.add_constant("kernel", np.eye(3, 48, dtype=np.float32))
    bias, third = (graph.add_constant(name, np.full(3, 1 / 3, np.float32)) for name in ("bias", "third"))
    first, shifted = (graph.add_tensor(name, (1, 3)) for name in ("first", "shifted"))
    graph.put_last(
        graph.operator("FULLY_CONNECTED", [graph.output, kernel, bias], first),
        graph.operator("SUB", [first, third], shifted),
    )
    graph.set_ends(graph.input, shifted)
    before = graph.to_bytes()
    graph.widen()
    assert graph.to_bytes() == before
    wanted = answers(backbone, pixels, tmp_path / "backbone.tflite")[:, :3]
    assert answers(before, pixels, tmp_path / "model.tflite") == pytest.approx(wanted, abs=1e-6)


def test_numbers_of_resources_leave_the_names_and_nothing_else(backbone, pixels, tmp_path):
    graph = Graph(backbone)
    plain = graph.tensor_name(graph.output)
    for index, name in ((graph.output, f"5776;{plain};12"), (graph.input, "41")):
        graph.tensor(index).name = name
    numbered = graph.to_bytes()
    graph.forget_numbers()
    assert graph.tensor_name(graph.output) == plain
    assert graph.tensor_name(graph.input) == f"tensor_{graph.input}"
    assert graph.to_bytes() != numbered
    assert np.array_equal(
        answers(graph.to_bytes(), pixels, tmp_path / "a.tflite"), answers(numbered, pixels, tmp_path / "b.tflite")
    )
