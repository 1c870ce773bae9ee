"""Stage `evaluate`: measures the classifier on the test pictures, which it has not seen, and shows what it does.

Writes reports/metrics.json, CSV tables for `dvc plots`, figures, and reports/index.html, one page that needs no other
file and no network.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from imageloom import console, files, images, tables
from imageloom.errors import ImageError
from imageloom.evaluate import figures, metrics, report
from imageloom.features import FeatureStore
from imageloom.files import Paths
from imageloom.params import StageParams
from imageloom.recipes.head import Head, read_about

THUMBNAIL = 144  # pixels


class Params(StageParams):
    """How much is drawn and shown."""

    bootstrap: int = Field(default=2000, ge=100, le=100_000, description="samples drawn for the 95 % intervals")
    grid: int = Field(default=24, ge=1, le=200, description="test pictures shown with their predictions")
    worst: int = Field(default=12, ge=1, le=200, description="pictures with the highest losses shown")


@dataclass(frozen=True)
class Outcome:
    """What the classifier said of the test pictures.

    Args:
        rows: The split's rows of the test pictures, N of them.
        classes: `name` and `label` of the K classes.
        actual: int[N] class numbers.
        probabilities: float32[N, K].
        counts: Pictures of each class (by name) on each side.
    """

    rows: list[dict[str, Any]]
    classes: list[dict[str, str]]
    actual: np.ndarray
    probabilities: np.ndarray
    counts: dict[tuple[str, str], int]

    @property
    def predicted(self) -> np.ndarray:
        """int[N] class numbers."""
        return self.probabilities.argmax(axis=1)

    @property
    def losses(self) -> np.ndarray:
        """float64[N]."""
        return metrics.log_losses(self.probabilities, self.actual)


def run(params: Params, paths: Paths) -> None:
    """Writes reports/.

    Raises:
        DataError: The split or the features are missing.
        ModelError: The classifier is missing or damaged.
    """
    outcome = _outcome(paths)
    result = _measure(outcome, params)
    matrix = metrics.confusion_matrix(outcome.actual, outcome.predicted, len(outcome.classes))
    _write_tables(outcome, paths)
    shown = _thumbnails(outcome, params, paths)
    _draw(outcome, matrix, shown, paths)
    page = report.render(result, matrix, outcome.classes, shown, report.origin(paths))
    files.write_text(paths.reports / "index.html", page)
    files.write_json(paths.reports / "metrics.json", result)
    low, high = result["accuracy_interval"]
    console.say(
        f"evaluate: accuracy {result['accuracy']:.3f} (95 % between {low:.3f} and {high:.3f}), "
        f"macro-F1 {result['macro_f1']:.3f} on {len(outcome.rows):,} test pictures; "
        f"always the commonest class: {result['majority_baseline']:.3f}"
    )


def _outcome(paths: Paths) -> Outcome:
    split = tables.read(paths.split, tables.SPLIT, "split").to_pylist()
    classes = read_about(paths.classifier)["classes"]
    number = {spec["name"]: index for index, spec in enumerate(classes)}
    test = [row for row in split if row["side"] == "test"]
    features = FeatureStore(paths.features).read([row["id"] for row in test])
    probabilities = Head.load(paths.classifier / "head.npz").probabilities(features)
    counts = dict(Counter((row["class"], row["side"]) for row in split))
    return Outcome(test, classes, np.array([number[row["class"]] for row in test]), probabilities, counts)


def _measure(outcome: Outcome, params: Params) -> dict[str, Any]:
    names = [spec["name"] for spec in outcome.classes]
    matrix = metrics.confusion_matrix(outcome.actual, outcome.predicted, len(names))
    accuracy, f1 = metrics.bootstrap(outcome.actual, outcome.predicted, len(names), params.bootstrap)
    train = np.repeat(np.arange(len(names)), [outcome.counts.get((name, "train"), 0) for name in names])
    return {
        "accuracy": round(accuracy.value, 4),
        "accuracy_interval": [round(accuracy.low, 4), round(accuracy.high, 4)],
        "macro_f1": round(f1.value, 4),
        "macro_f1_interval": [round(f1.low, 4), round(f1.high, 4)],
        "majority_baseline": round(metrics.majority_baseline(train, outcome.actual), 4),
        "log_loss": round(float(outcome.losses.mean()), 4),
        "pictures": {side: {name: outcome.counts.get((name, side), 0) for name in names} for side in tables.SIDES},
        "classes": {
            name: {key: round(value, 4) for key, value in vars(score).items()}
            for name, score in zip(names, metrics.class_scores(matrix), strict=True)
        },
    }


def _write_tables(outcome: Outcome, paths: Paths) -> None:
    names = [spec["name"] for spec in outcome.classes]
    files.write_csv(
        paths.reports / "confusion.csv",
        ["actual", "predicted"],
        [[names[a], names[p]] for a, p in zip(outcome.actual, outcome.predicted, strict=True)],
    )
    rows = zip(outcome.rows, outcome.predicted, outcome.losses, outcome.probabilities, strict=True)
    files.write_csv(
        paths.reports / "predictions.csv",
        ["id", "actual", "predicted", "loss", *names],
        [
            [row["id"], row["class"], names[p], f"{loss:.4f}", *(f"{share:.4f}" for share in shares)]
            for row, p, loss, shares in rows
        ],
    )


def _thumbnails(outcome: Outcome, params: Params, paths: Paths) -> dict[str, list[report.Thumbnail]]:
    """The pictures to show: `grid`, as they come in the order of ids, and `worst`, by loss."""
    worst = np.argsort(-outcome.losses, kind="stable")[: params.worst]
    chosen = {"grid": range(min(params.grid, len(outcome.rows))), "worst": worst}
    return {key: [_thumbnail(int(row), outcome, paths) for row in rows] for key, rows in chosen.items()}


def _thumbnail(row: int, outcome: Outcome, paths: Paths) -> report.Thumbnail:
    path = paths.raw / outcome.rows[row]["path"]
    try:
        pixels = images.load(path.read_bytes(), THUMBNAIL, "pad")
    except (ImageError, OSError):  # it was there when it was embedded; the figures do not need it
        pixels = np.full((THUMBNAIL, THUMBNAIL, 3), 200, np.uint8)
    actual, predicted = int(outcome.actual[row]), int(outcome.predicted[row])
    return report.Thumbnail(
        pixels, actual, predicted, float(outcome.probabilities[row, predicted]), outcome.rows[row]["id"]
    )


def _draw(outcome: Outcome, matrix: np.ndarray, shown: dict[str, list[report.Thumbnail]], paths: Paths) -> None:
    names = figures.drawable([spec["label"] for spec in outcome.classes], [spec["name"] for spec in outcome.classes])
    with files.atomic_folder(paths.reports / "figures") as folder:
        figures.confusion(matrix, names, folder / "confusion.png")
        for key, title in (("grid", "predictions.png"), ("worst", "highest_losses.png")):
            cells = [
                figures.Shown(
                    t.pixels, f"{names[t.predicted]} {t.share:.0%}\nis {names[t.actual]}", t.actual == t.predicted
                )
                for t in shown[key]
            ]
            figures.grid(cells, 6, folder / title)
