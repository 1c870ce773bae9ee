"""How much each picture counts in training: data/weights.csv, a line for every picture that does not count 1.

For labels of which some are surer than others, such as those of several people who do not agree (Deitsch et al. 2019
weigh solar cells that an expert was unsure about by a third or two thirds).
"""

import csv
import math
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from imageloom import console
from imageloom.errors import DataError

# What a picture may be named by, each as the column is called: its SHA-256, its address, or the last part of that.
KEYS = ("id", "url", "file")

_LEAST, _MOST = 1e-6, 1e6  # beyond them, sums in float32 lose the pictures that count 1


def read(path: Path, pictures: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The weights of the pictures that are listed, by id; those that are not weigh 1.

    What names no picture is told: the list may be older than the crawl.

    Args:
        path: Columns `weight` and one of `KEYS`. Where there is no such file, no picture is listed.
        pictures: Rows of data/clean.

    Raises:
        DataError: It is no such table, a weight is no positive number, or a picture is listed with two weights.
    """
    found: dict[str, float] = {}
    known: dict[str, list[str]] = {}
    strange: list[str] = []
    for line, key, name, weight in _lines(path):
        known = known or _by_name(pictures, key)
        if name not in known:
            strange.append(name)
        for one in known.get(name, ()):
            if found.setdefault(one, weight) != weight:
                raise DataError(f"{path.name}:{line}: {name} has two weights", "keep one of them")
    if strange:
        console.warn(
            f"{path.name} names {console.counted(len(strange), 'picture')} not among those here, such as {strange[0]}"
        )
    return found


def _lines(path: Path) -> Iterator[tuple[int, str, str, float]]:
    """Number of the line, the column that names the picture, its name, and its weight."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            key = _key(rows.fieldnames or (), path)
            for row in rows:
                yield (
                    rows.line_num,
                    key,
                    _nfc((row[key] or "").strip()),
                    _weight(row["weight"], f"{path.name}:{rows.line_num}"),
                )
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise DataError(f"cannot read {path}: {fault}", "it must be a CSV file in UTF-8") from None


def _key(columns: Sequence[str], path: Path) -> str:
    keys = [name for name in columns if name in KEYS]
    if sorted(columns) != sorted([*keys, "weight"]) or len(keys) != 1:
        raise DataError(
            f"{path.name} has the columns {', '.join(columns) or 'none'}",
            f"name two: `weight`, and `{'`, `'.join(KEYS[:-1])}` or `{KEYS[-1]}`, which says what picture it is of",
        )
    return keys[0]


def _weight(text: str | None, where: str) -> float:
    try:
        weight = float(text or "")
    except ValueError:
        weight = math.nan
    if not _LEAST <= weight <= _MOST:  # nor NaN
        hint = "1 is what others count; to leave a picture out, drop it in `imageloom review`"
        raise DataError(
            f"{where}: the weight must be a number above 0, from {_LEAST:g} to {_MOST:g}, not {text!r}", hint
        )
    return weight


def _by_name(pictures: Iterable[Mapping[str, Any]], key: str) -> dict[str, list[str]]:
    """The ids of the pictures that a name is of."""
    found: dict[str, list[str]] = {}
    for row in pictures:
        address = str(row["url"])
        last = address.partition("?")[0].rpartition("/")[2]
        names = {"id": [row["id"]], "url": [address], "file": [last, unquote(last)]}[key]
        for name in {*map(_nfc, names)}:
            found.setdefault(name, []).append(row["id"])
    return found


def _nfc(name: str) -> str:
    """A name in one spelling: a Mac writes accents as letters of their own, the crawl's manifest does not."""
    return unicodedata.normalize("NFC", name)
