"""The backbone in int8, its features brought back to those on which the classifier was trained.

Plain post-training quantisation moves the features, and a classifier that was trained on the float ones errs on them.
Four things keep it right, so that head, temperature, distances and thresholds hold for int8 as they do for float32:

- The first layers stay float32, as many as are needed to keep the noise in the features low. What they lose no later
  layer gives back, and their kernels are small: with a fourteenth of the work in float32 the demo's noise is 0.15 of
  the features' spread in place of 0.31.
- A tensor's range is the upper quartile of those that single pictures have, not the widest: an outlier is cut off,
  where it would make all other numbers coarse. Up to the last of the earlier maps that features are made of it is the
  upper tenth: pooling evens out what is coarse, and not what is cut off.
- The pooling and the classifier stay float32, too: a thousandth of the work, and the mean of many coarse ones is fine.
- Behind the last quantised layer each of the D channels gets the line that best gives back its float feature, found on
  the representative pictures: the bias correction of Nagel et al. 2019, "Data-Free Quantization Through Weight
  Equalization and Bias Correction", section 4.2, with a slope, since rounding adds noise that a slope below 1 damps.

That paper's equalisation of weights was tried and gave nothing more; nor did ranges of least square error, or fitting
the classifier anew on the int8 features.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import graphs
from imageloom.engine import Engine, cores, map_ordered
from imageloom.errors import ModelError
from imageloom.export.tflite import take_pixels
from imageloom.tflite_editor import Graph

_RANGES = 50  # pictures on which the ranges of the numbers inside are found

# Of the ranges that single pictures have: what is taken, and what where features are made of the maps that follow.
_USUAL, _BEFORE_JOINED = 0.75, 0.9

# Shares of all multiplications, by the layers that stay float32 at most, in the order in which they are tried, and the
# noise that is low enough: with 0.15 no accuracy was lost on two sets, with 0.25 two points on a third.
_FLOAT_SHARES = (0.08, 0.25)
_LOW_NOISE = 0.2

# What makes features of the layers' maps, by averaging and joining.
_POOLING = ("AVERAGE_POOL_2D", "CONCATENATION", "MEAN")

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


def backbone(source: bytes, pictures: Representative) -> Graph:
    """The backbone as a graph from uint8[1, S, S, 3] to float32[1, D] that calculates in int8.

    Args:
        source: The backbone as a float32 TFLite model.
        pictures: What the ranges of the numbers inside, and the lines, are found on.

    Raises:
        ModelError: It cannot be quantised.
    """
    ranged = _with_ranges(source, pictures.pixels[:_RANGES])
    for share in _FLOAT_SHARES:
        graph = Graph(_quantise(ranged, share))
        place = _last_quantised(graph)
        graph.set_ends(take_pixels(graph), graph.output)
        found = _features(graph, pictures.pixels)
        slope, offset = lines(found, pictures.features)
        if noise(found * slope + offset, pictures.features) <= _LOW_NOISE:
            break
    _apply_lines(graph, place, slope, offset)
    return graph


def noise(found: np.ndarray, wanted: np.ndarray) -> float:
    """Standard deviation of the differences between features [N, D] against the features' own: the median over D."""
    spread = wanted.std(axis=0)
    moves = spread > 1e-6
    return float(np.median((found - wanted).std(axis=0)[moves] / spread[moves])) if moves.any() else 0.0


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


def _with_ranges(source: bytes, pixels: np.ndarray) -> Graph:
    graph = Graph(source)
    for tensor, (least, most) in _ranges(graph, pixels).items():
        graph.set_range(tensor, least, most)
    return graph


def _quantise(graph: Graph, share: float) -> bytes:
    """In int8, kernels with a scale per channel, from float32[1, S, S, 3] in [0, 1] to float32[1, D]."""
    stay = [graph.tensor_name(one.outputs[0]) for one in (*_leading(graph, share), *_pooling(graph))]
    try:
        return graphs.quantised(graph.to_bytes(), set(stay))
    except Exception as fault:  # TensorFlow's own ways to refuse a graph
        reason = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
        raise ModelError(f"the backbone cannot be quantised: {reason}", "take int8 out of export.formats") from fault


def _leading(graph: Graph, share: float) -> list[Any]:
    """The operators that stay float32: up to the layer within this share of the multiplications that gives least.

    What runs with the same kernel on two sizes of the picture is one layer.
    """
    by_kernel: dict[int, list[Any]] = {}
    for one in graph.operators:
        if graph.multiplications(one):
            by_kernel.setdefault(one.inputs[1], []).append(one)
    layers = list(by_kernel.values())
    if not layers:
        return []
    costs = np.cumsum([sum(map(graph.multiplications, layer)) for layer in layers])
    sizes = [
        int(np.prod(graph.tensor(layer[0].outputs[0]).shape)) for layer in layers[: sum(costs <= share * costs[-1])]
    ]
    if not sizes:
        return _before(graph, layers[0])
    last = min(range(len(sizes)), key=lambda place: (sizes[place], -place))
    kept = [one for layer in layers[: last + 1] for one in layer]
    return [*kept, *_before(graph, kept)]


def _before(graph: Graph, operators: Sequence[Any]) -> list[Any]:
    """The operators on whose outputs these depend, themselves left out."""
    found: list[Any] = []
    todo = list(operators)
    while todo:
        makers = [graph.maker(tensor) for tensor in todo.pop().inputs]
        new = [one for one in makers if one is not None and one not in found and one not in operators]
        found += new
        todo += new
    return found


def _pooling(graph: Graph) -> list[Any]:
    """The operators that make the features of the layers' maps."""
    found, todo = [], [graph.output]
    while todo:
        maker = graph.maker(todo.pop())
        if maker is not None and graph.name(maker) in _POOLING:
            found.append(maker)
            todo += maker.inputs
    return found


def _ranges(graph: Graph, pixels: np.ndarray) -> dict[int, tuple[float, float]]:
    """Between which numbers those of each tensor that is computed lie, 0 among them."""
    tensors = [one.outputs[0] for one in graph.operators]
    with _engine(graph, tensors) as engine:

        def ends(image: np.ndarray) -> list[tuple[float, float]]:
            return [(values.min(), values.max()) for values in engine.tensors(image, *tensors)[1:]]

        found = np.array(list(map_ordered(ends, pixels, cores())))  # [N, tensors, 2]
    joined = _before_joined(graph)
    share = np.array([_BEFORE_JOINED if tensor in joined else _USUAL for tensor in tensors])
    least, most = (
        np.array([np.quantile(values, at) for values, at in zip(found[..., end].T, quantile, strict=True)])
        for end, quantile in ((0, 1 - share), (1, share))
    )
    least = np.minimum(least, 0)
    most = np.maximum(np.maximum(most, 0), least + 1e-6)  # what is always zero needs a scale all the same
    return {graph.input: (0.0, 1.0)} | dict(zip(tensors, zip(least.tolist(), most.tolist(), strict=True), strict=True))


def _before_joined(graph: Graph) -> set[int]:
    """The tensors that are computed before the last of the maps which are averaged to be joined with the last map."""
    pooling = _pooling(graph)
    if not any(graph.name(one) == "CONCATENATION" for one in pooling):
        return set()
    makers = [graph.maker(one.inputs[0]) for one in pooling if graph.name(one) == "AVERAGE_POOL_2D"]
    places = [graph.operators.index(maker) for maker in makers if maker is not None]
    return {one.outputs[0] for one in graph.operators[: max(places, default=0)]}


def _last_quantised(graph: Graph) -> int:
    """Index of the tensor float32[..., D] that the last quantised layer gives: what is pooled, or the features."""
    last = graph.maker(graph.output)
    return int(last.inputs[0]) if graph.name(last) == "MEAN" else graph.output


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
    with _engine(graph) as engine:
        return np.stack(list(map_ordered(engine, pixels, cores())))


@contextmanager
def _engine(graph: Graph, tensors: Sequence[int] = ()) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "backbone.tflite"
        model.write_bytes(graph.to_bytes())
        yield Engine(model, tensors)
