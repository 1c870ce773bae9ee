"""Stage `train`: fits a classifier on the features of the training pictures, by the recipe `train.recipe`."""

from typing import Any, Literal

import numpy as np
from pydantic import Field

from imageloom import console, files, params, tables, trained_on
from imageloom.errors import DataError
from imageloom.features import FeatureStore
from imageloom.files import Paths
from imageloom.params import ClassSpec, StageParams
from imageloom.recipes import classifier
from imageloom.recipes.probe import Data, ProbeParams
from imageloom.recipes.rejection import RejectionParams
from imageloom.trained_on import TrainedOn


class Params(StageParams):
    """Which recipe, its own parameters, and when its classifier shall not answer."""

    recipe: Literal["probe"] = Field(default="probe", description="`probe`: logistic regression on the features")
    probe: ProbeParams = Field(default=ProbeParams(), description="the probe's own parameters")
    known: RejectionParams = Field(default=RejectionParams(), description="which pictures are answered as known")


def run(settings: Params, paths: Paths) -> None:
    """Writes models/classifier/ and reports/history.csv.

    Raises:
        DataError: The split names a class that the parameters do not know, or too few.
    """
    table = tables.read(paths.split, tables.SPLIT, "split")
    classes = _classes(table["class"].to_pylist(), params.load_classes(paths.params))
    store = FeatureStore(paths.features)
    sides = {side: _side(table, side, classes, store) for side in ("train", "validation")}
    found, history = classifier.fit(sides["train"], sides["validation"], len(classes), settings.probe, settings.known)
    with files.atomic_folder(paths.classifier) as folder:
        found.save(folder)
        TrainedOn.of(row["id"] for row in table.to_pylist() if row["side"] in sides).save(folder / trained_on.FILE)
        files.write_text(folder / "labels.txt", "".join(f"{spec.label}\n" for spec in classes))
        about = {
            "recipe": settings.recipe,
            "classes": [{"name": spec.name, "label": spec.label} for spec in classes],
            "input": {"aspect": store.made_by()["aspect"]},
            **found.describe(),
        }
        files.write_json(folder / "classifier.json", about)
    files.write_csv(paths.reports / "history.csv", list(history[0]), [list(row.values()) for row in history])
    _say(found, history, {side: len(data.classes) for side, data in sides.items()}, settings)


def _say(
    found: classifier.Classifier, history: list[dict[str, Any]], pictures: dict[str, int], settings: Params
) -> None:
    chosen = next(row for row in history if row["chosen"])
    console.say(
        f"train: {settings.recipe} on {pictures['train']:,} pictures, C = {chosen['C']:g}; "
        f"{chosen['validation_accuracy']:.1%} right on {pictures['validation']:,} validation pictures"
    )
    known = found.known
    console.say(
        f"train: temperature {found.temperature:g}; {known.share_known:.1%} of them are known, "
        f"{known.precision:.1%} of these right"
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


def _side(table: Any, side: str, classes: list[ClassSpec], store: FeatureStore) -> Data:
    number = {spec.name: index for index, spec in enumerate(classes)}
    rows = [row for row in table.to_pylist() if row["side"] == side]
    labels = np.array([number[row["class"]] for row in rows])
    return Data(store.read([row["id"] for row in rows]), labels)
