"""Stage `clean`: marks the pictures that should not be trained on, and says why; it deletes none.

Exact duplicates (the same bytes at several addresses) become one row with a count of copies.
"""

from collections import Counter
from typing import Any

from pydantic import Field

from imageloom import console, files, tables
from imageloom.clean.checks import CHECKS, Evidence, Picture
from imageloom.errors import DataError
from imageloom.features import FeatureStore
from imageloom.files import Paths
from imageloom.params import StageParams

# What data/clean passes on of the manifest's row that saw a picture first.
FROM_MANIFEST = ("url", "source", "page", "title", "author", "licence", "bytes", "format")


class Params(StageParams):
    """What is wrong with a picture."""

    min_side: int = Field(default=32, ge=1, description="a picture whose shorter side has fewer pixels is not used")


def run(params: Params, paths: Paths) -> None:
    """Writes data/clean/manifest.parquet and reports/clean/summary.csv.

    Raises:
        DataError: No picture, or pictures of fewer than two classes, are left.
    """
    manifest = tables.read(paths.raw / "manifest.parquet", tables.MANIFEST, "scrape")
    evidence = Evidence(FeatureStore(paths.features).failed(), params.min_side)
    rows = [_row(picture, first, evidence) for picture, first in _pictures(manifest.to_pylist())]
    _require_two_classes(rows)
    tables.write(paths.clean, rows, tables.CLEAN)
    counts = Counter((row["class"], row["reason"] or "kept") for row in rows)
    copies = sum(row["copies"] - 1 for row in rows)
    _write_summary(counts, copies, paths)
    marked = Counter(row["reason"] for row in rows if not row["kept"])
    why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(marked.items()))
    kept = sum(row["kept"] for row in rows)
    left_out = f"; left out: {why}" if why else ""
    console.say(f"clean: {kept:,} of {len(rows):,} pictures kept{left_out}; {copies:,} exact copies counted once")


def _pictures(manifest: list[dict[str, Any]]) -> list[tuple[Picture, dict[str, Any]]]:
    """Pictures in the order of ids, each with the manifest's row that saw it first and the number of that crawl."""
    crawls = {moment: number for number, moment in enumerate(sorted({row["first_seen"] for row in manifest}))}
    pictures: dict[str, tuple[Picture, dict[str, Any]]] = {}
    for row in sorted(manifest, key=lambda row: (row["first_seen"], row["class"], row["url"])):
        if not row["sha256"] or not row["used"]:
            continue
        first = row | {"crawl": crawls[row["first_seen"]]}
        picture, _ = pictures.setdefault(
            row["sha256"], (Picture(row["sha256"], width=row["width"], height=row["height"]), first)
        )
        picture.copies += 1
        if row["class"] not in picture.classes:
            picture.classes.append(row["class"])
    return [pictures[name] for name in sorted(pictures)]


def _row(picture: Picture, first: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
    reason = next((name for name, marks in CHECKS.items() if marks(picture, evidence)), "")
    return {
        "id": picture.id,
        "class": (picture.labels or picture.classes)[0],
        "path": first["path"],
        "width": picture.width,
        "height": picture.height,
        "copies": picture.copies,
        "crawl": first["crawl"],
        "group": picture.id,
        "kept": not reason,
        "reason": reason,
        **{column: first[column] for column in FROM_MANIFEST},
    }


def _require_two_classes(rows: list[dict[str, Any]]) -> None:
    classes = sorted({row["class"] for row in rows if row["kept"]})
    if len(classes) < 2:
        why = Counter(row["reason"] for row in rows if not row["kept"])
        left_out = "not used were: " + ", ".join(f"{count} {reason}" for reason, count in why.items())
        raise DataError(
            f"two classes or more need pictures; those left are of {', '.join(classes) or 'none'}",
            left_out if why else "add pictures of another class",
        )


def _write_summary(counts: Counter[tuple[str, str]], copies: int, paths: Paths) -> None:
    rows: list[list[Any]] = [[*key, count] for key, count in sorted(counts.items())]
    header = ["class", "outcome", "pictures"]
    files.write_csv(paths.reports / "clean" / "summary.csv", header, [*rows, ["", "exact copies", copies]])
