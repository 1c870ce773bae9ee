"""Stage `backbone`: makes the pretrained network that turns a picture into a feature vector.

Whatever the module, the outcome is the same under models/backbone/: `saved_model/`, a TF-Hub SavedModel with the common
image-feature-vector signature (float32[N, S, S, 3] RGB in [0, 1] to float32[N, D]), `backbone.tflite`, the same graph
for one picture, and `backbone.json`, which tells size, length and origin. No later stage knows which module it was.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from imageloom import backbone_files, console, files, graphs
from imageloom.backbone import hub, mobilenet_v2
from imageloom.backbone_files import About
from imageloom.errors import ModelError
from imageloom.files import Paths
from imageloom.params import StageParams

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
        licence = mobilenet_v2.LICENCE if params.module == PACKAGED else None
        about = backbone_files.complete(folder, About(params.module, size, features, licence))
    console.say(f"backbone: {params.module}, {size} x {size} pixels to {about['features']:,} features")


def _save_packaged(target: Path, size: int, features: mobilenet_v2.Gives) -> None:
    weights = mobilenet_v2.find_weights()
    graphs.save(graphs.reusable(mobilenet_v2.build(weights, size, features)), target)
