"""Stage `backbone`: makes the pretrained network that turns a picture into a feature vector.

Whatever the module, the outcome is the same under models/backbone/: `saved_model/`, a TF-Hub SavedModel with the common
image-feature-vector signature (float32[N, S, S, 3] RGB in [0, 1] to float32[N, D]), `backbone.tflite`, the same graph
for one picture, and `backbone.json`, which tells size, length and origin. No later stage knows which module it was.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from imageloom import console, files, graphs
from imageloom.backbone import hub, mobilenet_v2
from imageloom.engine import Engine
from imageloom.errors import ModelError
from imageloom.files import Paths
from imageloom.params import StageParams
from imageloom.tflite_editor import Graph

PACKAGED = "mobilenet_v2_100_224"


class Params(StageParams):
    """Which network."""

    module: str = Field(
        default=PACKAGED,
        min_length=1,
        description=f"`{PACKAGED}` (packaged weights), or a TF-Hub handle: an https address, a folder, a .tar.gz",
    )
    features: Literal["last", "multi"] | None = Field(
        default=None,
        description="`last` layer, or `multi`, earlier layers beside it, which tell more of texture and small things; "
        f"if not given, the most that the module can: {PACKAGED} can both, others `last`",
    )
    image_size: int | None = Field(
        default=None,
        ge=32,
        le=1024,
        description="side of the pictures it sees, in pixels; the one in the module's name, or 224, if not given",
    )


def run(params: Params, paths: Paths) -> None:
    """Writes models/backbone/.

    Raises:
        ModelError: The module cannot be had, has been altered, or is no image feature vector.
    """
    size = params.image_size or hub.size_from(params.module)
    features = params.features or ("multi" if params.module == PACKAGED else "last")
    with files.atomic_folder(paths.backbone) as folder:
        saved_model = folder / "saved_model"
        if params.module == PACKAGED:
            _save_packaged(saved_model, size, features)
        elif features == "multi":
            raise ModelError(f"{params.module} gives the features of its last layer only", "set `features: last`")
        else:
            hub.fetch(params.module, saved_model, paths.root)
        length = _convert(saved_model, folder / "backbone.tflite", size)
        about = {
            "module": params.module,
            "image_size": size,
            "features": length,
            "layers": features,
            "licence": mobilenet_v2.LICENCE if params.module == PACKAGED else None,
            "sha256": files.sha256(folder / "backbone.tflite"),
        }
        files.write_json(folder / "backbone.json", about)
    console.say(f"backbone: {params.module}, {size} x {size} pixels to {length:,} features")


def _save_packaged(target: Path, size: int, features: mobilenet_v2.Gives) -> None:
    weights = mobilenet_v2.find_weights()
    graphs.save(graphs.reusable(mobilenet_v2.build(weights, size, features)), target)


def _convert(saved_model: Path, target: Path, size: int) -> int:
    """Writes the module's graph for one picture as TFLite, checks that both agree, and returns the vectors' length."""
    tf = graphs.tensorflow()
    try:
        module = tf.saved_model.load(str(saved_model))
        call = tf.function(lambda images: graphs.feature_vectors(module, images))
        concrete = call.get_concrete_function(tf.TensorSpec((1, size, size, 3), tf.float32))
        content = graphs.to_tflite(concrete, module)
    except ModelError:
        raise
    except Exception as fault:  # each step has its own ways to refuse a module
        reason = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
        raise ModelError(
            f"the module does not take pictures of {size} x {size}, or does not convert: {reason}",
            "set backbone.image_size to the module's own, or choose another image feature vector",
        ) from fault
    model = Graph(content)
    model.widen()
    target.write_bytes(model.to_bytes())
    engine = Engine(target)
    picture = _test_picture(size)
    expected = np.asarray(concrete(tf.constant(picture[np.newaxis] / np.float32(255))))[0]
    _check_agreement(expected, engine(picture))
    return engine.output_length


def _test_picture(size: int) -> np.ndarray:
    """A fixed picture with smooth colour and fine texture, uint8[size, size, 3]."""
    ramp = np.linspace(0, 255, size)
    noise = np.random.default_rng(0).integers(0, 64, (size, size))
    return np.stack([ramp[:, None] * 0.75 + noise, ramp[None, :] * 0.75 + noise, 191 - noise + 0 * ramp], -1).astype(
        np.uint8
    )


def _check_agreement(expected: Any, answer: np.ndarray) -> None:
    error = float(np.abs(expected - answer).max() / (np.abs(expected).max() + 1e-12))
    if not error < 1e-3:
        raise ModelError(
            f"the TFLite graph differs from the SavedModel by {error:.1%} of its largest value", "try another module"
        )
