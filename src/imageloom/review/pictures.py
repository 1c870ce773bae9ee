"""What the page knows of the project's pictures: a view of the tables that the stages wrote, which never changes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imageloom import files, params, tables
from imageloom.files import Paths
from imageloom.params import UNLABELLED, ClassSpec
from imageloom.review import inbox

# What the page shows of a picture beside what it is sorted by.
_TOLD = ("url", "source", "page", "title", "author", "licence", "bytes", "format", "copies", "width", "height")


@dataclass(frozen=True)
class Flag:
    """What a check found.

    Args:
        check: Its name.
        score: From 0, the worst, to 1.
        detail: What else it says: of a label issue the class that it suggests.
    """

    check: str
    score: float
    detail: str


@dataclass
class Pictures:
    """The pictures of a project, row by row.

    Args:
        table: Their rows, with the columns of `tables.CLEAN`.
        classes: The classes that a picture can be given, but for those made up in review.
        open_classes: Whether others may be made up: where `params.yaml` names none.
        kept: What the server of predictions kept for review.
        crawled_class: Of pictures that were given another class in review, the one that they were found under.
        flags: What the checks marked, by picture, worst first.
        probabilities: The rows of `matrix`, by picture.
        matrix: float32[N, K], how probable each of `model_classes` is for a model that has not seen the picture.
        model_classes: Their names.
    """

    table: pa.Table
    classes: list[ClassSpec]
    open_classes: bool
    kept: list[inbox.Kept]
    crawled_class: dict[str, str] = field(default_factory=dict)
    flags: dict[str, list[Flag]] = field(default_factory=dict)
    probabilities: dict[str, int] = field(default_factory=dict)
    matrix: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    model_classes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids: list[str] = self.table["id"].to_pylist()
        classes = map(_labelled, self.table["class"].to_pylist())
        self.class_of: dict[str, str] = dict(zip(self.ids, classes, strict=True)) | self.crawled_class
        self._row_of = {name: row for row, name in enumerate(self.ids)}
        self._kept_of = {one.id: one for one in self.kept}

    def column(self, name: str) -> list[Any]:
        """A column of the table, in the order of `ids`."""
        return list(self.table[name].to_pylist())

    def row(self, sha256: str) -> dict[str, Any]:
        """All columns of one picture of the table."""
        [row] = self.table.slice(self._row_of[sha256], 1).to_pylist()
        return dict(row)

    def path(self, sha256: str, paths: Paths) -> Path | None:
        """The picture's file; None where the project has no such picture."""
        if sha256 in self._row_of:
            root, name = paths.raw, self.row(sha256)["path"]
        elif sha256 in self._kept_of:
            root, name = inbox.folder(paths), self._kept_of[sha256].file
        else:
            return None
        relative = Path(name)
        # Tables are written by us; but nobody who can write one shall read other files through the page.
        return None if relative.is_absolute() or ".." in relative.parts else root / relative

    def probabilities_of(self, sha256: str) -> dict[str, float]:
        """What a model that has not seen the picture says of it, most probable class first."""
        row = self.probabilities.get(sha256)
        if row is None:
            return {}
        order = np.argsort(-self.matrix[row], kind="stable")
        return {self.model_classes[index]: round(float(self.matrix[row, index]), 4) for index in order}

    def facts(self, sha256: str) -> dict[str, Any]:
        """What the page shows of a picture, for JSON."""
        found = self.flags.get(sha256, [])
        flags = [{"check": one.check, "score": round(one.score, 4), "detail": one.detail} for one in found]
        about: dict[str, Any] = {"id": sha256, "probabilities": self.probabilities_of(sha256), "flags": flags}
        if sha256 in self._row_of:
            row = self.row(sha256)
            return about | {name: row[name] for name in _TOLD} | {"reason": row["reason"]}
        kept = self._kept_of[sha256]
        said = {kept.predicted: kept.probability} if kept.predicted else {}
        return about | {"title": kept.told(), "url": "", "page": "", "source": "inbox", "probabilities": said}


def load(paths: Paths) -> Pictures:
    """Reads the tables; those that are not there yet say nothing.

    Raises:
        ImageloomError: `params.yaml` is missing or wrong, nothing was crawled yet, or a table is damaged.
    """
    given = params.load_classes(paths.params)  # first, as it tells whether this is a project at all
    raw = tables.read(paths.raw / "manifest.parquet", tables.MANIFEST, "scrape")
    clean = tables.read(paths.clean, tables.CLEAN, "clean") if paths.clean.exists() else tables.CLEAN.empty_table()
    table = pa.concat_tables([clean, _crawled_since(raw, clean)])
    pictures = Pictures(table, given or _found(raw), not given, inbox.read(paths), _crawled_classes(raw, clean))
    if paths.scores.exists():
        for row in _flagged(tables.read(paths.scores, tables.SCORES, "clean")):
            pictures.flags.setdefault(row["id"], []).append(Flag(row["check"], row["score"], row["detail"]))
    if paths.probabilities.exists():
        _take_probabilities(pictures, paths.probabilities)
    return pictures


def stamp(paths: Paths) -> tuple[object, ...]:
    """Something that is another when `load` may give something else."""
    written = [paths.raw / "manifest.parquet", paths.clean, paths.scores, paths.probabilities]
    return tuple(files.stamp(path) for path in (*written, paths.params, inbox.folder(paths) / inbox.LIST))


def _labelled(name: str) -> str:
    return "" if name == UNLABELLED else name


def _found(raw: pa.Table) -> list[ClassSpec]:
    """The classes that pictures were found under, where `params.yaml` names none; not those that review has given."""
    names = pc.unique(raw.filter(raw["used"])["class"]).to_pylist()
    return [ClassSpec(name=name) for name in sorted(set(names) - {UNLABELLED})]


def _crawled_classes(raw: pa.Table, clean: pa.Table) -> dict[str, str]:
    """The class under which the crawl found a picture whose class in `clean` may be that of a decision."""
    decided = clean.filter(pc.not_equal(clean["decided"], ""))["id"].combine_chunks()
    rows = raw.filter(pc.is_in(raw["sha256"], value_set=decided)).sort_by([("first_seen", "descending")])
    return dict(zip(rows["sha256"].to_pylist(), map(_labelled, rows["class"].to_pylist()), strict=True))


def _crawled_since(raw: pa.Table, clean: pa.Table) -> pa.Table:
    """Pictures that stage `clean` has not seen yet, as it would list them."""
    wanted = pc.and_(pc.is_valid(raw["sha256"]), raw["used"])
    wanted = pc.and_(wanted, pc.invert(pc.is_in(raw["sha256"], value_set=clean["id"].combine_chunks())))
    rows: dict[str, dict[str, Any]] = {}
    for row in raw.filter(wanted).sort_by([("first_seen", "ascending"), ("url", "ascending")]).to_pylist():
        sha256, reason = row["sha256"], "unlabelled" if row["class"] == UNLABELLED else ""
        about = {"id": sha256, "group": sha256, "copies": 1, "crawl": 0, "kept": not reason, "reason": reason}
        rows.setdefault(sha256, row | about | {"flags": [], "decided": ""})
    listed = [{name: row[name] for name in tables.CLEAN.names} for row in rows.values()]
    return tables.from_rows(listed, tables.CLEAN)


def _flagged(scores: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows that a check marked, worst first."""
    order = [("score", "ascending"), ("id", "ascending"), ("check", "ascending")]
    yield from scores.filter(scores["flagged"]).sort_by(order).to_pylist()


def _take_probabilities(pictures: Pictures, path: Path) -> None:
    table = tables.read(path, tables.PROBABILITIES, "clean")
    pictures.model_classes = json.loads((pq.read_schema(path).metadata or {}).get(b"classes", b"[]"))
    width = len(pictures.model_classes)
    if width and len(table):
        pictures.matrix = tables.to_numpy(table["probabilities"].combine_chunks().flatten()).reshape(-1, width)
        pictures.probabilities = {name: row for row, name in enumerate(table["id"].to_pylist())}
