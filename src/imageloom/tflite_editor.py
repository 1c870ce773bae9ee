"""Changes TFLite models on their flatbuffer: operators, tensors and constants are added, replaced, repeated, halved.

Field names are those of TensorFlow Lite's schema.fbs, as LiteRT ships it; its generated code takes a third of a second
to import, so what only reads a model uses `tflite_graph.py`.
"""

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np

_ELEMENTWISE = ("ADD", "SUB", "MUL", "DIV")

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")

# Of operators whose options are not called as they are.
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
}

_NARROW = 16  # channels: what fills no vector register of AVX-512

# Smaller constants stay as they are: MobileNetV2's depthwise kernels and biases are a thirtieth of its bytes, and in
# float16 they would move its features by 3 % in place of 0.2 %.
_HALVED_FROM = 1 << 16  # bytes

_ALIGNMENT = 16  # schema.fbs: Buffer.data is (force_align: 16)


class Graph:
    """A TFLite model that can be changed.

    Args:
        content: The bytes of a `.tflite` file with one graph.
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self._model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
        self._graph = self._model.subgraphs[0]
        for one in (self._graph, *self._graph.operators):  # lists, since arrays from a file cannot be written to
            one.inputs, one.outputs = [[int(index) for index in part] for part in (one.inputs, one.outputs)]
        # What the converter says of itself is not true of what is made from its file.
        self._model.metadata = [one for one in self._model.metadata or [] if one.name == b"min_runtime_version"]
        self._size = len(content)
        self._names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}

    @classmethod
    def empty(cls) -> "Graph":
        """A model without operators, to which they are to be added."""
        from ai_edge_litert import schema_py_generated as schema

        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
        model.buffers = [schema.BufferT()]  # the first stands for no constant
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        builder = _Builder(1 << 10)
        builder.Finish(model.Pack(builder), b"TFL3")
        return cls(bytes(builder.Output()))

    @property
    def input(self) -> int:
        """Index of the tensor that takes the picture."""
        return int(self._graph.inputs[0])

    @property
    def output(self) -> int:
        """Index of the tensor that is answered."""
        return int(self._graph.outputs[0])

    def tensor(self, index: int) -> Any:
        """A `TensorT`."""
        return self._graph.tensors[index]

    def tensor_name(self, index: int) -> str:
        """What a tensor is called."""
        name: bytes | str = self.tensor(index).name
        return name if isinstance(name, str) else name.decode()

    def forget_numbers(self) -> None:
        """Takes out of the tensors' names, which are joined by `;`, the numbers of TensorFlow's resources.

        They count what the process has made before: the same network would have other bytes after a training that went
        on than after one that was not interrupted.
        """
        for index, tensor in enumerate(self._graph.tensors):
            parts = [part for part in self.tensor_name(index).split(";") if not part.isdigit()]
            tensor.name = ";".join(parts) or f"tensor_{index}"

    def set_range(self, index: int, least: float, most: float) -> None:
        """Notes the numbers between which a tensor's lie, as TensorFlow's quantiser reads them."""
        found = self.schema.QuantizationParametersT()
        found.min, found.max = np.array([least], np.float32), np.array([most], np.float32)
        self.tensor(index).quantization = found

    def name(self, operator: Any) -> str:
        """Which of `BuiltinOperator` an operator is."""
        return self._names[self._model.operatorCodes[operator.opcodeIndex].builtinCode]

    def constant(self, index: int) -> np.ndarray | None:
        """The values of a float32 tensor that is stored in the model; None for any other."""
        tensor = self.tensor(index)
        data = self._model.buffers[tensor.buffer].data
        if data is None or tensor.type != self.schema.TensorType.FLOAT32:
            return None
        values: np.ndarray = np.ascontiguousarray(data).view(np.float32).reshape(tensor.shape)
        return values

    def add_constant(self, name: str, values: np.ndarray) -> int:
        """A tensor that is stored in the model, float32, float16 or int32; gives its index."""
        index = self.add_tensor(name, values.shape, values.dtype)
        self.tensor(index).buffer = self._add_buffer(values)
        return index

    def add_tensor(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> int:
        """A tensor that an operator computes; gives its index."""
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, np.array(shape, np.int32), 0
        tensor.type = getattr(self.schema.TensorType, np.dtype(dtype).name.upper())
        tensor.hasRank = True
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def operator(self, name: str, inputs: Sequence[int], output: int, version: int = 1, **options: Any) -> Any:
        """An operator, not yet put among the others.

        Args:
            name: Of `BuiltinOperator`, such as `FULLY_CONNECTED`.
            inputs: Indexes of the tensors that it takes.
            output: Index of the tensor that it computes.
            version: The smallest of the operator's versions that does what is asked.
            options: Fields of its options, such as `beta` of `SoftmaxOptions`.
        """
        made = self.schema.OperatorT()
        made.opcodeIndex = self._code_index(name, version)
        made.inputs, made.outputs = list(inputs), [output]
        kind = _OPTIONS.get(name) or "".join(part.capitalize() for part in name.split("_")) + "Options"
        made.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
        made.builtinOptions = getattr(self.schema, f"{kind}T")()
        for key, value in options.items():
            setattr(made.builtinOptions, key, value)
        return made

    @property
    def operators(self) -> list[Any]:
        """The graph's operators, in the order in which they run."""
        return list(self._graph.operators)

    def multiplications(self, operator: Any) -> int:
        """How many an operator does for one picture; none for those that are no layers."""
        if self.name(operator) not in _LAYERS:
            return 0
        kernel, out = self.tensor(operator.inputs[1]).shape, self.tensor(operator.outputs[0]).shape
        # A kernel is [out, height, width, in], or [1, height, width, out] where each channel has its own.
        each = np.prod(kernel) // max(kernel[-1] if kernel[0] == 1 else kernel[0], 1)
        return int(np.prod(out) * each)

    def maker(self, tensor: int) -> Any:
        """The operator that computes a tensor; None for inputs and constants."""
        return next((one for one in self._graph.operators if tensor in one.outputs), None)

    def put_first(self, *operators: Any) -> None:
        """Has these run before all others."""
        self._graph.operators[:0] = operators

    def put_last(self, *operators: Any) -> None:
        """Has these run after all others."""
        self._graph.operators.extend(operators)

    def replace(self, old: Any, *new: Any) -> None:
        """Has other operators run in the place of one."""
        place = self._graph.operators.index(old)
        self._graph.operators[place : place + 1] = new

    def set_ends(self, images: int, probabilities: int) -> None:
        """Makes two tensors the one input and the one output, in the signature `serving_default` too."""
        self._graph.inputs, self._graph.outputs = [images], [probabilities]
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs = [self._named("images", images)]
        signature.outputs = [self._named("probabilities", probabilities)]
        self._model.signatureDefs = [signature]

    def halve(self) -> None:
        """Stores large float32 constants as float16, as TFLite does; XNNPACK turns them back once, on loading."""
        operators = []
        for index, values in [(index, self.constant(index)) for index in range(len(self._graph.tensors))]:
            if values is not None and values.nbytes >= _HALVED_FROM:
                stored = self.add_constant(f"float16_{index}", values.astype(np.float16))
                self._model.buffers[self.tensor(index).buffer].data = None
                self.tensor(index).buffer = 0  # the one that stands for no constant
                operators.append(self.operator("DEQUANTIZE", [stored], index, version=3))
        self.put_first(*operators)

    def widen(self) -> None:
        """Repeats constants that differ by colour only along the rows of the picture: the same numbers, a tenth sooner.

        XNNPACK adds and multiplies a row of 3 x 224 numbers at once, and three at a time where the constant has three.
        """
        for operator in self._graph.operators:
            if self.name(operator) not in _ELEMENTWISE or len(operator.inputs) != 2:
                continue
            shape = [int(side) for side in self.tensor(operator.outputs[0]).shape]
            if len(shape) != 4:
                continue
            width, channels = shape[-2:]
            for place, index in enumerate(operator.inputs):
                values = self.constant(index)
                if values is not None and values.size == channels < _NARROW and values.shape[-1:] == (channels,):
                    row = np.tile(values.reshape(1, 1, 1, channels), (1, 1, width, 1))
                    operator.inputs[place] = self.add_constant(f"row_{index}", row)

    def add_metadata(self, name: str, data: bytes) -> None:
        """Stores bytes under a name that readers look for."""
        entry = self.schema.MetadataT()
        entry.name, entry.buffer = name, self._add_buffer(np.frombuffer(data, np.uint8))
        self._model.metadata.append(entry)

    def to_bytes(self) -> bytes:
        """The model as a `.tflite` file; the same changes give the same bytes."""
        builder = _Builder(self._size + (1 << 16))
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _add_buffer(self, values: np.ndarray) -> int:
        buffer = self.schema.BufferT()
        buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self._model.buffers.append(buffer)
        return len(self._model.buffers) - 1

    def _code_index(self, name: str, version: int) -> int:
        number = getattr(self.schema.BuiltinOperator, name)
        for index, code in enumerate(self._model.operatorCodes):
            if code.builtinCode == number:
                code.version = max(code.version, version)
                return index
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.version = number, version
        code.deprecatedBuiltinCode = min(number, 127)  # PLACEHOLDER_FOR_GREATER_OP_CODES
        self._model.operatorCodes.append(code)
        return len(self._model.operatorCodes) - 1

    def _named(self, name: str, tensor: int) -> Any:
        entry = self.schema.TensorMapT()
        entry.name, entry.tensorIndex = name, tensor
        return entry


class _Builder(flatbuffers.Builder):
    """Puts bytes where a runtime may map them as numbers; Python's generated code forgets what the schema forces."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        place: int = super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)
        return place
