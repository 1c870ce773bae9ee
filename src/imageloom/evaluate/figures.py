"""The report's figures as PNG files, for `dvc plots`, MLflow and slides; the same data give the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import fonts
from imageloom.evaluate import metrics
from imageloom.evaluate.curves import Curve, Reliability

_CLASSES = 30  # in a confusion matrix: one of 500 would have 1.5 billion pixels
_LINES = 10  # in a figure of curves
_DPI = 110

_RIGHT, _WRONG, _PLAIN = "#1b7f4b", "#b3261e", "#555555"


@dataclass(frozen=True)
class Cell:
    """A picture in a grid: uint8[S, S, 3], what was said of it, and whether rightly; None where nobody was asked."""

    pixels: np.ndarray
    caption: str
    right: bool | None


def confusion(matrix: np.ndarray, names: Sequence[str], target: Path) -> None:
    """Draws a confusion matrix: counts, coloured by the share of the actual class.

    Args:
        matrix: int[K, K], rows are the actual class; of more than `_CLASSES` those that are mistaken most are drawn.
        names: K class names.
        target: PNG file.
    """
    shown = metrics.most_mistaken(matrix, _CLASSES)
    shares = (matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))[np.ix_(shown, shown)]
    matrix, names = matrix[np.ix_(shown, shown)], [names[number] for number in shown]
    side = 2.2 + 0.7 * len(names)
    figure = _figure(side + 1.2, side)
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        colour = "white" if shares[row, column] > 0.55 else "#222222"
        text = f"{matrix[row, column]:,}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    axes.set_xticks(
        range(len(names)), names, rotation=30 if len(names) > 3 else 0, ha="right" if len(names) > 3 else "center"
    )
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    figure.colorbar(picture, ax=axes, label="share of the actual class", fraction=0.046)
    _save(figure, target)


def grid(pictures: Sequence[Cell], columns: int, target: Path) -> None:
    """Draws pictures of one size in rows, each framed green where the answer was right and red where not, else grey."""
    side = len(pictures[0].pixels)
    frame, gap, head = side // 48, side // 16, side // 3  # the head holds the caption's two lines
    rows, width, height = -(-len(pictures) // columns), side + 2 * frame + gap, side + 2 * frame + gap + head
    canvas = np.full((rows * height, columns * width, 3), 255, np.uint8)
    figure = _figure(canvas.shape[1] / _DPI, canvas.shape[0] / _DPI)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))  # one for all: a plot for each picture takes ten times as long
    axes.set_axis_off()
    for number, cell in enumerate(pictures):
        top, left = number // columns * height + head, number % columns * width + gap // 2
        colour = _PLAIN if cell.right is None else _RIGHT if cell.right else _WRONG
        rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        canvas[top : top + side + 2 * frame, left : left + side + 2 * frame] = rgb
        canvas[top + frame : top + frame + side, left + frame : left + frame + side] = cell.pixels
        middle = left + frame + side / 2
        axes.text(middle, top - frame, cell.caption, ha="center", va="bottom", fontsize=8, color=colour)
    axes.imshow(canvas, interpolation="nearest")
    _save(figure, target)


def curves(each: Sequence[Curve | None], names: Sequence[str], axes: tuple[str, str], target: Path) -> None:
    """Draws a curve for each class; of more than `_LINES` classes those with the smallest areas.

    Args:
        each: K curves, None for a class that has none.
        names: K class names.
        axes: What x and y are.
        target: PNG file.
    """
    drawn = sorted((curve.area, number) for number, curve in enumerate(each) if curve is not None)[:_LINES]
    plot = _square(*axes)
    for area, number in sorted(drawn, key=lambda pair: pair[1]):
        curve = each[number]
        assert curve is not None
        plot.plot(curve.x, curve.y, linewidth=1.8, label=f"{names[number]}: {area:.3f}")
    if drawn:
        plot.legend(title="area", loc="lower right" if axes[0].startswith("false") else "lower left", fontsize=8)
    _save(plot.figure, target)


def reliability(before: Reliability, after: Reliability, target: Path) -> None:
    """Draws how often answers are right, over how sure they are."""
    plot = _square("probability of the answer", "share that is right")
    plot.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
    for each, label, style in ((before, "before", "o:"), (after, "after", "s-")):
        some = each.counts > 0
        name = f"{label} calibration: ECE {each.ece:.3f}"
        plot.plot(each.confidence[some], each.accuracy[some], style, linewidth=1.5, markersize=4, label=name)
    plot.legend(loc="upper left", fontsize=8)
    _save(plot.figure, target)


def history(steps: Sequence[Mapping[str, float]], target: Path) -> None:
    """Draws loss and accuracy of both sides over the steps of the training, and which step was taken.

    Args:
        steps: `step`, `chosen`, and `train_loss`, `validation_loss`, `train_accuracy`, `validation_accuracy` of each.
        target: PNG file.
    """
    figure = _figure(9, 3.6)
    numbers = [step["step"] for step in steps]
    for plot, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for side, style in (("train", "o--"), ("validation", "o-")):
            values = [step[f"{side}_{what}"] for step in steps]
            plot.plot(numbers, values, style, linewidth=1.6, markersize=3, label=side)
        for step in steps:
            if step["chosen"]:
                plot.axvline(step["step"], color=_PLAIN, linewidth=1, linestyle=":", label="chosen")
        plot.set(xlabel="step", ylabel=what)
        plot.xaxis.get_major_locator().set_params(integer=True)
        plot.grid(color="#e5e5e5")
        plot.set_axisbelow(True)
        plot.legend(fontsize=8)
    _save(figure, target)


def _square(x: str, y: str) -> Any:
    """Axes from 0 to 1 both ways."""
    axes = _figure(4.8, 4.4).subplots()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)
    axes.grid(color="#e5e5e5")
    axes.set_axisbelow(True)
    return axes


def _figure(width: float, height: float) -> Any:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()  # a user's own settings would change the bytes
    matplotlib.rcParams["font.family"] = fonts.family()
    return Figure(figsize=(width, height), layout="constrained", dpi=_DPI)


def _save(figure: Any, target: Path) -> None:
    figure.savefig(target, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.1)
