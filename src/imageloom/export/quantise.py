"""The backbone in int8, its features brought back to those on which the classifier was trained.

Plain post-training quantisation moves the features, and a classifier that was trained on the float ones errs on them.
Three things keep it right, so that head, temperature, distances and thresholds hold for int8 as they do for float32:

- What scales the pixels stays float32. With one int8 scale for three colours it would cost bits of every picture.
- So do the pooling and the classifier: a thousandth of the work, and the mean of 49 coarse numbers is a fine one.
- Behind the last quantised layer each of the D channels gets the line that best gives back its float feature, found on
  the representative pictures: the bias correction of Nagel et al. 2019, "Data-Free Quantization Through Weight
  Equalization and Bias Correction", section 4.2, with a slope, since rounding adds noise that a slope below 1 damps.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import graphs
from imageloom.engine import Engine, cores, map_ordered
from imageloom.errors import ModelError
from imageloom.export.tflite import ELEMENTWISE, Graph, take_pixels

# Pictures on which the ranges of the numbers inside are found, at 0.1 s each. More of them widen the ranges by
# outliers: on the demo 20, 50 and 100 pictures gave 95.7, 94.4 and 94.3 % of float32's answers.
_RANGES = 20

_PRIOR = 10  # pictures that a slope of 1 is worth


@dataclass(frozen=True)
class Representative:
    """Training pictures, and what the float backbone says of them.

    Args:
        pixels: uint8[N, S, S, 3] RGB.
        features: float32[N, D].
    """

    pixels: np.ndarray
    features: np.ndarray


def backbone(module: Any, source: bytes, pictures: Representative) -> Graph:
    """The backbone as a graph from uint8[1, S, S, 3] to float32[1, D] that calculates in int8.

    Args:
        module: The loaded SavedModel of the backbone.
        source: The same as a float32 TFLite model.
        pictures: What the ranges of the numbers inside, and the lines, are found on.

    Raises:
        ModelError: It does not convert.
    """
    graph = Graph(_convert(module, pictures.pixels[:_RANGES]))
    _scale_in_float(graph, Graph(source))
    place = _pool_in_float(graph)
    graph.widen()
    graph.set_ends(take_pixels(graph), graph.output)
    slope, offset = lines(_features(graph, pictures.pixels), pictures.features)
    _apply_lines(graph, place, slope, offset)
    return graph


def lines(found: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and offset, float32[D], of the least-squares lines from columns of `found` to those of `wanted`.

    Both are [N, D]. The slope is drawn towards 1, the more the fewer pictures there are.
    """
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    centred = found - found.mean(axis=0)
    variance = np.square(centred).mean(axis=0)
    covariance = (centred * (wanted - wanted.mean(axis=0))).mean(axis=0)
    moves = variance > 1e-12  # a feature that never changes tells nothing of its slope
    slope = np.divide(covariance, variance, out=np.ones_like(variance), where=moves)
    slope = (len(found) * slope + _PRIOR) / (len(found) + _PRIOR)
    offset = wanted.mean(axis=0) - slope * found.mean(axis=0)
    return slope.astype(np.float32), offset.astype(np.float32)


def _convert(module: Any, pixels: np.ndarray) -> bytes:
    tf = graphs.tensorflow()
    function = tf.function(lambda images: graphs.feature_vectors(module, images))
    concrete = function.get_concrete_function(tf.TensorSpec((1, *pixels.shape[1:]), tf.float32))
    try:
        return graphs.to_tflite(concrete, module, pixels)
    except Exception as fault:  # the converter has many ways to refuse a graph
        reason = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
        raise ModelError(f"the backbone cannot be quantised: {reason}", "take int8 out of export.formats") from fault


def _scale_in_float(graph: Graph, source: Graph) -> None:
    """Has the sums and products with constants that a backbone begins with run in float32, as they do in `source`."""
    quantise = graph.takers(graph.input)[0]
    steps = _scaling(source, source.input)
    old = _scaling(graph, quantise.outputs[0])
    if graph.name(quantise) != "QUANTIZE" or not steps or len(old) != len(steps):
        return
    new, place = [], graph.input
    for step in steps:
        constants = [source.constant(index) for index in step.inputs]
        inputs = [place if values is None else graph.add_constant("scaling", values) for values in constants]
        place = graph.add_tensor("scaled", source.tensor(step.outputs[0]).shape)
        new.append(graph.operator(source.name(step), inputs, place))
    new.append(graph.operator("QUANTIZE", [place], old[-1].outputs[0]))
    for one in old:
        graph.replace(one)
    graph.replace(quantise, *new)


def _scaling(graph: Graph, tensor: int) -> list[Any]:
    """The operators from a tensor on that do sums with one constant each."""
    steps: list[Any] = []
    while len(takers := graph.takers(tensor)) == 1 and graph.name(takers[0]) in ELEMENTWISE:
        others = [index for index in takers[0].inputs if index != tensor]
        bounded = takers[0].builtinOptions.fusedActivationFunction
        if bounded or len(others) != 1 or graph.maker(others[0]) is not None:
            break
        steps.append(takers[0])
        tensor = takers[0].outputs[0]
    return steps


def _pool_in_float(graph: Graph) -> int:
    """Has the mean over height and width run in float32 where the backbone ends in one.

    Returns:
        Index of the tensor float32[..., D] that the last quantised layer gives.
    """
    last = graph.maker(graph.output)
    pool = graph.maker(last.inputs[0]) if last is not None and graph.name(last) == "DEQUANTIZE" else None
    if pool is None or graph.name(pool) != "MEAN":
        return graph.output
    values = graph.add_tensor("map", graph.tensor(pool.inputs[0]).shape)
    dequantise = graph.operator("DEQUANTIZE", [pool.inputs[0]], values, version=2)
    pool.inputs[0], pool.outputs[0] = values, graph.output
    graph.replace(last)
    graph.replace(pool, dequantise, pool)
    return values


def _apply_lines(graph: Graph, place: int, slope: np.ndarray, offset: np.ndarray) -> None:
    """Puts the lines behind the operator that makes the tensor `place`."""
    maker, shape = graph.maker(place), graph.tensor(place).shape
    raw, sloped = graph.add_tensor("coarse", shape), graph.add_tensor("sloped", shape)
    maker.outputs[0] = raw
    graph.replace(
        maker,
        maker,
        graph.operator("MUL", [raw, graph.add_constant("slope", slope)], sloped),
        graph.operator("ADD", [sloped, graph.add_constant("offset", offset)], place),
    )


def _features(graph: Graph, pixels: np.ndarray) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "quantised.tflite"
        model.write_bytes(graph.to_bytes())
        return np.stack(list(map_ordered(Engine(model), pixels, cores())))
