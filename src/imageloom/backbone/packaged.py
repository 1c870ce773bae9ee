"""What the packaged networks have in common: weights out of an installed package, and features of several layers.

The weights come in Python packages, so that no download site is needed; nothing of these packages but the one file is
read, and that without running what its pickle asks for.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imageloom.errors import ModelError

STRIDE = 32  # pixels of the picture for one place of the last map, along a side

Gives = Literal["last", "multi", "names"]


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


def require_places(size: int, gives: Gives) -> None:
    """Lets only sizes through at which the maps that are asked for fit into each other.

    Raises:
        ModelError: The maps of `multi` do not.
    """
    if gives == "multi" and size % STRIDE:
        raise ModelError(
            f"pictures of {size} x {size} do not divide into the places of all layers",
            f"set backbone.image_size to a multiple of {STRIDE}, or `features: last`",
        )


def join_earlier(last: Any, earlier: Mapping[str, Any], keras: Any) -> Any:
    """Puts the maps of earlier layers behind the last, averaged down to its places.

    So the mean of their join is the mean of each, one map is pooled as with `last`, and what each place adds to an
    answer can still be told.

    Args:
        last: Symbolic map [N, h, w, D].
        earlier: Name -> map whose sides are multiples of those, in the order in which they shall stand.
        keras: Keras 2.
    """
    pooled = [
        keras.layers.AveragePooling2D(int(one.shape[1]) // int(last.shape[1]), name=f"{name}.pool")(one)
        for name, one in earlier.items()
    ]
    return keras.layers.Concatenate(name="joined")([last, *pooled])


def finish(x: Any, gives: Gives, classifier: str, keras: Any) -> Any:
    """Pools the map [N, h, w, D]; with `names` ImageNet's classes follow, by a dense layer called `classifier`."""
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.layers.Dense(1000, name=classifier)(x) if gives == "names" else x


def load(model: Any, state: dict[str, np.ndarray], keras: Any) -> None:
    """Gives every layer of a model its weights out of a checkpoint, where they stand under the layer's name."""
    for layer in model.layers:
        values = list(_values(layer, state, keras))
        if values:
            layer.set_weights(values)


def _values(layer: Any, state: dict[str, np.ndarray], keras: Any) -> Iterator[np.ndarray]:
    """A layer's weights in Keras' order and layout; PyTorch keeps kernels as [out, in, height, width]."""
    if isinstance(layer, keras.layers.BatchNormalization):
        yield from (state[f"{layer.name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
    elif isinstance(layer, keras.layers.DepthwiseConv2D):
        yield state[f"{layer.name}.weight"].transpose(2, 3, 0, 1)
    elif isinstance(layer, keras.layers.Conv2D):
        yield state[f"{layer.name}.weight"].transpose(2, 3, 1, 0)
    elif isinstance(layer, keras.layers.Dense):
        yield from (state[f"{layer.name}.weight"].T, state[f"{layer.name}.bias"])
