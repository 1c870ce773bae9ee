"""TensorFlow's part of the work: calling a TF-Hub module, and writing a graph as SavedModel or TFLite.

Only the stages `backbone` and `export` use it; all else runs on LiteRT and starts ten seconds sooner.
"""

import errno
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from imageloom.errors import ModelError
from imageloom.quiet import no_native_stderr


def tensorflow() -> ModuleType:
    """Imports TensorFlow; it writes four lines about oneDNN and CUDA before its log level can be set.

    It also imports a Keras, whether used or not: Keras 2, which TF-Hub needs, costs 3 s less than Keras 3.
    """
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    with no_native_stderr():
        import tensorflow
    return tensorflow


def keras() -> ModuleType:
    """Keras 2, which TF-Hub needs; imported behind TensorFlow, which is then silent."""
    tensorflow()
    import tf_keras

    return tf_keras


def feature_vectors(module: Any, images: Any) -> Any:
    """What a loaded TF-Hub module answers: float32[N, D] for float32[N, S, S, 3] images in [0, 1].

    Raises:
        ModelError: The module does not follow TF-Hub's common signature for image feature vectors.
    """
    hint = "choose a module whose page says `Image feature vector`, in TF2 SavedModel format"
    call = getattr(module, "__call__", None)  # noqa: B004
    if call is not None:
        output = call(images)
    elif "default" in getattr(module, "signatures", {}):
        output = module.signatures["default"](images)
    else:
        raise ModelError("the module cannot be called and has no signature `default`", hint)
    if isinstance(output, dict):
        output = output.get("default", next(iter(output.values())))
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) != 2:
        raise ModelError(f"the module answers an array of shape {shape}, not [N, D]", hint)
    return output


def reusable(model: Any) -> Any:
    """A Keras 2 model as TF-Hub's reusable SavedModel: callable, with a switch for training, and trainable.

    Saving this instead of the model itself traces the network twice instead of once a layer: a quarter of the time to
    save, and a quarter to load. See tensorflow.org/hub/reusable_saved_models.

    Args:
        model: A model with one input and one output.
    """
    tf = tensorflow()
    root = tf.train.Checkpoint()
    root.variables, root.trainable_variables = list(model.variables), list(model.trainable_variables)
    root.regularization_losses = []

    @tf.function
    def call(inputs: Any, training: bool = False) -> Any:
        return model(inputs, training=training)

    inputs = tf.TensorSpec(model.inputs[0].shape, tf.float32, name="inputs")
    for training in (True, False):
        call.get_concrete_function(inputs, training=training)
    root.__call__ = call
    return root


def save(module: Any, target: Path, signatures: Any = None) -> None:
    """Writes a SavedModel whose bytes are the same for the same module.

    `fingerprint.pb`, which is optional and holds a random number, is left out.

    Raises:
        OSError: The folder cannot be written.
    """
    tf = tensorflow()
    try:
        tf.saved_model.save(module, str(target), signatures=signatures)
    except tf.errors.OpError as fault:  # how TensorFlow tells of a disk that is full
        full = "No space left on device"
        if full in fault.message:
            raise OSError(errno.ENOSPC, full) from fault
        raise OSError(errno.EIO, fault.message) from fault
    (target / "fingerprint.pb").unlink(missing_ok=True)


def to_tflite(concrete: Any, module: Any) -> bytes:
    """The float32 TFLite model of a concrete function whose variables `module` holds."""
    converter = tensorflow().lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.experimental_lower_to_saved_model = False  # it would write and read one only to convert the same graph
    with no_native_stderr():
        return bytes(converter.convert())


def quantised(content: bytes, stay_float: set[str]) -> bytes:
    """A TFLite model in int8, its ends in float32.

    It is what `TFLiteConverter` itself calls in the end. To call it alone takes 0.4 s in place of 5: what is TFLite
    already need not be converted, and LiteRT finds ranges at 10 ms a picture in place of 110.

    Args:
        content: A float32 model whose tensors have `min` and `max`.
        stay_float: Names of the tensors whose operators calculate in float32.
    """
    tensorflow()
    from tensorflow.lite.python.convert import mlir_quantize

    with no_native_stderr():
        return bytes(mlir_quantize(content, denylisted_nodes=stay_float))
