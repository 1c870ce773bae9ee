"""Accuracy on parts of the test pictures: by host, by size, by crawl, by any column of data/clean."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from pydantic import Field, field_validator, model_validator

from imageloom import tables, wilson
from imageloom.evaluate import metrics
from imageloom.params import StageParams

VALUES = 8  # of a column that are told apart; the rarer ones are put together
PARTS = 4  # into which numbers are cut

ALPHA = 0.05  # chance at which any slice is called worse or better although none is

# What is another for each picture, or the same for all.
_USELESS = {"id", "path", "group", "kept", "reason", "flags"}

COLUMNS = ("host", "size", *(name for name in tables.CLEAN.names if name not in _USELESS))


class Cut(StageParams):
    """What the test pictures are cut by; the name of a column alone will do."""

    column: str = Field(description=f"one of {', '.join(COLUMNS)}; `size` is the shorter side in pixels")
    match: str | None = Field(
        default=None, description="regular expression: what its first group (or all of it) finds is the value"
    )
    title: str = Field(default="", description="what the report calls it; the column's name if not given")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @field_validator("column")
    @classmethod
    def _is_one(cls, name: str) -> str:
        if name not in COLUMNS:
            raise ValueError(f"must be one of {', '.join(COLUMNS)}")
        return name

    @field_validator("match")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as fault:
            raise ValueError(f"must be a regular expression: {fault}") from None
        return pattern


@dataclass(frozen=True)
class Slice:
    """A part of the test pictures.

    Args:
        title: What it is cut by.
        value: What its pictures have in common.
        pictures: Their number.
        accuracy: Share that is answered right, and its 95 % interval (Wilson 1927), as if it were the only slice.
        rest: The same share of all other test pictures; None where there are none.
        p: How likely accuracies so far apart are in any of all slices if none is different (Fisher's exact test,
            two-sided, corrected after Holm 1979); 1 where there is no rest.
    """

    title: str
    value: str
    pictures: int
    accuracy: metrics.Interval
    rest: float | None
    p: float

    @property
    def verdict(self) -> Literal["worse", "better"] | None:
        """Whether it does worse or better than the rest; None where what there is may be chance."""
        if self.rest is None or self.p >= ALPHA:
            return None
        return "worse" if self.accuracy.value < self.rest else "better"


def cut(rows: Sequence[dict[str, Any]], right: np.ndarray, groups: np.ndarray, cuts: Sequence[Cut]) -> list[Slice]:
    """Cuts by each in turn; where all pictures have the same value there is one slice.

    Args:
        rows: N rows with columns of data/clean.
        right: bool[N], whether the answer was right.
        groups: int[N], which pictures are near duplicates, and count for less than as many others (`metrics.trials`).
        cuts: What to cut by.
    """
    parts = [
        (each.title or each.column, value, part)
        for each in cuts
        for value, part in _parts([_value(row, each) for row in rows])
    ]
    compared = [part for _, _, part in parts if not part.all()]
    chances = iter(metrics.holm([_chance(right, groups, part) for part in compared]))
    found = []
    for title, value, part in parts:
        share, number = float(right[part].mean()), metrics.trials(right[part], groups[part])
        interval = metrics.Interval(share, *wilson.interval(share, number))
        rest, p = (None, 1.0) if part.all() else (float(right[~part].mean()), next(chances))
        found.append(Slice(title, value, int(part.sum()), interval, rest, p))
    return found


def _chance(right: np.ndarray, groups: np.ndarray, part: np.ndarray) -> float:
    """How likely a part and the rest are so far apart if they are not different."""
    table = []
    for rows in (part, ~part):
        number = metrics.trials(right[rows], groups[rows])
        table.append((round(number * float(right[rows].mean())), round(number)))
    return metrics.fisher(*table)


def host(url: str | None) -> str | None:
    """The host of an address, or `file` for what came from a folder."""
    parts = urlsplit(url or "")
    return parts.hostname or parts.scheme or None


def _value(row: dict[str, Any], cut: Cut) -> Any:
    if cut.column == "host":
        value: Any = host(row.get("url"))
    elif cut.column == "size":
        value = min(row["width"], row["height"]) if row.get("width") and row.get("height") else None
    elif cut.column == "crawl":
        value = None if row.get("crawl") is None else row["crawl"] + 1  # people count from one
    else:
        value = row.get(cut.column)
    if cut.match is None or value is None:
        return value
    found = re.search(cut.match, str(value))
    return found[1 if found.re.groups else 0] if found else None


def _parts(values: Sequence[Any]) -> Iterator[tuple[str, np.ndarray]]:
    """What the values are told apart by, and bool[N] for each; none of them is empty."""
    given = [value for value in values if value is not None]
    column = np.array([*values, None], dtype=object)[:-1]  # the None keeps NumPy from looking into the values
    numbers = all(isinstance(value, int | float) for value in given)
    counts = Counter(given)
    if numbers and len(counts) > PARTS:
        yield from _ranges(np.array([np.nan if value is None else value for value in values], np.float64))
    else:
        order = sorted(counts) if numbers else sorted(counts, key=lambda value: (-counts[value], str(value)))
        for value in order[:VALUES]:
            yield f"{value:,}" if numbers else str(value), column == value
        if order[VALUES:]:
            rare = {*order[VALUES:]}  # None, which is not stated, is not in it, even where a value is the text None
            yield f"{len(rare):,} others", np.array([value in rare for value in values])
    if len(given) < len(values):
        yield "not stated", np.array([value is None for value in values])


def _ranges(numbers: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Ranges that hold about as many pictures each; NaN is in none of them."""
    given = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(given, np.arange(1, PARTS) / PARTS, method="nearest"))
    edges = edges[edges > given.min()]
    if not edges.size:  # most have the smallest value
        yield f"{given.min():,.10g}", numbers == given.min()
        yield f"above {given.min():,.10g}", numbers > given.min()
        return
    bounds = [-np.inf, *edges, np.inf]
    for low, high in itertools.pairwise(bounds):
        start = "" if low == -np.inf else f"from {low:,.10g}"
        end = "" if high == np.inf else f"below {high:,.10g}"
        yield " ".join(filter(None, (start, end))), (numbers >= low) & (numbers < high)
