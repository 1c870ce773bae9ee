"""Takes stock of a folder that holds a folder of pictures for each class, and copies none of them.

The manifest of the project in the cache names each file where it lies. A file that has the length and the time of
writing that it had is not read again.
"""

import datetime
import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imageloom import console, files, images, tables
from imageloom.engine import cores, map_ordered
from imageloom.errors import DataError, ImageError
from imageloom.fetch.status import Status
from imageloom.files import Paths
from imageloom.params import UNLABELLED, folder_safe
from imageloom.sources import local
from imageloom.sources.folder import files_below

_FEWEST = 3  # pictures of a class: one to train on, one to choose by, one to measure on


def take_stock(folder: Path, paths: Paths) -> None:
    """Writes the manifest, data/raw/manifest.parquet, with a row for every file below the classes' folders.

    Args:
        folder: What holds a folder of pictures for each class.
        paths: The project to write it in; its data/pictures becomes a link to `folder`.

    Raises:
        DataError: The folder cannot be read, or holds no two classes with three pictures or more.
        ImageloomError: The project cannot be written.
    """
    link = paths.root / "data" / "pictures"
    with files.faults_of_writing(link):
        paths.raw.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
    known = _known(paths)
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)

    def row(item: tuple[str, Path]) -> dict[str, Any]:
        name, file = item
        return _row(name, file, file.relative_to(folder).as_posix(), known) | {"last_seen": now}

    blank = dict.fromkeys(tables.MANIFEST.names) | {"first_seen": now}
    rows = [blank | found for found in map_ordered(row, _files(folder), cores())]
    _require_classes(folder, rows)
    tables.write(paths.raw / "manifest.parquet", rows, tables.MANIFEST)


def _known(paths: Paths) -> dict[str, dict[str, Any]]:
    """Rows of the last time, by address."""
    try:
        table = tables.read(paths.raw / "manifest.parquet", tables.MANIFEST, "scrape")
    except DataError:
        return {}
    return {row["url"]: row for row in table.to_pylist()}


def class_folders(folder: Path) -> list[Path]:
    """The folders of the classes, by name.

    Raises:
        DataError: The folder cannot be read, or holds fewer than two.
    """
    try:
        found = sorted(one for one in folder.iterdir() if not local.is_passed_over(one.name) and one.is_dir())
    except OSError as fault:
        hint = "--image_dir names a folder that holds a folder of pictures for each class"
        raise DataError(f"cannot read {folder}: {fault.strerror}", hint) from None
    if len(found) < 2:
        there = f"there is {found[0].name!r} only" if found else "there is none"
        raise DataError(
            f"two folders of pictures or more are needed in {folder}; {there}",
            "put the pictures of each class into a folder of their own; what is not of it can be a class, too",
        )
    return found


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Class and path of every file below the classes' folders, by both."""
    classes = class_folders(folder)
    strays = sorted(one.name for one in folder.iterdir() if one.suffix.lower() in images.EXTENSIONS and one.is_file())
    if strays:
        count = console.counted(len(strays), "picture")
        console.warn(f"passed over in no class's folder: {count}, such as {strays[0]!r}")
    for one in classes:
        name = _class_name(one)
        for file in files_below(one, folder):
            if local.is_undecodable(str(file)):
                console.warn(f"{str(file)!r} is passed over: its name is not UTF-8; rename it")
            else:
                yield name, file


def _class_name(folder: Path) -> str:
    try:
        name = folder_safe(folder.name)
    except ValueError as fault:
        raise DataError(f"the class of the folder {folder.name!r} {fault}", "rename the folder") from None
    if name == UNLABELLED:
        raise DataError(f"{UNLABELLED} is no class: it is the name of pictures without a label", "rename the folder")
    return name


def _row(name: str, file: Path, place: str, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The manifest's row of a file; that of the last time where it has not changed."""
    url = "file:" + unicodedata.normalize("NFC", f"data/pictures/{place}")
    before = known.get(url, {})
    row = {"url": url, "class": name, "source": "folder", "used": True, "attempts": 1, "title": file.stem}
    row |= {"first_seen": before["first_seen"]} if before else {}
    try:
        status = file.stat()
        mark = f"{status.st_size}-{status.st_mtime_ns}"  # what web servers make an ETag of
        if before.get("etag") == mark:
            return before | row
        return row | {"etag": mark} | _look(file.read_bytes(), place)
    except OSError as fault:
        return row | {"status": Status.GONE, "error": f"cannot be read: {fault.strerror}"}


def _look(data: bytes, place: str) -> dict[str, Any]:
    """The columns that tell about a picture, or why it is none."""
    try:
        info = images.inspect(data)
    except ImageError as fault:
        return {"status": Status(fault.kind), "error": fault.message}
    return {
        "status": Status.OK,
        "sha256": hashlib.sha256(data).hexdigest(),
        "path": f"../pictures/{place}",  # from data/raw
        "bytes": len(data),
        "width": info.width,
        "height": info.height,
        "format": info.format,
    }


def _require_classes(folder: Path, rows: list[dict[str, Any]]) -> None:
    bad = [row for row in rows if not row["sha256"]]
    if bad:
        first = bad[0]
        name = first["url"].removeprefix("file:data/pictures/")
        console.warn(f"not used: {console.counted(len(bad), 'file')}, such as {name!r}: {first['error']}")
    pictures = dict.fromkeys(map(_class_name, class_folders(folder)), 0)
    pictures |= Counter(row["class"] for row in rows if row["sha256"])
    few = {name: count for name, count in pictures.items() if count < _FEWEST}
    if few:
        name, count = next(iter(few.items()))
        others = console.counted(len(few) - 1, "other class", "other classes")
        raise DataError(
            f"the class {name!r} has {console.counted(count, 'picture')}; {_FEWEST} or more are needed"
            + (f" ({others} too few as well)" if len(few) > 1 else ""),
            "add pictures of it, or move its folder away: some train, some choose, and some measure",
        )
