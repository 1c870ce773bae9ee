"""Makes a packaged network as a Keras 2 model."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from imageloom import graphs
from imageloom.backbone.layers import Habits, Names, State


class KerasLayers:
    """See `layers.Layers`; a layer is called as its weights in the checkpoint.

    Args:
        size: Side of the pictures, in pixels.
        habits: Of the network.
    """

    def __init__(self, size: int, habits: Habits) -> None:
        self._layers, self._habits = graphs.keras().layers, habits
        self._inputs = graphs.keras().Input((size, size, 3), name="inputs")
        self._made: dict[str, Any] = {}

    def picture(self) -> Any:
        # Not Rescaling: (x - mean) / std must not round otherwise than in training.
        mean, variance = list(self._habits.mean), np.square(self._habits.std).tolist()
        return self._layers.Normalization(mean=mean, variance=variance, name="imagenet_normalization")(self._inputs)

    def halved(self, picture: Any) -> Any:
        return self._layers.AveragePooling2D(2, name="halved")(picture)

    def convolution(self, x: Any, names: Names, channels: int, kernel: int = 1, stride: int = 1) -> Any:
        x, padding = self._padded(x, names, kernel, stride)
        options = {"filters": channels, "kernel_size": kernel, "strides": stride, "padding": padding}
        return self._relu(self._norm(self._layer("Conv2D", names.kernel, use_bias=False, **options)(x), names), names)

    def projection(self, x: Any, names: Names, channels: int) -> Any:
        layer = self._layer("Conv2D", names.kernel, filters=channels, kernel_size=1, use_bias=False)
        return self._norm(layer(x), names)

    def depthwise(self, x: Any, names: Names, kernel: int, stride: int) -> Any:
        x, padding = self._padded(x, names, kernel, stride)
        options = {"kernel_size": kernel, "strides": stride, "padding": padding}
        layer = self._layer("DepthwiseConv2D", names.kernel, use_bias=False, **options)
        return self._relu(self._norm(layer(x), names), names)

    def add(self, name: str, shortcut: Any, x: Any) -> Any:
        return self._layer("Add", name)([shortcut, x])

    def join(self, last: Any, earlier: Mapping[str, Any]) -> Any:
        pooled = [
            self._layers.AveragePooling2D(int(one.shape[1]) // int(last.shape[1]), name=f"{name}.pool")(one)
            for name, one in earlier.items()
        ]
        return self._layers.Concatenate(name="joined")([last, *pooled])

    def pool(self, x: Any) -> Any:
        return self._layers.GlobalAveragePooling2D(name="pool")(x)

    def dense(self, x: Any, name: str) -> Any:
        return self._layers.Dense(1000, name=name)(x)

    def model(self, output: Any, state: State, name: str) -> Any:
        """The model that gives `output`, with the weights of a checkpoint.

        Returns:
            A `tf_keras.Model` of float32[N, size, size, 3] RGB in [0, 1].
        """
        made = graphs.keras().Model(self._inputs, output, name=name)
        for layer in made.layers:
            values = list(self._values(layer, state))
            if values:
                layer.set_weights(values)
        return made

    def _layer(self, kind: str, name: str, **options: Any) -> Any:
        if name not in self._made:
            self._made[name] = getattr(self._layers, kind)(name=name, **options)
        return self._made[name]

    def _padded(self, x: Any, names: Names, kernel: int, stride: int) -> tuple[Any, str]:
        if stride == 1 or self._habits.margin == "same":
            return x, "same"
        return self._layer("ZeroPadding2D", f"{names.kernel}.pad", padding=kernel // 2)(x), "valid"

    def _norm(self, x: Any, names: Names) -> Any:
        options = {"epsilon": self._habits.epsilon, "momentum": 0.9}
        return self._layer("BatchNormalization", names.norm, **options)(x)

    def _relu(self, x: Any, names: Names) -> Any:
        return self._layer("ReLU", f"{names.norm}.relu", max_value=6.0)(x)

    def _values(self, layer: Any, state: State) -> Iterator[np.ndarray]:
        """A layer's weights in Keras' order and layout; PyTorch keeps kernels as [out, in, height, width]."""
        if isinstance(layer, self._layers.BatchNormalization):
            yield from (state[f"{layer.name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        elif isinstance(layer, self._layers.DepthwiseConv2D):
            yield state[f"{layer.name}.weight"].transpose(2, 3, 0, 1)
        elif isinstance(layer, self._layers.Conv2D):
            yield state[f"{layer.name}.weight"].transpose(2, 3, 1, 0)
        elif isinstance(layer, self._layers.Dense):
            yield from (state[f"{layer.name}.weight"].T, state[f"{layer.name}.bias"])
