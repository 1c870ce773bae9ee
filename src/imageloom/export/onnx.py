"""Writes the classifier as ONNX, through tf2onnx; both it and onnxruntime, which checks the outcome, are optional."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import graphs
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
    """Writes a model with the input `images`, uint8[N, S, S, 3], and the outputs `probabilities` and `features`.

    Args:
        target: The file to make.
        saved_model: The folder that `saved_model.write` made.
    """
    tf = graphs.tensorflow()
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    import tf2onnx

    module = tf.saved_model.load(str(saved_model))
    classify, features = (module.signatures[name] for name in ("serving_default", "features"))

    def both(images: Any) -> dict[str, Any]:
        return {**classify(images=images), **features(images=images)}

    spec = classify.structured_input_signature[1]["images"]
    function = tf.function(both, input_signature=[tf.TensorSpec(spec.shape, spec.dtype, name="images")])
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=_OPSET)
    target.write_bytes(model.SerializeToString())


def answer(model: Path) -> Answer:
    """The model as onnxruntime runs it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])

    def run(pixels: np.ndarray) -> np.ndarray:
        probabilities: np.ndarray = session.run(["probabilities"], {"images": pixels})[0]
        return probabilities

    return run
