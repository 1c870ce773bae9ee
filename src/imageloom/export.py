"""Stage `export`: joins backbone and classifier into models that take pixels and give probabilities.

models/export/ gets `saved_model/` and `model.tflite`, both from uint8[N, S, S, 3] RGB as images.py delivers them, with
scaling and normalisation inside, to float32[N, K] probabilities; `labels.txt`; and `model.json`, which tells a program
how to run them. The stage fails when SavedModel, TFLite and the Python that was evaluated do not agree.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from imageloom import console, files, graphs, images, tables
from imageloom.engine import Engine, cores, map_ordered
from imageloom.errors import DataError, ModelError
from imageloom.features import FeatureStore
from imageloom.files import Paths
from imageloom.params import StageParams
from imageloom.recipes.head import Head, read_about

FORMAT = 1  # of model.json; raised when an old reader could misread a new file


class Params(StageParams):
    """How much is checked."""

    check: int = Field(default=200, ge=1, description="test pictures on which the formats must agree, at most")
    tolerance: float = Field(
        default=1e-3, gt=0, lt=1, description="largest difference of a probability between formats"
    )


def run(params: Params, paths: Paths) -> None:
    """Writes models/export/.

    Raises:
        ModelError: Backbone or classifier are missing, or the formats do not agree.
    """
    backbone = files.read_json(paths.backbone / "backbone.json", "backbone")
    about, head = read_about(paths.classifier), Head.load(paths.classifier / "head.npz")
    with files.atomic_folder(paths.export) as folder:
        _write_models(paths.backbone / "saved_model", head, backbone["image_size"], folder)
        files.write_text(folder / "labels.txt", "".join(f"{spec['label']}\n" for spec in about["classes"]))
        files.write_json(folder / "model.json", _describe(about, backbone, folder))
        number, difference = _check(head, folder, about["input"]["aspect"], params, paths)
    size = (paths.export / "model.tflite").stat().st_size / 1e6
    console.say(
        f"export: SavedModel, TFLite ({size:.1f} MB) and Python agree on {number:,} test pictures, "
        f"probabilities to {difference:.0e}"
    )


def _write_models(backbone: Path, head: Head, size: int, folder: Path) -> None:
    tf = graphs.tensorflow()
    module = tf.Module()
    module.backbone = tf.saved_model.load(str(backbone))
    module.kernel, module.bias = tf.Variable(head.kernel), tf.Variable(head.bias)

    def classify(images: Any) -> dict[str, Any]:
        scaled = tf.cast(images, tf.float32) / 255.0
        features = graphs.feature_vectors(module.backbone, scaled)
        return {"probabilities": tf.nn.softmax(tf.matmul(features, module.kernel) + module.bias)}

    def graph(number: int | None) -> Any:
        return tf.function(classify).get_concrete_function(
            tf.TensorSpec((number, size, size, 3), tf.uint8, name="images")
        )

    graphs.save(module, folder / "saved_model", signatures={"serving_default": graph(None)})
    (folder / "model.tflite").write_bytes(graphs.to_tflite(graph(1), module))


def _describe(about: dict[str, Any], backbone: dict[str, Any], folder: Path) -> dict[str, Any]:
    digests = {name: files.sha256(folder / name) for name in ("model.tflite", "labels.txt")}
    return {
        "format": FORMAT,
        "version": digests["model.tflite"][:12],
        "classes": about["classes"],
        "input": {"size": backbone["image_size"], **about["input"]},
        "files": digests,
        "recipe": about["recipe"],
        "backbone": {key: backbone[key] for key in ("module", "licence", "sha256")},
    }


def _check(head: Head, folder: Path, aspect: images.Aspect, params: Params, paths: Paths) -> tuple[int, float]:
    """Number of pictures compared, and the largest difference of a probability.

    Raises:
        ModelError: It is larger than `params.tolerance`.
    """
    split = tables.read(paths.split, tables.SPLIT, "split").to_pylist()
    rows = [row for row in split if row["side"] == "test"][: params.check]
    expected = head.probabilities(FeatureStore(paths.features).read([row["id"] for row in rows]))
    engine = Engine(folder / "model.tflite")
    saved_model = graphs.tensorflow().saved_model.load(str(folder / "saved_model")).signatures["serving_default"]

    def look(row: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        path = paths.raw / row["path"]
        try:
            pixels = images.load(path.read_bytes(), engine.size, aspect)
        except OSError as fault:
            hint = "run `imageloom scrape` to get it again"
            raise DataError(f"cannot read {path}: {fault.strerror}", hint) from None
        return pixels, engine(pixels)

    pixels, of_tflite = map(np.stack, zip(*map_ordered(look, rows, cores()), strict=True))
    batches = (pixels[start : start + 32] for start in range(0, len(pixels), 32))
    of_saved_model = np.concatenate([saved_model(images=batch)["probabilities"].numpy() for batch in batches])
    differences = {
        name: float(np.abs(answer - expected).max())
        for name, answer in (("TFLite", of_tflite), ("SavedModel", of_saved_model))
    }
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= params.tolerance:
        raise ModelError(
            f"{worst} differs from the evaluated classifier by {differences[worst]:.3g}, over {params.tolerance:g}",
            "run `dvc repro --force backbone`; if that does not help, choose another backbone",
        )
    return len(rows), differences[worst]
