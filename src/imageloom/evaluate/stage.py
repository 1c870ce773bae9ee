"""Stage `evaluate`: measures the classifier on the test pictures, which it has not seen, and shows what it does.

Writes reports/metrics.json, CSV tables for `dvc plots`, figures, and reports/index.html, one page that needs no other
file and no network.
"""

import csv
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from pydantic import Field

from imageloom import console, files, fonts
from imageloom.evaluate import figures, measures, outcome, pictures, report
from imageloom.evaluate.curves import Curve, Reliability
from imageloom.evaluate.measures import Measures
from imageloom.evaluate.outcome import Outcome
from imageloom.evaluate.slices import Cut
from imageloom.files import Paths
from imageloom.params import StageParams


class Params(StageParams):
    """What is measured and shown, and the report's own words."""

    title: str = Field(default="", description="what the report is headed with; what the classes are if not given")
    purpose: str = Field(default="", description="what the model is for, in the model card")
    cautions: list[str] = Field(default=[], description="what readers of the model card must know besides the figures")
    bootstrap: int = Field(default=2000, ge=100, le=100_000, description="samples drawn for the 95 % intervals")
    top_k: int = Field(default=5, ge=2, le=100, description="answers of which one must be right in top-k accuracy")
    slices: list[Cut] = Field(
        default=[Cut(column="host"), Cut(column="size"), Cut(column="crawl")],
        description="what the test pictures are cut by to see where it errs: names of columns, or column, match and "
        "title; host, size and crawl if not given",
    )
    grid: int = Field(
        default=24, ge=1, le=200, description="pictures in figures/training.png and figures/predictions.png"
    )
    worst: int = Field(default=12, ge=1, le=200, description="pictures with the highest losses shown")
    browse: int = Field(
        default=200, ge=0, le=5000, description="test pictures behind the confusion matrix; each adds some 7 kB"
    )


def run(params: Params, paths: Paths) -> None:
    """Writes reports/.

    Raises:
        DataError: The split or the features are missing.
        ModelError: The classifier is missing or damaged.
    """
    found = outcome.read(paths)
    measured = measures.measure(found, params.bootstrap, params.top_k, params.slices)
    choice = pictures.choose(found, params.worst, params.browse)
    shown = report.Shown(choice, pictures.load(found, choice, paths))
    words = report.Words(params.title, params.purpose, params.cautions)
    _write_tables(found, measured, paths)
    _draw(found, measured, {"predictions": range(params.grid), "highest_losses": choice.worst}, paths)
    files.write_text(paths.reports / "index.html", report.render(found, measured, shown, words, paths))
    files.write_json(paths.reports / "metrics.json", measured.figures)
    result = measured.figures
    low, high = result["accuracy_interval"]
    console.say(
        f"evaluate: accuracy {result['accuracy']:.3f} (95 % between {low:.3f} and {high:.3f}), "
        f"macro-F1 {result['macro_f1']:.3f} on {len(found.rows):,} test pictures; "
        f"always the commonest class: {result['majority_baseline']:.3f}"
    )


def _write_tables(found: Outcome, measured: Measures, paths: Paths) -> None:
    names, reports = found.names, paths.reports
    pairs = [[names[a], names[p]] for a, p in zip(found.actual, found.predicted, strict=True)]
    files.write_csv(reports / "confusion.csv", ["actual", "predicted"], pairs)
    header = ["id", "actual", "predicted", "known", "distance", "loss", *names]
    files.write_csv(reports / "predictions.csv", header, _answers(found))
    header = ["class", "false_positive_rate", "true_positive_rate"]
    files.write_csv(reports / "roc.csv", header, _points(names, measured.roc))
    header = ["class", "recall", "precision"]
    files.write_csv(reports / "precision_recall.csv", header, _points(names, measured.precision_recall))
    header = ["calibration", "confidence", "accuracy", "pictures"]
    bins = [*_bins("before", measured.before), *_bins("after", measured.after)]
    files.write_csv(reports / "calibration.csv", header, bins)
    header = ["slice", "value", "pictures", "accuracy", "low", "high", "p"]
    cuts = (
        [each.title, each.value, each.pictures, *_digits(*vars(each.accuracy).values(), each.p)]
        for each in measured.slices
    )
    files.write_csv(reports / "slices.csv", header, cuts)


def _answers(found: Outcome) -> Iterator[list[Any]]:
    columns = (found.rows, found.predicted, found.known, found.distances, found.losses, found.probabilities)
    for row, predicted, known, distance, loss, shares in zip(*columns, strict=True):
        answer = "yes" if known else "no"
        yield [row["id"], row["class"], found.names[predicted], answer, *_digits(distance, loss, *shares)]


def _points(names: list[str], each: list[Curve | None]) -> Iterator[list[str]]:
    for name, curve in zip(names, each, strict=True):
        if curve is not None:
            thin = curve.thinned()
            yield from ([name, *_digits(x, y)] for x, y in zip(thin.x, thin.y, strict=True))


def _bins(when: str, each: Reliability) -> Iterator[list[Any]]:
    for count, confidence, accuracy in zip(each.counts, each.confidence, each.accuracy, strict=True):
        if count:
            yield [when, *_digits(confidence, accuracy), count]


def _digits(*values: float) -> list[str]:
    return [f"{value:.4f}" for value in values]


def _draw(found: Outcome, measured: Measures, grids: dict[str, Sequence[int]], paths: Paths) -> None:
    names = fonts.drawable([spec["label"] for spec in found.classes], found.names)
    history = _history(paths)
    with files.atomic_folder(paths.reports / "figures") as folder:
        figures.confusion(measured.matrix, names, folder / "confusion.png")
        figures.curves(measured.roc, names, ("false positive rate", "true positive rate"), folder / "roc.png")
        figures.curves(measured.precision_recall, names, ("recall", "precision"), folder / "precision_recall.png")
        figures.reliability(measured.before, measured.after, folder / "calibration.png")
        if history:
            figures.history(history, folder / "history.png")
        for title, rows in grids.items():
            chosen = np.array(rows, int)[: len(found.rows)]
            figures.grid(list(_cells(found, chosen, names, paths)), 6, folder / f"{title}.png")
        learned = list(_learned(found, len(grids["predictions"]), names, paths))
        if learned:
            figures.grid(learned, 6, folder / "training.png")


def _history(paths: Paths) -> list[dict[str, float]]:
    """What each step of the training came to; empty where its recipe measures no loss or its history is not there."""
    try:
        with (paths.reports / "history.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = ("step", *(f"{side}_{what}" for side in ("train", "validation") for what in ("loss", "accuracy")))
        return [
            {name: float(row[name]) for name in columns} | {"chosen": float(row["chosen"] == "True")} for row in rows
        ]
    except (FileNotFoundError, KeyError, ValueError):
        return []


def _learned(found: Outcome, number: int, names: list[str], paths: Paths) -> Iterator[figures.Cell]:
    """Some of the pictures that were trained on, by chance but the same each time, as the network sees them."""
    trained = sorted((row for row in found.pictures if found.sides.get(row["id"]) == "train"), key=itemgetter("id"))
    order = np.random.default_rng(0).permutation(len(trained))[:number]
    rows = [trained[place] for place in order]
    label = dict(zip(found.names, names, strict=True))
    for row, pixels in zip(rows, pictures.thumbnails(found, rows, paths), strict=True):
        yield figures.Cell(pixels, label.get(row["class"], row["class"]), None)


def _cells(found: Outcome, rows: np.ndarray, names: list[str], paths: Paths) -> Iterator[figures.Cell]:
    looked = pictures.thumbnails(found, (found.rows[row] for row in rows), paths)
    for row, pixels in zip(rows, looked, strict=True):
        caption = f"{names[found.predicted[row]]} {found.sure[row]:.0%}\nis {names[found.actual[row]]}"
        yield figures.Cell(pixels, caption, bool(found.right[row]))
