"""Stage `export`: joins backbone and classifier into models that take pixels and give calibrated probabilities.

models/export/ gets `saved_model/`, `model.tflite` and, as `export.formats` asks, `model_float16.tflite`,
`model_int8.tflite` and `model.onnx`: all take uint8[N, S, S, 3] RGB as images.py delivers it, with scaling and
normalisation inside, and give float32[N, K]. Beside them stand `labels.txt`, `head.npz` (the last layer) and `ood.npz`
(what measures how far a picture is from those of training) and `trained_on.npz` (which pictures these were);
`model.json` tells programs how to run it all. Every format is tried on test pictures, and the stage fails when one does
not answer as the classifier that was evaluated.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from imageloom import card, console, files, network, tables, trained_on
from imageloom.estimator import Estimator
from imageloom.export import check, metadata, onnx, quantise, saved_model, tflite
from imageloom.files import Paths
from imageloom.images import Aspect
from imageloom.network import Network
from imageloom.ood import Detector
from imageloom.params import StageParams
from imageloom.recipes.head import class_numbers, read_about, read_head
from imageloom.tflite_editor import Graph
from imageloom.tflite_graph import TFLiteGraph
from imageloom.trained_on import TrainedOn

Format = Literal["float32", "float16", "int8", "onnx"]
FILES = {
    "float32": "model.tflite",
    "float16": "model_float16.tflite",
    "int8": "model_int8.tflite",
    "saved_model": "saved_model",
    "onnx": "model.onnx",
    "skops": Estimator.FILE,
}
_TITLES = {
    "float32": "TFLite",
    "float16": "TFLite float16",
    "int8": "TFLite int8",
    "saved_model": "SavedModel",
    "onnx": "ONNX",
    "skops": "skops",
}

NETWORK = "backbone.tflite"  # what gives the features that skops' classifier takes

_SHARES = ("accuracy", "agreement", "known_agreement")  # of `check.Measure`, told in model.json and in export.csv


class Params(StageParams):
    """Which formats, and how they are checked."""

    formats: list[Format] = Field(
        default=["float32", "float16", "int8"],
        description="float32, float16, int8 (TFLite) and onnx; float32 and a SavedModel are made in any case",
    )
    representative: int = Field(
        default=200, ge=10, description="training pictures on which int8's features are fitted to float32's"
    )
    check: int = Field(
        default=500, ge=1, description="test pictures on which every format is tried, at most; int8 is on all of them"
    )
    tolerance: float = Field(
        default=1e-3,
        gt=0,
        lt=1,
        description="largest difference of a probability, and of a feature vector as a share of its length, where "
        "numbers stay float32",
    )
    max_disagreement: float = Field(
        default=0.002,
        ge=0,
        lt=1,
        description="largest share of other first answers than the evaluated classifier's, and of pictures that are "
        "known to one of them only",
    )
    max_accuracy_drop: float = Field(
        default=0.01, ge=0, lt=1, description="by how much less int8 may be right than the evaluated classifier"
    )


@dataclass(frozen=True)
class _Sources:
    """What is exported, and the pictures that are needed for it."""

    network: Network
    about: dict[str, Any]
    reference: check.Reference
    rows: list[dict[str, Any]]  # of the split
    paths: Paths

    def side(self, name: str, number: int) -> list[dict[str, Any]]:
        """The first `number` pictures of a side of the split."""
        return [row for row in self.rows if row["side"] == name][:number]

    def pixels(self, rows: Sequence[dict[str, Any]]) -> np.ndarray:
        """uint8[N, S, S, 3]."""
        aspect = self.about["input"]["aspect"]
        return check.load([self.paths.raw / row["path"] for row in rows], self.network.about["image_size"], aspect)

    def features(self, rows: Sequence[dict[str, Any]]) -> np.ndarray:
        """float32[N, D]."""
        return self.network.features.read([row["id"] for row in rows])

    def test_pictures(self, rows: Sequence[dict[str, Any]]) -> check.Pictures:
        """Test pictures, and on what the classifier was evaluated."""
        classes = class_numbers(self.about, rows)
        return check.Pictures(self.pixels(rows), classes, self.features(rows))


def run(params: Params, paths: Paths) -> None:
    """Writes models/export/ and reports/export.csv.

    Raises:
        ModelError: Backbone or classifier are missing, or a format does not answer as it must.
        DataError: There are no test pictures, or one is of a class that the classifier was not trained on.
    """
    sources = _read(paths)
    formats = [name for name in FILES if name in ("float32", "saved_model", *params.formats)]
    if isinstance(sources.reference.head, Estimator):
        formats = ["skops"]
    if "onnx" in formats:
        onnx.require()
    with files.atomic_folder(paths.export) as folder:
        _write_small(sources, folder)
        _write_models(sources, formats, params, folder)
        measures = _measure(sources, formats, params, folder)
        content = _describe(sources, measures, folder)
        files.write_json(folder / card.CARD_FILE, content)
    _report(content["formats"], measures, paths)


def prepare(paths: Paths, module: Any, aspect: Aspect, classes: int) -> None:
    """Does ahead what takes long and needs no classifier, in the process that then calls `run`.

    Args:
        paths: Of the project, which has its backbone.json.
        module: The network, callable as its SavedModel.
        aspect: How a picture becomes square.
        classes: How many there will be; where there are others in the end, less is won.
    """
    found = network.pretrained(paths)
    looks_at = saved_model.Input(found.about["image_size"], aspect)
    saved_model.prepare(found.saved_model, module, looks_at, (found.about["features"], classes))


def _read(paths: Paths) -> _Sources:
    about = read_about(paths.classifier)
    head = read_head(paths.classifier).tempered(about["calibration"]["temperature"])
    reference = check.Reference(head, Detector.load(paths.classifier / "ood.npz"), about["known"])
    rows = tables.read(paths.split, tables.SPLIT, "split").to_pylist()
    return _Sources(network.of(paths), about, reference, rows, paths)


def _write_small(sources: _Sources, folder: Path) -> None:
    labels = "".join(f"{spec['label']}\n" for spec in sources.about["classes"])
    files.write_text(folder / metadata.LABELS_FILE, labels)
    sources.reference.head.save(folder / sources.reference.head.FILE)
    shutil.copyfile(sources.paths.classifier / "ood.npz", folder / "ood.npz")
    TrainedOn.load(sources.paths.classifier / trained_on.FILE).save(folder / trained_on.FILE)


def _write_models(sources: _Sources, formats: Sequence[str], params: Params, folder: Path) -> None:
    head, content = sources.reference.head, sources.network.tflite.read_bytes()
    if isinstance(head, Estimator):
        (folder / NETWORK).write_bytes(content)
        return
    _write_tflite(tflite.classifier(content, head), sources, folder / FILES["float32"])
    if "float16" in formats:
        graph = tflite.classifier(content, head)
        graph.halve()
        _write_tflite(graph, sources, folder / FILES["float16"])
    looks_at = saved_model.Input(sources.network.about["image_size"], sources.about["input"]["aspect"])
    labels = folder / metadata.LABELS_FILE
    saved_model.write(folder / "saved_model", sources.network.saved_model, head, looks_at, labels)
    if "int8" in formats:
        rows = sources.side("train", params.representative)
        pictures = quantise.Representative(sources.pixels(rows), sources.features(rows))
        graph = quantise.backbone(content, pictures)
        graph.set_ends(graph.input, tflite.add_head(graph, head))
        _write_tflite(graph, sources, folder / FILES["int8"])
    if "onnx" in formats:
        onnx.write(folder / FILES["onnx"], folder / "saved_model")


def _write_tflite(graph: Graph, sources: _Sources, target: Path) -> None:
    """With TFLite Metadata and labels, so that others' tools can open it."""
    labels = [spec["label"] for spec in sources.about["classes"]]
    about = metadata.About(
        name=f"imageloom {sources.about['recipe']}",
        description=f"Image classifier of {len(labels):,} classes on {sources.network.about['module']}.",
        licence=sources.network.about["licence"] or "",
        size=sources.network.about["image_size"],
    )
    graph.add_metadata(metadata.NAME, metadata.metadata(about))
    target.write_bytes(metadata.with_labels(graph.to_bytes(), labels))


def _measure(sources: _Sources, formats: Sequence[str], params: Params, folder: Path) -> dict[str, check.Measure]:
    """Every format on test pictures; int8 on all of them, since a point of its accuracy is what is asked about.

    Raises:
        ModelError: One does not answer as it must.
    """
    rows = sources.side("test", len(sources.rows))
    pictures = sources.test_pictures(rows[: params.check])
    found = {}
    for name in formats:
        answer = _answer(name, folder / FILES[name])
        found[name] = check.measure(answer, pictures, sources.reference)
        if name == "int8":
            for start in range(params.check, len(rows), params.check):  # not all in memory at once
                more = sources.test_pictures(rows[start : start + params.check])
                found[name] += check.measure(answer, more, sources.reference)
            check.require_accurate(_TITLES[name], found[name], params.max_accuracy_drop)
        else:
            check.require_agreement(_TITLES[name], found[name], params.max_disagreement)
            if name != "float16":
                check.require_same(_TITLES[name], found[name], params.tolerance)
    return found


def _answer(name: str, path: Path) -> check.Answer:
    if name == "skops":
        return check.estimator(path.with_name(NETWORK), path)
    if name == "saved_model":
        return check.batched(saved_model.answer(path))
    return check.batched(onnx.answer(path)) if name == "onnx" else check.tflite(path)


def _describe(sources: _Sources, measures: dict[str, check.Measure], folder: Path) -> dict[str, Any]:
    """What stands in model.json."""
    digests = {
        path.relative_to(folder).as_posix(): files.sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    about, backbone = sources.about, sources.network.about
    temperature = about["calibration"]["temperature"]
    formats = {}
    for name, found in measures.items():
        path = folder / FILES[name]
        entry: dict[str, Any] = {"file": FILES[name], "head": sources.reference.head.FILE, "ood": "ood.npz"}
        if name == "skops":
            entry["network"] = NETWORK
        if path.suffix == ".tflite":
            entry |= _tensors(path)
        entry |= {"known": about["known"], "temperature": temperature, "bytes": _size(path)}
        formats[name] = entry | {share: round(getattr(found, share), 4) for share in _SHARES}
    return {
        "format": card.FORMAT,
        "version": digests[FILES[next(iter(measures))]][:12],
        "recipe": about["recipe"],
        "classes": about["classes"],
        "input": {"size": backbone["image_size"], **about["input"]},
        "temperature": temperature,
        "formats": formats,
        "trained_on": trained_on.FILE,
        "files": digests,
        "backbone": {key: backbone[key] for key in ("module", "licence", "sha256")},
    }


def _tensors(path: Path) -> dict[str, int | None]:
    """Where in a TFLite file the features are, and the map that is pooled to them."""
    graph = TFLiteGraph(path.read_bytes(), path.name)
    features = graph.features()
    return {"features": features, "map": graph.pooled_map(features)}


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(one.stat().st_size for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file())


def _report(formats: dict[str, Any], measures: dict[str, check.Measure], paths: Paths) -> None:
    """Writes reports/export.csv, and says what was made and how fast it is."""
    columns = ["format", "file", "bytes", "pictures", *_SHARES, "known", "feature_error"]
    rows = []
    for name, found in measures.items():
        entry = formats[name]
        row = [name, entry["file"], entry["bytes"], found.pictures, *(entry[share] for share in _SHARES)]
        rows.append([*row, round(found.known / found.pictures, 4), round(found.feature_error, 4)])
        line = (
            f"export: {_TITLES[name]}, {entry['bytes'] / 1e6:.1f} MB: {found.accuracy:.1%} right on {found.pictures:,} "
            f"test pictures, {found.agreement:.1%} as evaluated"
        )
        graph = entry.get("network", entry["file"])
        if graph.endswith(".tflite"):
            one, two = (check.milliseconds(paths.export / graph, threads) for threads in (1, 2))
            line += f"; {one:.1f} ms a picture, {two:.1f} on two threads"
        console.say(line)
    files.write_csv(paths.reports / "export.csv", columns, rows)
