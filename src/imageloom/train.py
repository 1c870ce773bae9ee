"""Stage `train`: fits a classifier on the features of the training pictures, by the recipe `train.recipe`."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits

from imageloom import backbone_files, console, files, graphs, network, params, tables, trained_on
from imageloom.errors import DataError
from imageloom.features import FeatureStore, key
from imageloom.files import Paths
from imageloom.params import ClassSpec, StageParams
from imageloom.recipes import classical, classifier, registry
from imageloom.recipes.classical import ClassicalParams
from imageloom.recipes.classifier import Classifier
from imageloom.recipes.cnn import CnnParams
from imageloom.recipes.data import Data, Fitted
from imageloom.recipes.dense import HeadParams
from imageloom.recipes.distribution import Team
from imageloom.recipes.finetune import FinetuneParams
from imageloom.recipes.live import Live
from imageloom.recipes.probe import ProbeParams
from imageloom.recipes.rejection import RejectionParams
from imageloom.recipes.workshop import Trained, Workshop
from imageloom.trained_on import TrainedOn


class Params(StageParams):
    """Which recipe, its own parameters, and when its classifier shall not answer."""

    recipe: registry.Name = Field(
        default="probe",
        description="`probe`: logistic regression on the features; `head`: a dense layer on them, epoch by epoch; "
        "`classical`: trees, neighbours, support vectors, clusters, on features or pixels; "
        "`finetune`: the network itself trained further; `cnn`: a small network from scratch",
    )
    probe: ProbeParams = Field(default=ProbeParams(), description="the probe's own parameters")
    head: HeadParams = Field(default=HeadParams(), description="the head's own parameters")
    classical: ClassicalParams = Field(default=ClassicalParams(), description="the classical methods' own parameters")
    finetune: FinetuneParams = Field(default=FinetuneParams(), description="the fine-tuning's own parameters")
    cnn: CnnParams = Field(default=CnnParams(), description="the small network's own parameters")
    known: RejectionParams = Field(default=RejectionParams(), description="which pictures are answered as known")


def run(settings: Params, paths: Paths) -> None:
    """Writes models/classifier/ and reports/history.csv.

    Raises:
        DataError: The split names a class that the parameters do not know, or too few, or features are no numbers.
    """
    table = tables.read(paths.split, tables.SPLIT, "split")
    classes, sides = read(table, paths)
    own = getattr(settings, settings.recipe)
    if not Team(getattr(own, "strategy", "none")).is_chief:
        _help(own, settings.recipe, (classes, sides), paths)
        return
    # On one thread: sums come out the same whatever the number of cores, and on matrices as small as these, threads
    # that wait for each other on a busy machine make minutes of seconds.
    with files.atomic_folder(paths.classifier) as folder, threadpool_limits(1):
        if settings.recipe in registry.NETWORKS:
            fitted, sides = _train_network(settings, (classes, sides), table, paths, folder)
        else:
            if settings.recipe == "classical" and classical.write_network(
                settings.classical, network.own(folder).folder
            ):
                sides = _embedded(classes, table, paths, folder)
            recipe = registry.RECIPES[settings.recipe]
            fitted = recipe(sides["train"], sides["validation"], len(classes), own)
        found = classifier.complete(fitted, sides["train"], sides["validation"], settings.known)
        found.save(folder)
        TrainedOn.of(row["id"] for row in table.to_pylist() if row["side"] in sides).save(folder / trained_on.FILE)
        files.write_text(folder / "labels.txt", "".join(f"{spec.label}\n" for spec in classes))
        about = {
            "recipe": settings.recipe,
            "classes": [{"name": spec.name, "label": spec.label} for spec in classes],
            "input": {"aspect": network.pretrained(paths).features.made_by()["aspect"]},
            **found.describe(),
            **({"training": fitted.training} if fitted.training else {}),
        }
        files.write_json(folder / "classifier.json", about)
    history = fitted.history
    files.write_csv(paths.reports / "history.csv", list(history[0]), [list(row.values()) for row in history])
    shutil.rmtree(_kept(paths, settings.recipe), ignore_errors=True)
    _say(fitted, found, sides, settings)


def read(table: Any, paths: Paths) -> tuple[list[ClassSpec], dict[str, Data]]:
    """The classes, and the pictures of the sides `train` and `validation`.

    Args:
        table: The split.
        paths: Of the project.

    Raises:
        DataError: The split names a class that the parameters do not know, or too few, or features are no numbers.
    """
    classes = _classes(table["class"].to_pylist(), params.load_classes(paths.params))
    return classes, _sides(table, classes, network.pretrained(paths).features, paths)


def _sides(table: Any, classes: list[ClassSpec], store: FeatureStore, paths: Paths) -> dict[str, Data]:
    number = {spec.name: index for index, spec in enumerate(classes)}
    found = {}
    for side in ("train", "validation"):
        rows = [row for row in table.to_pylist() if row["side"] == side]
        ids = [row["id"] for row in rows]
        found[side] = Data(
            store.read(ids),
            np.array([number[row["class"]] for row in rows], int),
            np.array([row["group"] for row in rows]),
            tuple(store.read([key(name, view) for name in ids]) for view in store.views()),
            tuple(paths.raw / row["path"] for row in rows),
            np.array([1.0 if row["weight"] is None else row["weight"] for row in rows]),
        )
        if not all(np.isfinite(look).all() for look in (found[side].features, *found[side].views)):
            raise DataError(
                f"features of pictures of the side `{side}` are infinite or no numbers",
                "remove data/features and run `dvc repro --force embed`, which makes all of them again",
            )
    return found


def _train_network(
    settings: Params, given: tuple[list[ClassSpec], dict[str, Data]], table: Any, paths: Paths, folder: Path
) -> tuple[Fitted, dict[str, Data]]:
    """Trains a network, and writes it and its features to a folder.

    Args:
        settings: Which recipe, and how.
        given: Classes and pictures, as `read` gives them.
        table: The split.
        paths: Of the project.
        folder: Where the classifier is being written.

    Returns:
        What stands on the new features, and the pictures with these.
    """
    classes, _ = given
    own = network.own(folder)
    with Live(paths) as live:
        workshop = _workshop(paths, settings.recipe, own.saved_model, live)
        made = _made(getattr(settings, settings.recipe), settings.recipe, given, workshop)
    backbone_files.complete(own.folder, made.about)
    sides = _embedded(classes, table, paths, folder)
    fresh = made.head.probabilities(sides["validation"].features)
    return Fitted(made.head, fresh, made.history, made.chosen, training=made.training), sides


def _help(own: Any, recipe: str, given: tuple[list[ClassSpec], dict[str, Data]], paths: Paths) -> None:
    """Trains along with the process that writes the classifier."""
    with tempfile.TemporaryDirectory(prefix="imageloom-") as folder, threadpool_limits(1):
        workshop = _workshop(paths, recipe, Path(folder) / "saved_model", Live(paths))
        _made(own, recipe, given, workshop)
    console.say("train: this worker has done its part; the first one writes the classifier")


def _made(own: Any, recipe: str, given: tuple[list[ClassSpec], dict[str, Data]], workshop: Workshop) -> Trained:
    """The network that a recipe trains.

    Raises:
        DataError: There is not enough memory for it.
    """
    classes, sides = given
    tf = graphs.tensorflow()
    try:
        return registry.NETWORKS[recipe](sides["train"], sides["validation"], len(classes), own, workshop)
    except tf.errors.ResourceExhaustedError:
        smaller = {"cnn": "size, filters or units", "finetune": "layers, or backbone.image_size"}[recipe]
        raise DataError(
            f"there is not enough memory to train the network on {own.batch_size} pictures at once",
            f"lower train.{recipe}.batch_size, {smaller}",
        ) from None


def _workshop(paths: Paths, recipe: str, target: Path, live: Live) -> Workshop:
    pretrained = network.pretrained(paths)
    return Workshop(pretrained, pretrained.features.made_by()["aspect"], target, _kept(paths, recipe), live.tell)


def _embedded(classes: list[ClassSpec], table: Any, paths: Paths, folder: Path) -> dict[str, Data]:
    """The pictures, with the features that the network in the classifier's folder gives of them, which are stored."""
    own = network.own(folder)
    pictures = {row["id"]: paths.raw / row["path"] for row in table.to_pylist()}
    own.embed(pictures, network.pretrained(paths).features.made_by())
    return _sides(table, classes, own.features, paths)


def _kept(paths: Paths, recipe: str) -> Path:
    """Where a training by a recipe that takes long keeps what it goes on from when it is killed."""
    return paths.classifier.with_name(".classifier.training") / recipe


def _say(fitted: Fitted, found: Classifier, sides: dict[str, Data], settings: Params) -> None:
    row = next(row for row in fitted.history if row["chosen"])
    told = {name: value if isinstance(value, str) else f"{value:g}" for name, value in fitted.chosen.items()}
    chosen = ", ".join(f"{name} = {value}" for name, value in told.items())
    seen, validation = (len(sides[side].classes) for side in ("train", "validation"))
    # What is cross-validated is fitted on both, and was asked about each picture when it had not seen it.
    seen, how = (seen + validation, "in cross-validation") if found.cross_validated else (seen, "on validation")
    console.say(
        f"train: {settings.recipe} on {seen:,} pictures, {chosen}; {row['validation_accuracy']:.1%} right {how}"
    )
    known = found.known
    console.say(
        f"train: temperature {found.temperature:g}; {known.share_known:.1%} of "
        f"{console.counted(validation, 'validation picture')} known, {known.precision:.1%} of these right"
    )
    if known.precision < known.target_precision:
        console.say(
            f"train: for the {known.target_precision:.1%} asked, {known.share_at_target:.1%} would be known; "
            f"train.known.least_share is {settings.known.least_share:g}"
        )


def _classes(found: list[str], given: list[ClassSpec]) -> list[ClassSpec]:
    """The classes in the order of the parameters, or by name where the section is empty."""
    present = sorted(set(found))
    if not given:
        return [ClassSpec(name=name) for name in present]
    unknown = [name for name in present if name not in {spec.name for spec in given}]
    if unknown:
        raise DataError(
            f"there are pictures of {unknown[0]!r}, which is not in `classes`", "add it to `classes` in params.yaml"
        )
    missing = [spec.name for spec in given if spec.name not in present]
    if missing:
        raise DataError(
            f"class {missing[0]!r} has no pictures", "add pictures of it, or take it out of `classes` in params.yaml"
        )
    return given
