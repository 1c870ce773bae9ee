"""int8 features are brought back to float32's."""

import numpy as np
import pytest

from imageloom import graphs
from imageloom.backbone import mobilenet_v2
from imageloom.engine import Engine
from imageloom.errors import ModelError
from imageloom.export import quantise
from imageloom.export.quantise import Representative, lines
from imageloom.export.tflite import take_pixels
from imageloom.tflite_editor import Graph

SIZE = 32


@pytest.fixture(scope="module")
def network():
    """A small network as hubs publish them: scaling by colour, two convolutions, the mean over height and width."""
    tf = graphs.tensorflow()
    random = np.random.default_rng(0)

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = tf.Variable(random.normal(0, 0.3, (3, 3, 3, 12)).astype(np.float32))
            self.second = tf.Variable(random.normal(0, 0.1, (3, 3, 12, 24)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)], autograph=False)
        def __call__(self, images):
            scaled = (images - tf.constant([0.485, 0.456, 0.406])) * tf.constant([4.4, 4.5, 4.4])
            once = tf.nn.relu6(tf.nn.conv2d(scaled, self.first, 2, "VALID"))
            return tf.reduce_mean(tf.nn.relu6(tf.nn.conv2d(once, self.second, 2, "VALID")), axis=[1, 2])

    return Network()


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Smooth pictures of many colours."""
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (80, 8, 8, 3))
    noisy = coarse.repeat(4, axis=1).repeat(4, axis=2) + random.normal(0, 10, (80, SIZE, SIZE, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def source(network) -> bytes:
    tf = graphs.tensorflow()
    concrete = tf.function(network.__call__).get_concrete_function(tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32))
    return graphs.to_tflite(concrete, network)


@pytest.fixture(scope="module")
def features(source, pixels, tmp_path_factory) -> np.ndarray:
    return run(source, pixels, tmp_path_factory.mktemp("float"))


def run(content: bytes, pixels: np.ndarray, folder) -> np.ndarray:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return np.stack([Engine(path)(image) for image in pixels])


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean square, against each feature's own spread."""
    return float(np.sqrt(np.square((found - wanted) / wanted.std(axis=0)).mean()))


def test_int8_features_are_nearer_than_the_converters(network, source, pixels, features, tmp_path):
    fitted = Representative(pixels[:40], features[:40])
    ours = quantise.backbone(source, fitted)
    plain = Graph(converted(network, fitted.pixels))
    plain.set_ends(take_pixels(plain), plain.output)
    unseen = slice(40, None)
    near, far = (error(run(graph.to_bytes(), pixels[unseen], tmp_path), features[unseen]) for graph in (ours, plain))
    assert near < 0.6 * far


def converted(network, pixels: np.ndarray) -> bytes:
    """What TensorFlow's converter makes of the network with the same pictures."""
    tf = graphs.tensorflow()
    concrete = tf.function(network.__call__).get_concrete_function(tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[np.newaxis] / np.float32(255)] for image in pixels)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def test_what_is_large_calculates_in_int8_and_the_ends_in_float32(source, pixels, features):
    graph = quantise.backbone(source, Representative(pixels[:12], features[:12]))
    int8 = graph.schema.TensorType.INT8
    steps = [(graph.name(one), graph.tensor(one.outputs[0]).type == int8) for one in graph.operators]
    assert steps[:4] == [("DEQUANTIZE", False), ("SUB", False), ("MUL", False), ("QUANTIZE", True)]
    assert steps[4:6] == [("CONV_2D", True), ("CONV_2D", True)]
    assert steps[6:] == [("DEQUANTIZE", False), ("MUL", False), ("ADD", False), ("MEAN", False)]


def test_a_range_is_that_of_three_pictures_of_four_and_holds_zero(source, pixels):
    graph = Graph(source)
    few = np.stack([image // divisor for image, divisor in zip(pixels, (1, 2, 3, 4, 9), strict=False)])
    found = quantise._ranges(graph, few)
    shifted = few / np.float32(255) - np.array([0.485, 0.456, 0.406], np.float32)  # by the graph's first operator
    least, most = found[graph.operators[0].outputs[0]]
    assert least == pytest.approx(np.quantile(shifted.min(axis=(1, 2, 3)), 0.25), abs=1e-5)
    assert most == pytest.approx(np.quantile(shifted.max(axis=(1, 2, 3)), 0.75), abs=1e-5)
    assert most < shifted.max()
    assert found[graph.input] == (0, 1)
    assert all(low <= 0 <= high for low, high in found.values())


def test_first_layers_stay_float32_as_far_as_their_share_goes(source, pixels, features, monkeypatch):
    monkeypatch.setattr(quantise, "_FLOAT_SHARES", (0.7,))
    graph = quantise.backbone(source, Representative(pixels[:12], features[:12]))
    int8 = graph.schema.TensorType.INT8
    layers = [graph.tensor(one.outputs[0]).type == int8 for one in graph.operators if graph.name(one) == "CONV_2D"]
    assert layers == [False, True]


def test_a_backbone_that_does_not_pool_is_corrected_at_its_end(tiles_backbone, pixels, tmp_path):
    source = (tiles_backbone / "backbone.tflite").read_bytes()
    wanted = run(source, pixels, tmp_path)
    graph = quantise.backbone(source, Representative(pixels[:40], wanted[:40]))
    assert error(run(graph.to_bytes(), pixels[40:], tmp_path), wanted[40:]) < 0.05


@pytest.mark.parametrize(("low", "layers"), [(10, [True, True]), (0, [False, True])])
def test_more_layers_stay_float32_until_the_noise_is_low(source, pixels, features, monkeypatch, low, layers):
    monkeypatch.setattr(quantise, "_FLOAT_SHARES", (0.1, 0.7))
    monkeypatch.setattr(quantise, "_LOW_NOISE", low)
    graph = quantise.backbone(source, Representative(pixels[:12], features[:12]))
    int8 = graph.schema.TensorType.INT8
    kinds = [graph.tensor(one.outputs[0]).type == int8 for one in graph.operators if graph.name(one) == "CONV_2D"]
    assert kinds == layers


def test_noise_is_what_differs_against_what_the_features_do():
    random = np.random.default_rng(2)
    wanted = random.normal(0, 2, (5000, 7)).astype(np.float32)
    assert quantise.noise(wanted + 3, wanted) == pytest.approx(0, abs=1e-6)
    assert quantise.noise(wanted + random.normal(0, 0.5, wanted.shape), wanted) == pytest.approx(0.25, rel=0.05)


def test_lines_find_what_was_done_to_the_features():
    random = np.random.default_rng(2)
    wanted = random.normal(size=(4000, 6)).astype(np.float32)
    slope, offset = lines((wanted - 3) / 2, wanted)
    assert slope == pytest.approx(2, rel=0.01)
    assert offset == pytest.approx(3, rel=0.01)


def test_few_pictures_say_little_of_the_slope_and_much_of_the_offset():
    random = np.random.default_rng(2)
    wanted = random.normal(size=(5, 4)).astype(np.float32)
    slope, _ = lines(2 * wanted, wanted)
    assert slope == pytest.approx((5 * 0.5 + 10) / 15)
    still = np.full((5, 4), 0.25, np.float32)
    slope, offset = lines(still, wanted)
    assert slope == pytest.approx(1)
    assert offset == pytest.approx(wanted.mean(axis=0) - 0.25, abs=1e-6)


def test_a_graph_that_cannot_be_quantised_is_told_as_users_are_told(source, pixels, monkeypatch):
    def refuse(*_args: object) -> bytes:
        raise RuntimeError("op 'tf.Odd' is neither a custom op nor a flex op\nmore")

    monkeypatch.setattr(graphs, "quantised", refuse)
    with pytest.raises(ModelError, match=r"cannot be quantised: op 'tf\.Odd' is neither") as told:
        quantise._quantise(quantise._with_ranges(source, pixels[:3]), 0.25)
    assert "export.formats" in told.value.hint


@pytest.mark.slow
def test_of_two_sizes_of_the_picture_both_keep_their_first_layers_in_float32(tmp_path):
    size, random = 128, np.random.default_rng(2)
    coarse = random.integers(0, 256, (30, 16, 16, 3)).repeat(8, axis=1).repeat(8, axis=2)
    pictures = np.clip(coarse + random.normal(0, 10, coarse.shape), 0, 255).astype(np.uint8)
    one, two = (mobilenet_v2.NETWORK.tflite(size, gives) for gives in ("multi", "pyramid"))
    wanted = run(two, pictures, tmp_path)
    graph = quantise.backbone(two, Representative(pictures, wanted))
    first = [graph.constant(one_.inputs[1]) for one_ in graph.operators if graph.name(one_) == "CONV_2D"]
    halves = first[: len(first) // 2], first[len(first) // 2 :]
    assert all(kernels[0] is not None and kernels[-1] is None for kernels in halves)
    alone = quantise.backbone(one, Representative(pictures, run(one, pictures, tmp_path)))
    assert len(graph.to_bytes()) < 1.2 * len(alone.to_bytes())  # a kernel is stored once
