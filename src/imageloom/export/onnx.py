"""Writes the classifier as ONNX, through tf2onnx; both it and onnxruntime, which checks the outcome, are optional."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from imageloom.errors import ModelError
from imageloom.export.check import Answer

_OPSET = 17  # of 2022: what runtimes of that year and later read


def require() -> None:
    """Sees that what is needed is installed, before anything long begins.

    Raises:
        ModelError: It is not.
    """
    for name in ("tf2onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise ModelError(
                f"export.formats asks for onnx, which needs the package {name}",
                "install it with `uv pip install tf2onnx onnxruntime`, or take onnx out of export.formats",
            )


def write(target: Path, saved_model: Path) -> None:
    """From `images`, uint8[N, S, S, 3], to `features`, float32[N, D], and `probabilities`, float32[N, K].

    Args:
        target: The file to make.
        saved_model: The folder that `saved_model.write` made.

    Raises:
        ModelError: It does not convert.
    """
    import onnx

    # In a process of its own: tf2onnx and the old parts of TensorFlow that it uses have much to say.
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(saved_model), "--output", str(target)]
    command += ["--tag", "serve", "--signature_def", "features", "--opset", str(_OPSET)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not target.exists():
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(f"the classifier does not convert to ONNX: {reason}", "take onnx out of export.formats")
    model = onnx.load(str(target))
    _name_in_order(model.graph)
    target.write_bytes(model.SerializeToString(deterministic=True))


def _name_in_order(graph: Any) -> None:
    """Numbers the constants as they are first used: tf2onnx names and orders them otherwise each time."""
    constants = {one.name: one for one in graph.initializer}
    numbers: dict[str, str] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in constants:
                node.input[place] = numbers.setdefault(name, f"constant_{len(numbers)}")
    ordered = [constants[name] for name in numbers]
    for one, name in zip(ordered, numbers.values(), strict=True):
        one.name = name
    del graph.initializer[:]
    graph.initializer.extend(ordered)
    for end in (*graph.input, *graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "N"
    del graph.value_info[:]  # shapes inside, which runtimes find themselves


def answer(model: Path) -> Answer:
    """The model as onnxruntime runs it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, features = session.run(["probabilities", "features"], {"images": pixels})
        return probabilities, features

    return run
