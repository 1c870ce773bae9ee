"""Makes a packaged network as a TFLite graph, operator by operator, without TensorFlow.

The graph is what TensorFlow's converter makes of the same network: batch normalisation is folded into the convolution
before it, and ReLU6 is the convolution's own activation.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imageloom.backbone.layers import Habits, Names, State
from imageloom.tflite_editor import Graph


class TFLiteLayers:
    """See `layers.Layers`; a map is the index of its tensor, of one picture.

    Args:
        state: The checkpoint.
        size: Side of the pictures, in pixels.
        habits: Of the network.
    """

    def __init__(self, state: State, size: int, habits: Habits) -> None:
        self._state, self._habits, self._graph = state, habits, Graph.empty()
        self._constants: dict[str, int] = {}
        self._asked: Counter[str] = Counter()  # names of tensors
        self._images = self._graph.add_tensor("images", (1, size, size, 3))

    def picture(self) -> int:
        shape = self._shape(self._images)
        mean, scale = np.array(self._habits.mean, np.float32), np.float32(1) / np.array(self._habits.std, np.float32)
        centred = self._put("SUB", [self._images, self._constant("mean", mean)], "centred", shape)
        return self._put("MUL", [centred, self._constant("scale", scale)], "normalised", shape)

    def halved(self, picture: int) -> int:
        return self._averaged(picture, "halved", 2)

    def convolution(self, x: int, names: Names, channels: int, kernel: int = 1, stride: int = 1) -> int:
        return self._convolved("CONV_2D", x, names, channels, stride, relu=True)

    def projection(self, x: int, names: Names, channels: int) -> int:
        return self._convolved("CONV_2D", x, names, channels, stride=1, relu=False)

    def depthwise(self, x: int, names: Names, kernel: int, stride: int) -> int:
        channels = self._shape(x)[-1]
        return self._convolved("DEPTHWISE_CONV_2D", x, names, channels, stride, relu=True, depthMultiplier=1)

    def add(self, name: str, shortcut: int, x: int) -> int:
        return self._put("ADD", [shortcut, x], name, self._shape(x))

    def join(self, last: int, earlier: Mapping[str, int]) -> int:
        height, width = self._shape(last)[1:3]
        maps = [last, *(self._averaged(x, f"{name}.pool", self._shape(x)[1] // height) for name, x in earlier.items())]
        channels = sum(self._shape(x)[-1] for x in maps)
        return self._put("CONCATENATION", maps, "joined", (1, height, width, channels), axis=3)

    def pool(self, x: int) -> int:
        axes = self._constant("places", np.array([1, 2], np.int32))
        return self._put("MEAN", [x, axes], "features", (1, self._shape(x)[-1]), keepDims=False)

    def dense(self, x: int, name: str) -> int:
        kernel, bias = (self._constant(f"{name}.{part}", self._state[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self._put("FULLY_CONNECTED", [x, kernel, bias], name, (1, self._shape(kernel)[0]))

    def content(self, output: int) -> bytes:
        """The `.tflite` file from float32[1, size, size, 3] RGB in [0, 1] to `output`."""
        self._graph.set_ends(self._images, output)
        self._graph.widen()
        return self._graph.to_bytes()

    def _convolved(
        self, kind: str, x: int, names: Names, channels: int, stride: int, relu: bool, **options: Any
    ) -> int:
        weights, bias = self._folded(names, each_alone=kind == "DEPTHWISE_CONV_2D")
        schema, sides = self._graph.schema, self._shape(x)[1:3]
        padding = schema.Padding.SAME
        if stride > 1 and self._habits.margin == "even":
            margin = weights.shape[1] // 2
            x, padding = self._padded(x, f"{names.kernel}.pad", margin), schema.Padding.VALID
        activation = schema.ActivationFunctionType.RELU6 if relu else schema.ActivationFunctionType.NONE
        constants = [
            self._constant(f"{names.kernel}.weight", weights),
            self._constant(f"{names.norm}.bias", bias),
        ]
        options |= {"strideW": stride, "strideH": stride, "padding": padding, "fusedActivationFunction": activation}
        shape = (1, *(-(-side // stride) for side in sides), channels)
        return self._put(kind, [x, *constants], names.norm, shape, **options)

    def _folded(self, names: Names, each_alone: bool) -> tuple[np.ndarray, np.ndarray]:
        """Kernel [out, height, width, in], or where each channel is by itself [1, height, width, out]; bias [out]."""
        scale, offset, mean, variance = (
            self._state[f"{names.norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / np.sqrt(variance + self._habits.epsilon)
        kernel = self._state[f"{names.kernel}.weight"] * scale[:, None, None, None]
        kernel = kernel.transpose((1, 2, 3, 0) if each_alone else (0, 2, 3, 1))
        return np.ascontiguousarray(kernel, np.float32), (offset - mean * scale).astype(np.float32)

    def _averaged(self, x: int, name: str, side: int) -> int:
        """The means of squares of `side` places."""
        batch, height, width, channels = self._shape(x)
        window = {"filterWidth": side, "filterHeight": side, "strideW": side, "strideH": side}
        window["padding"] = self._graph.schema.Padding.VALID
        return self._put("AVERAGE_POOL_2D", [x], name, (batch, height // side, width // side, channels), **window)

    def _padded(self, x: int, name: str, margin: int) -> int:
        batch, height, width, channels = self._shape(x)
        margins = self._constant(name + ".margins", np.array([[0, 0], *[[margin] * 2] * 2, [0, 0]], np.int32))
        return self._put("PAD", [x, margins], name, (batch, height + 2 * margin, width + 2 * margin, channels))

    def _put(self, kind: str, inputs: Sequence[int], name: str, shape: Sequence[int], **options: Any) -> int:
        output = self._graph.add_tensor(self._own(name), shape)
        self._graph.put_last(self._graph.operator(kind, inputs, output, **options))
        return output

    def _own(self, name: str) -> str:
        """The name, or where it is taken already one that is not."""
        self._asked[name] += 1
        return name if self._asked[name] == 1 else f"{name};{self._asked[name]}"

    def _constant(self, name: str, values: np.ndarray) -> int:
        if name not in self._constants:
            self._constants[name] = self._graph.add_constant(name, values)
        return self._constants[name]

    def _shape(self, x: int) -> tuple[int, ...]:
        return tuple(int(side) for side in self._graph.tensor(x).shape)
