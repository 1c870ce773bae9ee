"""Charts of the report as SVG: light, sharp at any size, and in the colours of the page, light or dark."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

_WIDTH, _HEIGHT = 420, 380
_LEFT, _TOP, _RIGHT, _BOTTOM = 62, 12, 400, 332  # the square in which curves are drawn
_HISTOGRAM = 44  # pixels, the tallest bar


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        x: float[P], from 0 to 1.
        y: float[P], from 0 to 1.
        style: A class of the style sheet: `c0` to `c7` are colours, `even` is dashed grey.
        dots: What each point tells when it is pointed at; empty for a line without dots.
    """

    x: np.ndarray
    y: np.ndarray
    style: str
    dots: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """A chart whose axes both go from `start` to 1.

    Args:
        title: For those who cannot see it.
        x_name: Of the horizontal axis.
        y_name: Of the vertical axis.
        lines: From back to front.
        start: Where the vertical axis begins.
        band: x, low and high of a shaded band.
        bars: x and heights of a histogram along the horizontal axis.
        cross: x and y of a marked point, and its name.
    """

    title: str
    x_name: str
    y_name: str
    lines: Sequence[Line]
    start: float = 0
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    bars: tuple[np.ndarray, np.ndarray] | None = None
    cross: tuple[float, float, str] | None = None

    def __html__(self) -> str:
        """The `svg` element."""
        parts = [self._axes(), self._bars(), self._band(), *map(self._line, self.lines), self._cross()]
        head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">')
        return head.format(_WIDTH, _HEIGHT, self.title) + Markup("").join(parts) + Markup("</svg>")

    def _x(self, share: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * share

    def _y(self, share: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (share - self.start) / (1 - self.start)

    def _path(self, x: np.ndarray, y: np.ndarray) -> str:
        return "M" + "L".join(f"{self._x(a):.1f} {self._y(b):.1f}" for a, b in zip(x, y, strict=True))

    def _axes(self) -> Markup:
        parts = []
        for tick in np.linspace(0, 1, 6):
            across, up = self._x(tick), self._y(self.start + tick * (1 - self.start))
            parts.append(Markup('<path class="grid-line" d="M{:.1f} {}V{}M{} {:.1f}H{}"/>').format(
                across, _TOP, _BOTTOM, _LEFT, up, _RIGHT))  # fmt: skip
            parts.append(_text(across, _BOTTOM + 18, f"{tick:.0%}"))
            parts.append(_text(_LEFT - 8, up + 4, f"{self.start + tick * (1 - self.start):.0%}", "end"))
        parts.append(_text((_LEFT + _RIGHT) / 2, _HEIGHT - 8, self.x_name))
        middle = (_TOP + _BOTTOM) / 2
        turned = Markup('<text class="name" transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>')
        return Markup("").join([*parts, turned.format(middle, self.y_name)])

    def _bars(self) -> Markup:
        if self.bars is None:
            return Markup("")
        centres, heights = self.bars
        width = (_RIGHT - _LEFT) / len(centres) - 2
        bar = Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
        tall = heights / max(heights.max(), 1) * _HISTOGRAM
        return Markup("").join(
            bar.format(self._x(x) - width / 2, _BOTTOM - height, width, height)
            for x, height in zip(centres, tall, strict=True)
            if height
        )

    def _band(self) -> Markup:
        if self.band is None:
            return Markup("")
        x, low, high = self.band
        outline = self._path(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
        return Markup('<path class="band" d="{}Z"/>').format(outline)

    def _line(self, line: Line) -> Markup:
        if len(line.x) == 0:
            return Markup("")
        drawn = Markup('<path class="line {}" d="{}"/>').format(line.style, self._path(line.x, line.y))
        dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4"><title>{}</title></circle>')
        return drawn + Markup("").join(
            dot.format(line.style, self._x(x), self._y(y), said)
            for x, y, said in zip(line.x, line.y, line.dots, strict=False)
        )

    def _cross(self) -> Markup:
        if self.cross is None:
            return Markup("")
        x, y, name = self._x(self.cross[0]), self._y(self.cross[1]), self.cross[2]
        mark = Markup('<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="6"><title>{}</title></circle>')
        return mark.format(x, y, name) + _text(x - 10, y + 20, name, "end", "mark-name")


def _text(x: float, y: float, words: str, anchor: str = "middle", style: str = "") -> Markup:
    element = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    return element.format(style or "tick", x, y, anchor, words)
