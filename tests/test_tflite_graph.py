"""What a TFLite model is made of is found in its bytes, and more outputs change nothing of its answers."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import Builder

from imageloom.engine import Engine
from imageloom.errors import ModelError
from imageloom.tflite_graph import TFLiteGraph


def changed(content: bytes, change) -> bytes:
    """The model after `change` has been applied to the objects of TFLite's own schema."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content)))
    change(model)
    builder = Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)


@pytest.fixture
def engine_of(tmp_path):
    def make(content: bytes, *more, **named) -> Engine:
        (tmp_path / "a model.tflite").write_bytes(content)
        return Engine(tmp_path / "a model.tflite", *more, **named)

    return make


def test_layers_are_found_and_mean_what_they_should(colour_tflite, engine_of):
    graph = TFLiteGraph(colour_tflite)
    features = graph.features()
    activations = graph.pooled_map(features)
    assert (graph.shape(features), graph.shape(activations)) == ([1, 3], [1, 32, 32, 3])
    engine = engine_of(colour_tflite, (features, activations))
    output, vector, places = engine.tensors(picture(), features, activations)
    assert np.array_equal(output, engine_of(colour_tflite)(picture()))
    assert vector == pytest.approx(picture().mean(axis=(0, 1)) / 255, abs=1e-6)
    assert places == pytest.approx(picture() / 255, abs=1e-6)


def test_a_backbone_ends_in_its_features(tiles_backbone):
    graph = TFLiteGraph((tiles_backbone / "backbone.tflite").read_bytes())
    assert graph.features() is None  # no dense layer
    assert graph.pooled_map() is None  # pooled by tiles, not as a whole


def test_the_file_itself_keeps_one_output_and_an_output_is_not_repeated(colour_tflite):
    graph = TFLiteGraph(colour_tflite)
    assert len(graph.outputs) == 1
    more = TFLiteGraph(graph.with_outputs([graph.features(), graph.outputs[0], graph.features()]))
    assert more.outputs == [graph.outputs[0], graph.features()]
    interpreter = Interpreter(model_content=graph.with_outputs([graph.features()]))
    assert [detail["index"] for detail in interpreter.get_output_details()] == more.outputs
    assert TFLiteGraph(colour_tflite).outputs == graph.outputs


def test_tflites_own_reader_finds_the_same(colour_tflite):
    graph = TFLiteGraph(colour_tflite)
    content = graph.with_outputs([graph.features()])
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content)))
    theirs = model.subgraphs[0]
    assert list(theirs.outputs) == [*graph.outputs, graph.features()]
    assert [list(tensor.shape) for tensor in theirs.tensors] == [graph.shape(i) for i in range(len(theirs.tensors))]


def test_a_tensor_that_is_not_there_is_refused(colour_tflite, engine_of):
    for number in (-1, 99, 2**40):
        with pytest.raises(ModelError, match=f"has no tensor {number}"):
            engine_of(colour_tflite, (number,))


@pytest.mark.parametrize("content", [b"", b"TFL3", b"<html>404</html>" * 9, b"\x80\x02}q\x00.", b"\x00" * 4096])
def test_what_is_no_tflite_model_is_refused(content, engine_of):
    with pytest.raises(ModelError, match="is no TFLite model"):
        engine_of(content)


def test_a_model_that_is_cut_short_anywhere_is_an_error_and_no_crash(colour_tflite, engine_of):
    whole = engine_of(colour_tflite)(picture())
    refused = 0
    for length in range(0, len(colour_tflite), 7):
        try:
            answer = engine_of(colour_tflite[:length])(picture())
        except ModelError:
            refused += 1
        else:
            assert np.array_equal(answer, whole)  # nothing but padding was lost
    assert refused >= len(range(0, len(colour_tflite), 7)) - 8


def test_an_operator_that_is_not_tflites_own_is_named(colour_tflite, engine_of):
    def make_custom(model) -> None:
        code = next(one for one in model.operatorCodes if one.builtinCode == schema.BuiltinOperator.SOFTMAX)
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode = b"FancySoftmax"

    content = changed(colour_tflite, make_custom)
    assert TFLiteGraph(content).custom_operators == ["FancySoftmax"]
    with pytest.raises(ModelError, match="needs the operator 'FancySoftmax', which LiteRT does not have") as caught:
        engine_of(content)
    assert caught.value.hint
    assert TFLiteGraph(changed(colour_tflite, lambda model: None)).custom_operators == []


def test_a_mean_over_other_axes_is_no_pooled_map(colour_tflite):
    def over_one_axis(model) -> None:
        graph = model.subgraphs[0]
        mean = next(
            one
            for one in graph.operators
            if model.operatorCodes[one.opcodeIndex].builtinCode == schema.BuiltinOperator.MEAN
        )
        model.buffers[graph.tensors[mean.inputs[1]].buffer].data = np.array([1, 3], np.int32).view(np.uint8)

    assert TFLiteGraph(changed(colour_tflite, over_one_axis)).pooled_map(TFLiteGraph(colour_tflite).features()) is None
