"""Stage `backbone`: makes the pretrained network that turns a picture into a feature vector.

Whatever the module, the outcome is the same under models/backbone/: `saved_model/`, a TF-Hub SavedModel with the common
image-feature-vector signature (float32[N, S, S, 3] RGB in [0, 1] to float32[N, D]), `backbone.tflite`, the same graph
for one picture, and `backbone.json`, which tells size, length and origin. No later stage knows which module it was.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from imageloom import backbone_files, console, files, graphs
from imageloom.backbone import efficientnet_lite, hub, keras_applications, mobilenet_v2
from imageloom.backbone_files import About, FeatureLayers
from imageloom.errors import ModelError
from imageloom.files import Paths
from imageloom.params import StageParams

DEFAULT = "mobilenet_v2_100_224"
PACKAGED = {DEFAULT: mobilenet_v2.NETWORK, "efficientnet_lite0_224": efficientnet_lite.NETWORK}
KERAS = "keras:"
_OF_PYRAMID = 320  # pixels: a multiple of 64, and its half still shows what there is
WEIGHTS = ("imagenet", "none")  # of those; anything else is a file


class Params(StageParams):
    """Which network."""

    module: str = Field(
        default=DEFAULT,
        min_length=1,
        description=f"{' or '.join(f'`{name}`' for name in PACKAGED)} (packaged weights); `{KERAS}` and the name of a "
        f"network of Keras Applications, such as `{KERAS}VGG16`; or a TF-Hub handle: an https address, a folder, a "
        ".tar.gz",
    )
    weights: str | None = Field(
        default=None,
        min_length=1,
        description=f"of a `{KERAS}` network: `imagenet`, downloaded once, if not given; a file that Keras wrote; or "
        "`none`, random numbers, for trying things out",
    )
    features: FeatureLayers | None = Field(
        default=None,
        description="`last` layer; `multi`, earlier layers beside it, which tell more of texture and small things; or "
        "`pyramid`, these of the picture at half its size as well; if not given, packaged modules have `multi`, "
        "others `last`",
    )
    image_size: int | None = Field(
        default=None,
        ge=32,
        le=1024,
        description="side of the pictures it sees, in pixels; if not given, of those that it was trained on, as far as "
        "its name tells, or 224; with `features: pyramid` 320",
    )


def run(params: Params, paths: Paths) -> None:
    """Writes models/backbone/.

    Raises:
        ModelError: The module cannot be had, has been altered, or is no image feature vector.
    """
    about = _about(params)
    with files.atomic_folder(paths.backbone) as folder:
        if params.module in PACKAGED:
            told = _write_packaged(about, folder)
        else:
            told = backbone_files.complete(folder, _write_other(params, paths, about, folder))
    console.say(
        f"backbone: {params.module}, {about.image_size} x {about.image_size} pixels to {told['features']:,} features"
        + (": its weights are random, it has learnt nothing" if told["weights"] == "none" else "")
    )


def write_graph(params: Params, paths: Paths) -> None:
    """Writes models/backbone/ without its SavedModel, of a packaged network: all that embedding needs, in a second.

    Raises:
        ModelError: The module is none of `PACKAGED`, or its package is not as needed.
    """
    about = _about(params)
    with files.atomic_folder(paths.backbone) as folder:
        backbone_files.write_graph(folder, about, PACKAGED[about.module].tflite(about.image_size, about.layers))


def load(params: Params, paths: Paths) -> Any:
    """The network as TF-Hub's reusable module, which a packaged one is without its SavedModel.

    Returns:
        What takes float32[N, S, S, 3] RGB in [0, 1] and gives float32[N, D].

    Raises:
        ModelError: The SavedModel is missing or damaged, or the package is not as needed.
    """
    if params.module in PACKAGED:
        about = _about(params)
        return graphs.reusable(PACKAGED[about.module].keras_model(about.image_size, about.layers))
    folder = paths.backbone / "saved_model"
    try:
        return graphs.tensorflow().saved_model.load(str(folder))
    except Exception as fault:  # TensorFlow has many ways to tell of a damaged file
        raise ModelError(f"{folder} cannot be read: it is missing or damaged", "run `dvc repro backbone`") from fault


def _about(params: Params) -> About:
    layers = params.features or ("multi" if params.module in PACKAGED else "last")
    _require_sense(params, layers)
    licence = PACKAGED[params.module].package.licence if params.module in PACKAGED else None
    size = params.image_size or (_OF_PYRAMID if layers == "pyramid" else _own_size(params.module))
    return About(params.module, size, layers, licence)


def _write_packaged(about: About, folder: Path) -> dict[str, Any]:
    network = PACKAGED[about.module]
    told = backbone_files.write_graph(folder, about, network.tflite(about.image_size, about.layers))
    model = network.keras_model(about.image_size, about.layers)
    backbone_files.check(folder, model)
    _save(model, folder)
    return told


def _write_other(params: Params, paths: Paths, about: About, folder: Path) -> About:
    """Writes the network's SavedModel into a folder, and gives what more is known of it."""
    if params.module.startswith(KERAS):
        weights = _weights(params, paths)
        _save(keras_applications.build(params.module.removeprefix(KERAS), about.image_size, weights), folder)
        return replace(about, weights=files.sha256(weights) if isinstance(weights, Path) else weights)
    hub.fetch(params.module, folder / "saved_model", paths.root)
    return about


def _require_sense(params: Params, layers: str) -> None:
    if layers != "last" and params.module not in PACKAGED:
        raise ModelError(f"{params.module} gives the features of its last layer only", "set `features: last`")
    if params.weights and not params.module.startswith(KERAS):
        raise ModelError(f"{params.module} brings its own weights", "leave backbone.weights out")


def _own_size(module: str) -> int:
    """Side of the pictures that the module was trained on, as far as its name tells."""
    if module.startswith(KERAS):
        return keras_applications.size_of(module.removeprefix(KERAS))
    return hub.size_from(module)


def _weights(params: Params, paths: Paths) -> str | Path:
    """What `keras_applications.build` takes."""
    named = params.weights or "imagenet"
    return named if named in WEIGHTS else paths.root / named


def _save(model: Any, folder: Path) -> None:
    graphs.save(graphs.reusable(model), folder / "saved_model")
