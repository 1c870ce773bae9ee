"""Runs a TFLite graph with LiteRT, one interpreter per thread, without TensorFlow."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from imageloom.errors import ModelError
from imageloom.quiet import no_native_stderr
from imageloom.tflite_graph import TFLiteGraph

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine:
    """A TFLite graph with one picture in and one vector out; other tensors of it on request.

    Safe to call from several threads: each gets an interpreter of its own, made when it first calls, since LiteRT's
    interpreters are not thread-safe and `invoke` releases the GIL.

    Args:
        model: The `.tflite` file.
        extra: Indexes of tensors inside the graph that `tensors` shall give beside the output.
        mean: What is subtracted from the pixels of a graph whose input is not uint8.
        std: What they are then divided by. With 0 and 255 they lie in [0, 1], TF-Hub's common image signature.

    Raises:
        ModelError: The file is missing, is no TFLite model, needs operators that LiteRT does not have, or does not take
            one `[1, S, S, 3]` picture.
    """

    def __init__(self, model: Path, extra: Sequence[int] = (), mean: float = 0.0, std: float = 255.0) -> None:
        self._name, self._extra = str(model), tuple(extra)
        self._mean, self._scale = np.float32(mean), np.float32(1 / std)
        try:
            content = model.read_bytes()
        except OSError as fault:
            raise ModelError(f"cannot read {model}: {fault.strerror}", "run `dvc repro` to make it") from fault
        graph = TFLiteGraph(content, self._name)
        if graph.custom_operators:
            raise ModelError(
                f"{model} needs the operator {graph.custom_operators[0]!r}, which LiteRT does not have",
                "convert the model with TFLite's own operators only",
            )
        self._content = graph.with_outputs(extra) if extra else content
        self.shapes = {tensor: graph.shape(tensor) for tensor in extra}
        self._local = threading.local()
        interpreter = self._interpreter()
        detail = interpreter.get_input_details()[0]
        shape = tuple(int(side) for side in detail["shape"])
        if len(shape) != 4 or shape[0] != 1 or shape[1] != shape[2] or shape[3] != 3:
            raise ModelError(
                f"{model} takes an input of shape {shape}; [1, S, S, 3] is needed", "export the model again"
            )
        self.size = shape[1]
        self.input_dtype = np.dtype(detail["dtype"])
        self._input_scale, self._input_zero = detail["quantization"]
        self.output_length = int(interpreter.get_output_details()[0]["shape"][-1])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Runs the graph on one picture.

        Args:
            image: uint8[S, S, 3] RGB.

        Returns:
            float32[D], the output.
        """
        return self.tensors(image)[0]

    def tensors(self, image: np.ndarray, *wanted: int) -> tuple[np.ndarray, ...]:
        """Runs the graph on one picture.

        Args:
            image: uint8[S, S, 3] RGB.
            wanted: Indexes among those of `extra`.

        Returns:
            The output, then the tensors `wanted`, without the axis of the batch; what is quantised is turned into
            float32 by its own scale and zero point.
        """
        interpreter = self._interpreter()
        interpreter.set_tensor(self._local.input, self._batch(image))
        interpreter.invoke()
        return tuple(self._read(interpreter, index) for index in (self._local.output, *wanted))

    def _batch(self, image: np.ndarray) -> np.ndarray:
        batch = image[np.newaxis]
        if self.input_dtype == np.uint8:
            return batch
        scaled = batch.astype(np.float32)
        if self._mean:
            scaled -= self._mean
        scaled *= self._scale
        if self.input_dtype.kind != "i":
            return scaled
        limits = np.iinfo(self.input_dtype)
        steps = np.round(scaled / np.float32(self._input_scale or 1)) + self._input_zero
        return np.clip(steps, limits.min, limits.max).astype(self.input_dtype)

    def _read(self, interpreter: Any, index: int) -> np.ndarray:
        values = interpreter.get_tensor(index)[0]
        if values.dtype == np.float32:
            return values
        scale, zero = self._local.quantisation[index]
        numbers = np.subtract(values, zero, dtype=np.float32)
        numbers *= np.float32(scale or 1)
        return numbers

    def _interpreter(self) -> Any:
        interpreter = getattr(self._local, "interpreter", None)
        if interpreter is None:
            from ai_edge_litert.interpreter import Interpreter

            try:
                with no_native_stderr():
                    interpreter = Interpreter(model_content=self._content, num_threads=1)
                    interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as fault:
                raise ModelError(f"{self._name} is not a usable TFLite model: {fault}", "export it again") from fault
            outputs = interpreter.get_output_details()
            self._local.interpreter = interpreter
            self._local.input = interpreter.get_input_details()[0]["index"]
            self._local.output = outputs[0]["index"]
            self._local.quantisation = {detail["index"]: detail["quantization"] for detail in outputs}
        return interpreter


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_ordered(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Applies `work` in `workers` threads and yields the results in the order of `items`, a bounded number ahead."""
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= 8 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
