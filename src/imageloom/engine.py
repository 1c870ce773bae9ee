"""Runs a TFLite graph with LiteRT, one interpreter per thread, without TensorFlow."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from imageloom.errors import ModelError
from imageloom.quiet import no_native_stderr

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine:
    """A TFLite graph with one picture in and one vector out.

    Safe to call from several threads: each gets an interpreter of its own, made when it first calls, since LiteRT's
    interpreters are not thread-safe and `invoke` releases the GIL.

    Args:
        model: The `.tflite` file.

    Raises:
        ModelError: The file is missing, is no TFLite model, or does not take one `[1, S, S, 3]` picture.
    """

    def __init__(self, model: Path) -> None:
        try:
            self._content = model.read_bytes()
        except OSError as fault:
            raise ModelError(f"cannot read {model}: {fault.strerror}", "run `dvc repro` to make it") from fault
        self._name = str(model)
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
        self.output_length = int(interpreter.get_output_details()[0]["shape"][-1])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Runs the graph on one picture.

        Args:
            image: uint8[S, S, 3] RGB. A graph with a floating point input gets it scaled to [0, 1], the range of
                TF-Hub's common image signature.

        Returns:
            float32[D].
        """
        interpreter = self._interpreter()
        batch = image[np.newaxis]
        if self.input_dtype != np.uint8:
            batch = batch.astype(np.float32)
            batch *= np.float32(1 / 255)
        interpreter.set_tensor(self._local.input, batch)
        interpreter.invoke()
        return interpreter.get_tensor(self._local.output)[0]

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
            self._local.interpreter = interpreter
            self._local.input = interpreter.get_input_details()[0]["index"]
            self._local.output = interpreter.get_output_details()[0]["index"]
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
