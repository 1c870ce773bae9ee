"""The parts that the packaged networks are made of.

A network is told once, in terms of `Layers`. `keras_layers.py` makes a Keras model of it, which can be trained and
saved; `tflite_layers.py` makes the graph for one picture, without TensorFlow, and so in a second in place of fifteen.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

# How a layer that halves the picture pads it: by half its kernel on every side, as PyTorch does, or by no more than is
# needed, of which what is odd stands behind, as TensorFlow does.
Margin = Literal["even", "same"]


class Habits(NamedTuple):
    """What is alike in all layers of a network.

    Args:
        mean: Of the pictures that it was trained on, RGB in [0, 1].
        std: Their standard deviation.
        epsilon: Of batch normalisation.
        margin: How it pads.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    epsilon: float
    margin: Margin


class Names(NamedTuple):
    """A convolution's weights in the checkpoint, and those of the batch normalisation behind it."""

    kernel: str
    norm: str


class Layers(Protocol):
    """Makes layers out of a checkpoint's weights; maps are [N, h, w, C], and known to the maker only.

    Weights of the same names are the same weights: what is asked for twice is shared.
    """

    def picture(self) -> Any:
        """The picture, normalised."""

    def halved(self, picture: Any) -> Any:
        """The picture at half its size, the mean of four pixels for each."""

    def convolution(self, x: Any, names: Names, channels: int, kernel: int = 1, stride: int = 1) -> Any:
        """A convolution to `channels`, batch normalisation and ReLU6."""

    def projection(self, x: Any, names: Names, channels: int) -> Any:
        """A convolution of single places to `channels`, and batch normalisation alone."""

    def depthwise(self, x: Any, names: Names, kernel: int, stride: int) -> Any:
        """A convolution of each channel by itself, batch normalisation and ReLU6."""

    def add(self, name: str, shortcut: Any, x: Any) -> Any:
        """The sum of both."""

    def join(self, last: Any, earlier: Mapping[str, Any]) -> Any:
        """Puts the maps of earlier layers behind the last, averaged down to its places.

        So the mean of their join is the mean of each, one map is pooled whatever the features, and what each place adds
        to an answer can still be told.

        Args:
            last: A map of D channels.
            earlier: Name -> map whose sides are multiples of its, in the order in which they shall stand.
        """

    def pool(self, x: Any) -> Any:
        """The mean over all places, [N, C]."""

    def dense(self, x: Any, name: str) -> Any:
        """A dense layer on [N, C]."""


State = Mapping[str, np.ndarray]  # a checkpoint's tensors, as PyTorch names them and lays them out
