"""A network's files: beside its SavedModel the same graph as TFLite, and backbone.json, which tells what it is.

The stage `backbone` writes them of a pretrained network, the stage `train` of one that a recipe trains.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imageloom import files, graphs
from imageloom.engine import Engine
from imageloom.errors import ModelError
from imageloom.tflite_editor import Graph

FeatureLayers = Literal["last", "multi", "pyramid"]

_GRAPH = "backbone.tflite"


@dataclass(frozen=True)
class About:
    """What a network is.

    Args:
        module: Its name, or the handle that it was had by.
        image_size: Side of the pictures that it takes, in pixels.
        layers: What its features come from: see `backbone.features` in params.yaml.
        licence: Of its weights, where that is known.
        weights: Where they come from, where that could be chosen: `imagenet`, `none`, or the SHA-256 of a file.
    """

    module: str
    image_size: int
    layers: FeatureLayers
    licence: str | None = None
    weights: str | None = None


def complete(folder: Path, about: About) -> dict[str, Any]:
    """Writes `backbone.tflite` and `backbone.json` beside the `saved_model/` in a folder.

    The SavedModel takes float32[N, S, S, 3] RGB in [0, 1] and gives float32[N, D]; the TFLite graph, of one picture,
    gives the same numbers, as is checked.

    Returns:
        As `write_graph`.

    Raises:
        ModelError: It is no such module, or does not convert.
    """
    tf, size = graphs.tensorflow(), about.image_size
    try:
        module = tf.saved_model.load(str(folder / "saved_model"))
        call = tf.function(lambda images: graphs.feature_vectors(module, images))
        concrete = call.get_concrete_function(tf.TensorSpec((1, size, size, 3), tf.float32))
        content = graphs.to_tflite(concrete, module)
    except ModelError:
        raise
    except Exception as fault:  # each step has its own ways to refuse a module
        reason = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
        raise ModelError(
            f"the module does not take pictures of {size} x {size}, or does not convert: {reason}",
            "set backbone.image_size to the module's own, or choose another image feature vector",
        ) from fault
    graph = Graph(content)
    graph.forget_numbers()
    graph.widen()
    told = write_graph(folder, about, graph.to_bytes())
    check(folder, lambda batch: concrete(tf.constant(batch)))
    return told


def write_graph(folder: Path, about: About, content: bytes) -> dict[str, Any]:
    """Writes `backbone.tflite` and `backbone.json` into a folder.

    Args:
        folder: Where.
        about: What the network is.
        content: The TFLite graph.

    Returns:
        What backbone.json holds: `about`, the length D as `features`, and the graph's `sha256`.
    """
    target = folder / _GRAPH
    target.write_bytes(content)
    told = asdict(about)
    found = {"module": told.pop("module"), "image_size": told.pop("image_size")}
    found |= {"features": Engine(target).output_length, **told, "sha256": files.sha256(target)}
    files.write_json(folder / "backbone.json", found)
    return found


def check(folder: Path, network: Callable[[np.ndarray], Any]) -> None:
    """Sees that `backbone.tflite` gives the same numbers as the network that the SavedModel is of.

    Args:
        folder: Where it is.
        network: float32[1, S, S, 3] in [0, 1] to float32[1, D].

    Raises:
        ModelError: It does not.
    """
    engine = Engine(folder / _GRAPH)
    picture = _test_picture(engine.size)
    _check_agreement(np.asarray(network(picture[np.newaxis] / np.float32(255)))[0], engine(picture))


def _test_picture(size: int) -> np.ndarray:
    """A fixed picture with smooth colour and fine texture, uint8[size, size, 3]."""
    ramp = np.linspace(0, 255, size)
    noise = np.random.default_rng(0).integers(0, 64, (size, size))
    return np.stack([ramp[:, None] * 0.75 + noise, ramp[None, :] * 0.75 + noise, 191 - noise + 0 * ramp], -1).astype(
        np.uint8
    )


def _check_agreement(expected: Any, answer: np.ndarray) -> None:
    error = float(np.abs(expected - answer).max() / (np.abs(expected).max() + 1e-12))
    if not error < 1e-3:
        raise ModelError(
            f"the TFLite graph differs from the SavedModel by {error:.1%} of its largest value", "try another module"
        )
