"""What the packaged networks have in common: weights out of an installed package, and features of several layers.

The weights come in Python packages, so that no download site is needed; nothing of these packages but the one file is
read, and that without running what its pickle asks for.
"""

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from imageloom.backbone.keras_layers import KerasLayers
from imageloom.backbone.layers import Habits, Layers, Names, State
from imageloom.backbone.tflite_layers import TFLiteLayers
from imageloom.errors import ModelError

Gives = Literal["last", "multi", "pyramid", "names"]

# What a picture's side must be a multiple of, so that all maps divide into the places of the one that is pooled: one of
# the last map's has 32 pixels along a side.
_STEPS = {"multi": 32, "pyramid": 64}

_STEM, _HEAD = 32, 1280  # channels of the first and the last convolution


@dataclass(frozen=True)
class Package:
    """An installed package that carries a network's weights.

    Args:
        name: Of the package.
        file: The name of the checkpoint in it.
        sha256: The checkpoint's.
        licence: Of the weights, as SPDX names it.
    """

    name: str
    file: str
    sha256: str
    licence: str

    def find(self) -> Path:
        """The checkpoint, checked by its SHA-256.

        Raises:
            ModelError: The package is not installed, or its file is missing or altered.
        """
        install = "install the project's dependencies again with `make setup`"
        try:
            files = importlib.metadata.files(self.name) or []
        except importlib.metadata.PackageNotFoundError:
            raise ModelError(
                f"the package {self.name}, which carries the network's weights, is not installed", install
            ) from None
        found = [Path(str(file.locate())) for file in files if file.name == self.file]
        if not found or not found[0].is_file():
            raise ModelError(f"the package {self.name} has lost its file {self.file}", install)
        digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
        if digest != self.sha256:
            raise ModelError(
                f"{self.file} has been altered: its SHA-256 begins {digest[:12]}, not {self.sha256[:12]}", install
            )
        return found[0]


class Row(NamedTuple):
    """Blocks that are alike: how many, their kernel's side, the stride of the first, what they expand by and give."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


class Block(NamedTuple):
    """An inverted residual (Sandler et al. 2018, section 3.3): it expands its channels, mixes places, and projects."""

    number: int
    kernel: int
    stride: int
    expansion: int
    before: int  # channels
    channels: int


class BlockNames(NamedTuple):
    """A block's weights in the checkpoint, and what its sum is called."""

    expand: Names
    depthwise: Names
    project: Names
    add: str


class Maps(NamedTuple):
    """What a network makes of a picture: its last map, and by name those of earlier layers that `multi` joins to it."""

    last: Any
    earlier: Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """A packaged network of inverted residuals between two convolutions, the stem and the head.

    Args:
        name: Of the model.
        package: Where its weights are.
        habits: Of its layers.
        read: Reads the weights' file.
        stem: Weights of the first convolution.
        rows: Its blocks.
        first: The number of the first block.
        names: Weights of a block.
        head: Weights of the last convolution.
        joined: The blocks whose expansions `multi` has beside the last layer, and what these are called: the blocks
            before the picture is halved for the fifth, fourth and third time.
        classifier: Weights of the dense layer that tells ImageNet's classes.
    """

    name: str
    package: Package
    habits: Habits
    read: Callable[[Path], State]
    stem: Names
    rows: Sequence[Row]
    first: int
    names: Callable[[Block], BlockNames]
    head: Names
    joined: Mapping[int, str]
    classifier: str

    def keras_model(self, size: int, gives: Gives = "last") -> Any:
        """The network as a Keras 2 model.

        Args:
            size: Side of the pictures it takes, in pixels.
            gives: `last`, the last layer's features; `multi`, those of earlier layers behind them; `pyramid`, `multi`
                of the picture at half its size, and then of the picture; `names`, the logits of ImageNet's classes, to
                check the network by what it names.

        Returns:
            A `tf_keras.Model` from float32[N, size, size, 3] RGB in [0, 1] to float32[N, D].

        Raises:
            ModelError: The maps do not fit into each other at this size, or the package is not as needed.
        """
        _require_places(size, gives)
        state, layers = self.read(self.package.find()), KerasLayers(size, self.habits)
        return layers.model(self._output(layers, gives), state, self.name)

    def tflite(self, size: int, gives: Gives = "last") -> bytes:
        """The same, for one picture, as a `.tflite` file; arguments and faults are those of `keras_model`."""
        _require_places(size, gives)
        layers = TFLiteLayers(self.read(self.package.find()), size, self.habits)
        return layers.content(self._output(layers, gives))

    def _output(self, layers: Layers, gives: Gives) -> Any:
        picture = layers.picture()
        if gives == "pyramid":
            small, large = (self._maps(layers, x) for x in (layers.halved(picture), picture))
            earlier = {f"small.{name}": x for name, x in small.earlier.items()}
            return layers.pool(layers.join(small.last, {**earlier, "large": large.last, **large.earlier}))
        maps = self._maps(layers, picture)
        pooled = layers.pool(layers.join(*maps) if gives == "multi" else maps.last)
        return layers.dense(pooled, self.classifier) if gives == "names" else pooled

    def _maps(self, layers: Layers, picture: Any) -> Maps:
        x = layers.convolution(picture, self.stem, _STEM, kernel=3, stride=2)
        expansions = {}
        for block in self._blocks():
            expansions[block.number], x = self._block(layers, x, block)
        last = layers.convolution(x, self.head, _HEAD)
        return Maps(last, {name: expansions[number] for number, name in self.joined.items()})

    def _blocks(self) -> Iterator[Block]:
        number, before = self.first, _STEM
        for row in self.rows:
            for repeat in range(row.repeats):
                yield Block(number, row.kernel, 1 if repeat else row.stride, row.expansion, before, row.channels)
                number, before = number + 1, row.channels

    def _block(self, layers: Layers, x: Any, block: Block) -> tuple[Any, Any]:
        """What the block expands its input to, and what it gives."""
        names, expanded = self.names(block), x
        if block.expansion != 1:
            expanded = layers.convolution(x, names.expand, block.before * block.expansion)
        out = layers.depthwise(expanded, names.depthwise, block.kernel, block.stride)
        out = layers.projection(out, names.project, block.channels)
        same = block.stride == 1 and block.before == block.channels
        return expanded, layers.add(names.add, x, out) if same else out


def _require_places(size: int, gives: Gives) -> None:
    """Lets only sizes through at which the maps that are asked for fit into each other.

    Raises:
        ModelError: They do not.
    """
    step = _STEPS.get(gives, 1)
    if size % step:
        raise ModelError(
            f"pictures of {size} x {size} do not divide into the places of all layers",
            f"set backbone.image_size to a multiple of {step}, or `features: last`",
        )
