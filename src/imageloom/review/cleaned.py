"""fastai's cleaned.csv (columns `name` and `label`): what its ImageCleaner leaves behind, taken in and given out.

A picture that the list names under another label is relabelled. fastai leaves out of the list what was deleted, so a
picture that has a class and is not in the list is dropped; pictures of the pool are left alone.
"""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from imageloom import decisions, files, params, tables
from imageloom.console import counted
from imageloom.decisions import Decided, Decision
from imageloom.errors import DataError
from imageloom.files import Paths
from imageloom.params import folder_safe
from imageloom.review import pictures

HEADER = ("name", "label")
QUEUE = "import"

# A list of a part of the pictures would drop the rest: no more than this share of them is dropped.
MOST_DROPPED = 0.5


def take_in(file: Path, paths: Paths, who: str) -> str:
    """Adds to decisions.csv what the list says, and returns a sentence that tells how much that was.

    Args:
        file: The list. A name is the end of a picture's path, in data/raw or in the folder that it came from.
        paths: The project.
        who: Who decides.

    Raises:
        ImageloomError: The list is damaged, names what is not there, or has less than half of the pictures.
    """
    known = pictures.load(paths)
    decided = Decided(decisions.read(paths.decisions))
    labels = _labels(file, paths)
    moment = decisions.now()
    new = [
        Decision(sha256, decision, seen, to, who, moment, QUEUE)
        for sha256, seen in known.class_of.items()
        for decision, to in _differences(sha256, decided.label(sha256) or seen, labels, decided)
    ]
    dropped, labelled = (sum(each.decision == kind for each in new) for kind in ("drop", "label"))
    with_class = sum(bool(decided.label(sha256) or seen) for sha256, seen in known.class_of.items())
    if dropped > MOST_DROPPED * with_class:
        hint = "what fastai's list leaves out was deleted there: if this one is of a part of the pictures, add the rest"
        raise DataError(
            f"{file.name} names {counted(len(labels), 'picture')}, and would drop {dropped:,} of {with_class:,}", hint
        )
    decisions.append(paths.decisions, new)
    kinds = {"labelled": labelled, "dropped": dropped, "kept again": sum(each.decision == "keep" for each in new)}
    kinds["relabelled"] = len(new) - sum(kinds.values())
    told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()) if count) or "nothing new"
    return f"{file.name}: {counted(len(labels), 'picture')} named; {told}; `dvc repro` uses it"


def give_out(file: Path, paths: Paths) -> str:
    """Writes the pictures that have a class and are not dropped, by path below data/raw, and returns how many.

    Raises:
        ImageloomError: Nothing was crawled yet, or the list cannot be written.
    """
    known = pictures.load(paths)
    decided = Decided(decisions.read(paths.decisions))
    rows = []
    for sha256, path in zip(known.ids, known.column("path"), strict=True):
        label = decided.label(sha256) or known.class_of[sha256]
        if label and not _is_dropped(sha256, decided):
            rows.append((path, label))
    files.write_csv(file, HEADER, sorted(rows))
    return f"{file}: {counted(len(rows), 'picture')}; names are below {paths.raw.relative_to(paths.root)}"


def _differences(sha256: str, now: str, labels: Mapping[str, str], decided: Decided) -> Iterator[tuple[str, str]]:
    """What is to be decided about a picture of the class `now`, and the class that it gets: one thing or none."""
    dropped = _is_dropped(sha256, decided)
    if sha256 not in labels:
        if now and not dropped:
            yield "drop", ""
    elif labels[sha256] != now:
        yield ("relabel" if now else "label"), labels[sha256]
    elif dropped:
        yield "keep", ""


def _is_dropped(sha256: str, decided: Decided) -> bool:
    standing = decided.standing(sha256)
    return standing is not None and standing.decision == "drop"


def _labels(file: Path, paths: Paths) -> dict[str, str]:
    """The class of each picture that the list names."""
    places = _places(paths)
    specs = params.load_classes(paths.params)
    classes = {spec.label: spec.name for spec in specs}
    names = [spec.name for spec in specs]
    found: dict[str, str] = {}
    for line, name, label in _rows(file):
        shas = _meant(name, places)
        if len(shas) != 1:
            many = "no picture" if not shas else f"{len(shas)} pictures"
            hint = "names must be paths below data/raw, or below the folder that the pictures came from"
            raise DataError(f"{file.name}:{line}: {many} called {name!r}", hint)
        [sha256] = shas
        try:
            class_name = classes.get(label) or folder_safe(label)
        except ValueError as fault:
            raise DataError(f"{file.name}:{line}: the label {label!r} {fault}", "mend the line") from None
        if names and class_name not in names:
            hint = f"{params.nearest(class_name, names)} (or add it to `classes`)"
            raise DataError(f"{file.name}:{line}: no class {class_name!r} in params.yaml", hint)
        if found.setdefault(sha256, class_name) != class_name:
            message = f"{file.name}:{line}: one picture is {found[sha256]!r} and {class_name!r}"
            raise DataError(message, "copies of one picture must have one label")
    return found


def _rows(file: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, name and label of each row."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            if not set(HEADER) <= set(reader.fieldnames or ()):
                raise DataError(f"{file} must have the columns {' and '.join(HEADER)}", "it is what fastai writes")
            for row in reader:
                yield reader.line_num, row["name"] or "", row["label"] or ""
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise DataError(f"cannot read {file}: {fault}", "name a cleaned.csv of fastai") from None


def _places(paths: Paths) -> dict[str, list[tuple[PurePosixPath, str]]]:
    """Where each picture stands or stood, in data/raw and in the folder that it came from: by the file's name."""
    table = tables.read(paths.raw / "manifest.parquet", tables.MANIFEST, "scrape").select(
        ["url", "path", "sha256", "used"]
    )
    places: dict[str, list[tuple[PurePosixPath, str]]] = {}
    for row in table.to_pylist():
        if row["sha256"] and row["used"]:
            for place in (row["path"], row["url"].removeprefix("file:")):
                path = PurePosixPath(place)
                places.setdefault(path.name, []).append((path, row["sha256"]))
    return places


def _meant(name: str, places: Mapping[str, list[tuple[PurePosixPath, str]]]) -> set[str]:
    """The pictures of whose path `name` is the end."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part != "."]
    if not parts:
        return set()
    return {sha256 for path, sha256 in places.get(parts[-1], ()) if list(path.parts[-len(parts) :]) == parts}
