"""The report's figures as PNG files, for `dvc plots`, MLflow and slides; the same data give the same bytes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Microsoft YaHei",
)
_RIGHT, _WRONG = "#1b7f4b", "#b3261e"


@dataclass(frozen=True)
class Shown:
    """A picture in a grid: uint8[H, W, 3], and what was said of it."""

    pixels: np.ndarray
    caption: str
    right: bool


def confusion(matrix: np.ndarray, names: Sequence[str], target: Path) -> None:
    """Draws a confusion matrix: counts, coloured by the share of the actual class.

    Args:
        matrix: int[K, K], rows are the actual class.
        names: K class names.
        target: PNG file.
    """
    side = 2.2 + 0.7 * len(names)
    figure = _figure(side + 1.2, side)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
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


def grid(pictures: Sequence[Shown], columns: int, target: Path) -> None:
    """Draws pictures in rows, each framed green where the answer was right and red where not."""
    rows = max(1, -(-len(pictures) // columns))
    figure = _figure(1.75 * columns, 2.1 * rows)
    cells = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, shown in zip(cells, pictures, strict=False):
        axes.set_axis_on()
        axes.imshow(shown.pixels)
        axes.set_xticks([])
        axes.set_yticks([])
        colour = _RIGHT if shown.right else _WRONG
        axes.set_title(shown.caption, fontsize=8, color=colour)
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=2)
    _save(figure, target)


def drawable(labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """What to write for each class: its label where a font on this machine has the letters, else its name or number."""
    letters = _letters()
    chosen = []
    for number, (label, name) in enumerate(zip(labels, names, strict=True), start=1):
        fits = (text for text in (label, name) if all(ord(letter) in letters for letter in text))
        chosen.append(next(fits, f"class {number}").replace("$", r"\$"))
    return chosen


def _fonts() -> list[str]:
    from matplotlib import font_manager

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans", *(name for name in _SCRIPTS if name in installed)]


def _letters() -> set[int]:
    from matplotlib import font_manager, ft2font

    paths = [font_manager.findfont(name) for name in _fonts()]
    return {code for path in paths for code in ft2font.FT2Font(path).get_charmap()}


def _figure(width: float, height: float) -> Any:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()  # a user's own settings would change the bytes
    matplotlib.rcParams["font.family"] = _fonts()
    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _save(figure: Any, target: Path) -> None:
    figure.savefig(target, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.1)
