"""reports/clean/index.html: what each check marks, with pictures, what people decided, and what cleaning did."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageloom import thumbnails
from imageloom.clean.checks import CHECKS
from imageloom.clean.effect import Effect
from imageloom.clean.outcome import REASONS, Outcome
from imageloom.engine import cores, map_ordered
from imageloom.errors import ImageError
from imageloom.files import Paths
from imageloom.sheet import page

SIDE = 160  # pixels, the longer side of a picture
VIEWS = 4  # pictures of a group of near duplicates that are shown beside each other

# What the detail of a score says; that of others is shown as it is.
SAID = {"label_issues": "more like {}", "two_classes": "also {}"}


@dataclass(frozen=True)
class Shown:
    """One picture of a grid, or several that belong together.

    Args:
        rows: Rows of `tables.CLEAN`.
        words: What is said of them, beside the class of the first.
    """

    rows: Sequence[dict[str, Any]]
    words: str


@dataclass(frozen=True)
class Grid:
    """Pictures that one check marks, or that are left out for one reason.

    Args:
        name: Of the check or reason.
        title: Its heading.
        help: What it means.
        count: How many there are.
        shown: Some of them, the worst first.
    """

    name: str
    title: str
    help: str
    count: int
    shown: list[Shown]


def render(result: Outcome, change: Effect | None, shown: int, paths: Paths) -> str:
    """The page.

    Args:
        result: What becomes of the pictures.
        change: What cleaning did; None where that is not known.
        shown: Pictures of each grid.
        paths: Of the project.
    """
    grids = [*_marked(result, shown), *_groups(result, shown), *_left_out(result, shown)]
    wanted = {row["id"]: row for grid in grids for each in grid.shown for row in each.rows}
    jpegs = map_ordered(lambda row: _jpeg(paths.raw / row["path"]), list(wanted.values()), cores())
    return page.render(
        Path(__file__).with_name("report.html"),
        result=result,
        checks=CHECKS,
        reasons=REASONS,
        change=change,
        grids=grids,
        flagged=sum(bool(row["flags"]) for row in result.rows),
        jpegs=dict(zip(wanted, jpegs, strict=True)),
    )


def _marked(result: Outcome, shown: int) -> Iterator[Grid]:
    """What each check marks, the worst first; groups of near duplicates are shown otherwise."""
    rows = {row["id"]: row for row in result.rows}
    grouped = {tally.check for tally in result.tallies if tally.action == "group"}
    marked: dict[str, list[dict[str, Any]]] = {name: [] for name in CHECKS}
    for score in result.scores:
        if score["flagged"]:
            marked[score["check"]].append(score)
    for name, scores in marked.items():
        if not scores or name in grouped:
            continue
        worst = sorted(scores, key=lambda score: (score["score"], score["id"]))[:shown]
        pictures = [_told(score, rows) for score in worst]
        yield Grid(name, CHECKS[name].title, CHECKS[name].help, len(scores), pictures)


def _told(score: dict[str, Any], rows: dict[str, dict[str, Any]]) -> Shown:
    """The picture of a score, with the other one where the detail names one."""
    row, detail = rows[score["id"]], score["detail"]
    if detail in rows:
        return Shown([row, rows[detail]], "")
    return Shown([row], SAID.get(score["check"], "{}").format(detail) if detail else "")


def _groups(result: Outcome, shown: int) -> Iterator[Grid]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in result.rows:
        groups.setdefault(row["group"], []).append(row)
    several = [sorted(group, key=lambda row: row["id"] != row["group"]) for group in groups.values() if len(group) > 1]
    several.sort(key=lambda group: (-len(group), group[0]["id"]))
    if several:
        pictures = [Shown(group[:VIEWS], f"{len(group)} pictures") for group in several[:shown]]
        words = "Copies that were scaled, cropped, mirrored or stored again; a group is on one side of the split."
        yield Grid("groups", "Groups of near duplicates", words, len(several), pictures)


def _left_out(result: Outcome, shown: int) -> Iterator[Grid]:
    for reason, words in REASONS.items():
        rows = [row for row in result.rows if row["reason"] == reason]
        if rows:
            pictures = [Shown([row], "") for row in rows[:shown]]
            name, title = f"left_out_{reason}", f"Left out: {reason.replace('_', ' ')}"
            yield Grid(name, title, f"{words[0].upper()}{words[1:]}.", len(rows), pictures)


def _jpeg(path: Path) -> str:
    """A small JPEG in base64; empty for a file that is no picture or is not there any more."""
    try:
        return base64.b64encode(thumbnails.jpeg(path.read_bytes(), SIDE)).decode()
    except (ImageError, OSError):
        return ""
