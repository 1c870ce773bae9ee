"""All that is measured of an outcome: the figures of metrics.json, and the curves and slices beside them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imageloom import tables
from imageloom.evaluate import curves, metrics, slices
from imageloom.evaluate.curves import Curve, Reliability
from imageloom.evaluate.outcome import Outcome
from imageloom.evaluate.slices import Cut, Slice


@dataclass(frozen=True)
class Measures:
    """What was measured.

    Args:
        figures: What metrics.json holds.
        matrix: int[K, K], rows are the actual class.
        scores: Of the K classes.
        roc: K curves, None for a class that has none.
        precision_recall: The same.
        before: How sure and how right the answers are before calibration.
        after: The same after it.
        chance: The calibration error and the bounds of each bin's accuracy if all probabilities were true.
        selective: Share of right answers over share of pictures answered.
        slices: Accuracy on parts of the test pictures.
    """

    figures: dict[str, Any]
    matrix: np.ndarray
    scores: list[metrics.ClassScore]
    roc: list[Curve | None]
    precision_recall: list[Curve | None]
    before: Reliability
    after: Reliability
    chance: tuple[float, np.ndarray, np.ndarray]
    selective: Curve
    slices: list[Slice]


def measure(outcome: Outcome, samples: int, top_k: int, cuts: Sequence[Cut]) -> Measures:
    """Measures all.

    Args:
        outcome: What the classifier said.
        samples: Of the bootstrap.
        top_k: Among how many answers the right one is looked for.
        cuts: What the test pictures are cut by.
    """
    matrix = metrics.confusion_matrix(outcome.actual, outcome.predicted, len(outcome.classes))
    scores = metrics.class_scores(matrix)
    roc, precision_recall = _curves(curves.roc, outcome), _curves(curves.precision_recall, outcome)
    before, after = (curves.reliability(each, outcome.actual) for each in (outcome.uncalibrated, outcome.probabilities))
    chance = curves.by_chance(outcome.probabilities)
    figures = {
        **_doubted(outcome, samples),
        **_ranked(outcome, top_k),
        **_calibration(outcome),
        "ece": after.ece,
        "ece_uncalibrated": before.ece,
        "ece_by_chance": chance[0],
        **_known(outcome),
    }
    names = outcome.names
    sides = Counter((row["class"], outcome.sides.get(row["id"])) for row in outcome.pictures)
    pictures = {side: {name: sides[(name, side)] for name in names} for side in tables.SIDES}
    each_class = dict(zip(names, _each_class(scores, roc, precision_recall), strict=True))
    return Measures(
        figures={**_rounded(figures), "pictures": pictures, "classes": each_class},
        matrix=matrix,
        scores=scores,
        roc=roc,
        precision_recall=precision_recall,
        before=before,
        after=after,
        chance=chance,
        selective=curves.selective(outcome.sure, outcome.right, outcome.near),
        slices=slices.cut(outcome.rows, outcome.right, outcome.groups, cuts),
    )


def _curves(make: Callable[[np.ndarray, np.ndarray], Curve | None], outcome: Outcome) -> list[Curve | None]:
    numbers = range(len(outcome.classes))
    return [make(outcome.probabilities[:, number], outcome.actual == number) for number in numbers]


def _doubted(outcome: Outcome, samples: int) -> dict[str, Any]:
    """Figures with their intervals, where there are any, and the baseline."""
    means = {"log_loss": outcome.losses, "brier": metrics.brier_scores(outcome.probabilities, outcome.actual)}
    found = metrics.bootstrap(outcome.actual, outcome.predicted, outcome.groups, samples, means)
    figures: dict[str, Any] = {}
    for name, interval in found.items():
        figures[name] = interval.value
        if interval.low < interval.high:  # of one picture, or of equal ones, no doubt can be told
            figures[f"{name}_interval"] = [interval.low, interval.high]
    figures["majority_baseline"] = metrics.majority_baseline(outcome.trained_on, outcome.actual)
    figures["micro_f1"] = figures["accuracy"]  # the same wherever a picture has one class and gets one answer
    return figures


def _ranked(outcome: Outcome, top_k: int) -> dict[str, float]:
    """Top-k accuracy, where the classes are more than k."""
    if top_k >= len(outcome.classes):
        return {}
    return {f"top_{top_k}_accuracy": metrics.top_k_accuracy(outcome.probabilities, outcome.actual, top_k)}


def _calibration(outcome: Outcome) -> dict[str, float]:
    return {
        "temperature": outcome.about["calibration"]["temperature"],
        "log_loss_uncalibrated": float(metrics.log_losses(outcome.uncalibrated, outcome.actual).mean()),
        "brier_uncalibrated": float(metrics.brier_scores(outcome.uncalibrated, outcome.actual).mean()),
    }


def _known(outcome: Outcome) -> dict[str, float]:
    known = outcome.known
    figures = {"share_known": float(known.mean())}
    return figures | ({"accuracy_of_known": float(outcome.right[known].mean())} if known.any() else {})


def _each_class(
    scores: list[metrics.ClassScore], roc: list[Curve | None], precision_recall: list[Curve | None]
) -> Iterator[dict[str, Any]]:
    """Figures of each class; one that cannot be told, such as the area under no curve, is not there."""
    for score, first, second in zip(scores, roc, precision_recall, strict=True):
        areas = {"roc_auc": first, "average_precision": second}
        yield _rounded({**vars(score), **{name: curve.area for name, curve in areas.items() if curve}})


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    """Four digits: of 10,000 pictures, one more or less."""
    return {
        name: [round(each, 4) for each in value] if isinstance(value, list) else round(value, 4)
        for name, value in figures.items()
    }
