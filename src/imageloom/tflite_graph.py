"""Reads and changes the bytes of a TFLite model, a flatbuffer: which tensor feeds what, and which are outputs.

The few fields that are needed are read with `struct`: LiteRT's own generated schema takes a third of a second to
import, as long as all else that answers a prediction. Field numbers and operator codes are those of TensorFlow Lite's
schema.fbs; how tables and vectors lie in the bytes is told on FlatBuffers' page "Internals".
"""

import struct
from collections.abc import Iterator, Sequence

from imageloom.errors import ModelError

# schema.fbs: numbers of the fields that are read.
_MODEL_OPERATOR_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 1, 2, 4
_GRAPH_TENSORS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 2, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_CODE_OF_OLD, _CODE_NAME, _CODE = 0, 1, 3
_TENSOR_SHAPE, _TENSOR_BUFFER, _BUFFER_DATA = 0, 2, 0

# schema.fbs: BuiltinOperator.
_DEQUANTIZE, _FULLY_CONNECTED, _RESHAPE, _SOFTMAX, _CUSTOM, _MEAN, _SQUEEZE, _QUANTIZE = 6, 9, 22, 25, 32, 40, 43, 114

_RESHAPING = {_DEQUANTIZE, _QUANTIZE, _RESHAPE, _SQUEEZE}  # what changes no value between a layer and the next


class TFLiteGraph:
    """The main graph of a TFLite model.

    Args:
        content: The bytes of a `.tflite` file.
        name: What to call it in errors.

    Raises:
        ModelError: The bytes are no TFLite model, or are damaged.
    """

    def __init__(self, content: bytes, name: str = "the model") -> None:
        self._content, self._name = content, name
        if content[4:8] != b"TFL3":
            raise ModelError(f"{name} is no TFLite model", "name a .tflite file")
        try:
            self._model = self._int(0)
            self._graph = next(self._tables(self._model, _MODEL_SUBGRAPHS))
            self._tensors = list(self._tables(self._graph, _GRAPH_TENSORS))
            codes = [self._operator_code(table) for table in self._tables(self._model, _MODEL_OPERATOR_CODES)]
            # Each tensor that an operator makes -> that operator's code, and its inputs.
            self._made_by: dict[int, tuple[int, list[int]]] = {}
            for operator in self._tables(self._graph, _GRAPH_OPERATORS):
                position = self._field(operator, _OPERATOR_CODE)
                code = codes[self._int(position) if position else 0]
                inputs = self._ints(operator, _OPERATOR_INPUTS)
                self._made_by |= dict.fromkeys(self._ints(operator, _OPERATOR_OUTPUTS), (code, inputs))
            self.outputs = self._ints(self._graph, _GRAPH_OUTPUTS)
        except (struct.error, IndexError, StopIteration, OverflowError) as fault:
            raise ModelError(f"{name} is damaged or cut short", "get or export it again") from fault

    @property
    def custom_operators(self) -> list[str]:
        """Names of the operators that are not TFLite's own."""
        tables = self._tables(self._model, _MODEL_OPERATOR_CODES)
        return [self._text(table, _CODE_NAME) for table in tables if self._operator_code(table) == _CUSTOM]

    def features(self) -> int | None:
        """Index of the tensor [1, D] that enters the last dense layer; None where the graph does not end in one."""
        tensor = self._behind(self.outputs[0], {_SOFTMAX} | _RESHAPING)
        code, inputs = self._made_by.get(tensor, (None, []))
        return inputs[0] if code == _FULLY_CONNECTED else None

    def pooled_map(self, vector: int | None = None) -> int | None:
        """Index of the tensor [1, h, w, D] whose mean over height and width a feature vector is.

        Args:
            vector: Index of the feature vector's tensor; the graph's output where none is given.

        Returns:
            None where the vector is not made that way.
        """
        tensor = self._behind(self.outputs[0] if vector is None else vector, _RESHAPING)
        code, inputs = self._made_by.get(tensor, (None, []))
        if code != _MEAN or len(self.shape(inputs[0])) != 4 or sorted(self._constant(inputs[1])) != [1, 2]:
            return None
        return inputs[0]

    def shape(self, tensor: int) -> list[int]:
        """The tensor's shape."""
        return self._ints(self._tensors[tensor], _TENSOR_SHAPE)

    def with_outputs(self, tensors: Sequence[int]) -> bytes:
        """The model with more outputs behind its own; those that are outputs already are not repeated.

        A vector of outputs is added behind the bytes and the graph told to use it. So XNNPACK runs the graph whole and
        the tensors are kept, at no cost that can be measured.

        Raises:
            ModelError: The graph has no such tensor.
        """
        for tensor in tensors:
            if not 0 <= tensor < len(self._tensors):
                raise ModelError(f"{self._name} has no tensor {tensor}", "export the model again")
        outputs = [*self.outputs, *(tensor for tensor in dict.fromkeys(tensors) if tensor not in self.outputs)]
        place = self._field(self._graph, _GRAPH_OUTPUTS)
        padding = bytes(-len(self._content) % 4)
        content = bytearray(self._content + padding)
        struct.pack_into("<I", content, place, len(content) - place)  # offsets count from where they stand
        return bytes(content) + struct.pack(f"<I{len(outputs)}i", len(outputs), *outputs)

    def _behind(self, tensor: int, codes: set[int]) -> int:
        """The tensor that `tensor` is made from by no more than operators of these codes."""
        while (made := self._made_by.get(tensor)) is not None and made[0] in codes:
            tensor = made[1][0]
        return tensor

    def _constant(self, tensor: int) -> list[int]:
        """The values of an int32 tensor that is stored in the model; none where it is not."""
        place = self._field(self._tensors[tensor], _TENSOR_BUFFER)
        buffers = list(self._tables(self._model, _MODEL_BUFFERS))
        data = self._field(buffers[self._int(place) if place else 0], _BUFFER_DATA)
        if not data:
            return []
        start = data + self._int(data)
        return list(struct.unpack_from(f"<{self._int(start) // 4}i", self._content, start + 4))

    def _operator_code(self, table: int) -> int:
        """The larger of the field that older and the one that newer writers fill."""
        old, new = self._field(table, _CODE_OF_OLD), self._field(table, _CODE)
        return max(self._content[old] if old else 0, self._int(new) if new else 0)

    def _text(self, table: int, field: int) -> str:
        place = self._field(table, field)
        if not place:
            return ""
        start = place + self._int(place)
        return self._content[start + 4 : start + 4 + self._int(start)].decode("utf-8", "replace")

    def _int(self, place: int) -> int:
        return int(struct.unpack_from("<I", self._content, place)[0])

    def _field(self, table: int, number: int) -> int:
        """Where the field of a table stands; 0 where the table does not hold it."""
        virtual = table - struct.unpack_from("<i", self._content, table)[0]
        if 4 + 2 * number >= struct.unpack_from("<H", self._content, virtual)[0]:
            return 0
        offset = struct.unpack_from("<H", self._content, virtual + 4 + 2 * number)[0]
        return table + offset if offset else 0

    def _tables(self, table: int, field: int) -> Iterator[int]:
        """Where the tables of a vector of tables stand."""
        place = self._field(table, field)
        if place:
            start = place + self._int(place)
            for number in range(self._int(start)):
                entry = start + 4 + 4 * number
                yield entry + self._int(entry)

    def _ints(self, table: int, field: int) -> list[int]:
        """A vector of int32."""
        place = self._field(table, field)
        if not place:
            return []
        start = place + self._int(place)
        return list(struct.unpack_from(f"<{self._int(start)}i", self._content, start + 4))
