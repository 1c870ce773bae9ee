"""reports/index.html: one page that tells how good the classifier is, on what, where it errs, and why.

It needs no other file and no network, and its policy forbids the browser to ask for one.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import tables, wilson
from imageloom.evaluate import cards, metrics
from imageloom.evaluate.charts import Chart, Line
from imageloom.evaluate.curves import BINS, Curve, Reliability
from imageloom.evaluate.measures import Measures
from imageloom.evaluate.outcome import Outcome
from imageloom.evaluate.pictures import Choice, Picture
from imageloom.files import Paths
from imageloom.sheet import page

CLASSES = 30  # in the confusion matrix: those that are mistaken most where there are more
LINES = 8  # curves in a chart: there are no more colours that people tell apart
MISTAKES = 8  # pairs of classes that are listed

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Shown:
    """The pictures of the page: which, and what is known of each of them."""

    choice: Choice
    pictures: list[Picture]


@dataclass(frozen=True)
class Words:
    """What the project says of itself: the page's heading, what the model is for, and what readers must know."""

    title: str
    purpose: str
    cautions: list[str]


def render(outcome: Outcome, measures: Measures, shown: Shown, words: Words, paths: Paths) -> str:
    """The page.

    Raises:
        DataError: What is known of the backbone is missing.
    """
    place = {picture.row: number for number, picture in enumerate(shown.pictures)}
    return page.render(
        _HERE / "report.html",
        result=measures.figures,
        tested=len(outcome.rows),
        right=int(outcome.right.sum()),
        classes=_classes(outcome, measures),
        sides=tables.SIDES,
        matrix=_matrix(outcome, measures),
        mistakes=_mistakes(measures),
        charts=_charts(outcome, measures),
        known=_known(outcome),
        slices={title: list(parts) for title, parts in itertools.groupby(measures.slices, lambda part: part.title)},
        data=cards.data_card(outcome),
        model=cards.model_card(outcome, measures.slices, paths),
        words=words,
        worst=[place[row] for row in shown.choice.worst],
        unknown=[place[row] for row in shown.choice.unknown],
        pictures={
            "labels": [spec["label"] for spec in outcome.classes],
            "pictures": [picture.to_dict(outcome) for picture in shown.pictures],
        },
    )


def _classes(outcome: Outcome, measures: Measures) -> list[dict[str, Any]]:
    """Figures of each class, its precision and recall with their intervals."""
    named = measures.matrix.sum(axis=0)

    def interval(share: float, among: np.ndarray) -> metrics.Interval:
        number = metrics.trials(outcome.right[among], outcome.groups[among])
        return metrics.Interval(share, *wilson.interval(share, number))

    return [
        {
            "label": spec["label"],
            "name": spec["name"],
            "recall": interval(score.recall, outcome.actual == number),
            "precision": interval(score.precision, outcome.predicted == number),
            "f1": score.f1,
            "support": score.support,
            "named": int(named[number]),
            "roc": measures.roc[number],
            "precision_recall": measures.precision_recall[number],
        }
        for number, (spec, score) in enumerate(zip(outcome.classes, measures.scores, strict=True))
    ]


def _matrix(outcome: Outcome, measures: Measures) -> dict[str, Any]:
    """The confusion matrix of the classes that are shown, counts and shares of each row."""
    matrix = measures.matrix
    shown = metrics.most_mistaken(matrix, CLASSES)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return {
        "classes": shown.tolist(),
        "counts": matrix[np.ix_(shown, shown)].tolist(),
        "shares": shares[np.ix_(shown, shown)].tolist(),
        "left_out": len(outcome.classes) - len(shown),
    }


def _mistakes(measures: Measures) -> list[dict[str, Any]]:
    """Pairs of classes of which the first is taken for the second, the commonest first."""
    wrong = measures.matrix * (1 - np.eye(len(measures.matrix), dtype=int))
    shares = wrong / np.maximum(measures.matrix.sum(axis=1, keepdims=True), 1)
    order = np.lexsort((-shares.ravel(), -wrong.ravel()))[:MISTAKES]
    pairs = [divmod(int(place), len(wrong)) for place in order if wrong.flat[place]]
    return [{"actual": a, "predicted": p, "count": int(wrong[a, p]), "share": float(shares[a, p])} for a, p in pairs]


def _known(outcome: Outcome) -> dict[str, Any]:
    """Right and wrong answers among those that are known, unsure, and too far from the training pictures."""
    unsure = outcome.near & ~outcome.known
    parts = (("known", outcome.known), ("unsure", unsure), ("unlike", ~outcome.near))
    return {name: {"right": int(outcome.right[part].sum()), "all": int(part.sum())} for name, part in parts}


def _charts(outcome: Outcome, measures: Measures) -> dict[str, Any]:
    labels = [spec["label"] for spec in outcome.classes]
    even = Line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "even")
    roc, precision_recall = _lines(measures.roc, labels), _lines(measures.precision_recall, labels)
    return {
        "roc": {
            "chart": Chart(
                "ROC curve of each class", "false positive rate", "true positive rate", [even, *_drawn(roc)]
            ),
            "lines": roc,
        },
        "precision_recall": {
            "chart": Chart("precision over recall of each class", "recall", "precision", _drawn(precision_recall)),
            "lines": precision_recall,
        },
        "reliability": _reliability(measures, even),
        "selective": _selective(outcome, measures.selective),
    }


def _lines(each: list[Curve | None], labels: list[str]) -> list[dict[str, Any]]:
    """The curves of a chart, those with the smallest areas where there are too many, in the order of the classes."""
    some = sorted((curve.area, number) for number, curve in enumerate(each) if curve is not None)[:LINES]
    return [
        {"label": labels[number], "area": area, "curve": each[number], "style": f"c{place}"}
        for place, (area, number) in enumerate(sorted(some, key=lambda pair: pair[1]))
    ]


def _drawn(lines: list[dict[str, Any]]) -> list[Line]:
    thin = [(line["curve"].thinned(), line["style"]) for line in lines]
    return [Line(curve.x, curve.y, style) for curve, style in thin]


def _reliability(measures: Measures, even: Line) -> Chart:
    """How often answers are right over how sure they are, within what chance allows, over a histogram."""
    some = measures.after.counts > 0
    _, low, high = measures.chance
    return Chart(
        "how often answers are right, over how sure they are, before and after calibration",
        "probability of the answer",
        "share that is right",
        [even, _dotted(measures.before, "before"), _dotted(measures.after, "after")],
        band=(measures.after.confidence[some], low[some], high[some]),
        bars=((np.arange(BINS) + 0.5) / BINS, measures.after.counts),
    )


def _dotted(each: Reliability, style: str) -> Line:
    some = each.counts > 0
    values = zip(each.counts[some], each.confidence[some], each.accuracy[some], strict=True)
    said = [f"{style}: {count:,} answers, {sure:.1%} sure, {right:.1%} right" for count, sure, right in values]
    return Line(each.confidence[some], each.accuracy[some], style, said)


def _selective(outcome: Outcome, curve: Curve) -> Chart:
    """Share of right answers over share answered, and where the model's bounds are."""
    thin = curve.thinned()
    enough = thin.x * len(outcome.rows) >= min(20, len(outcome.rows))  # of fewer, a share says nothing
    x, y = thin.x[enough], thin.y[enough]
    known = outcome.known
    cross = (float(known.mean()), float(outcome.right[known].mean()), "as it is") if known.any() else None
    lowest = min(float(y.min()), cross[1] if cross else 1)
    start = max(0.0, np.floor(lowest * 10 - 0.5) / 10)
    return Chart(
        "share of right answers, over the share of the pictures that is answered",
        "share of the pictures that is answered, the surest first",
        "share that is right",
        [Line(x, y, "c0")],
        start=min(float(start), 0.9),
        cross=cross,
    )
