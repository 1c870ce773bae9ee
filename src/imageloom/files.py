"""Where the stages' files stand, and how they are written: to a temporary name first, then renamed."""

import csv
import errno
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageloom.errors import DataError, ImageloomError

# What the system says when it will not write; any other fault inside a block is not about writing.
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP}  # something else stands where it should be
_WRITE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, *_NO_FOLDER}


@dataclass(frozen=True)
class Paths:
    """The project's files, by the names that `dvc.yaml` knows them under.

    Args:
        root: The folder that holds `params.yaml`.
    """

    root: Path

    @property
    def params(self) -> Path:
        """What the user sets."""
        return self.root / "params.yaml"

    @property
    def urls(self) -> Path:
        """Lists of addresses, `urls_<class>.csv`."""
        return self.root / "data" / "urls"

    @property
    def raw(self) -> Path:
        """Crawled pictures as they came, `<class>/<sha256[:20]>.<ext>`, and `manifest.parquet`."""
        return self.root / "data" / "raw"

    @property
    def ledger(self) -> Path:
        """What a crawl knows while it is at work; not there between crawls."""
        return self.root / "data" / ".crawl.db"

    @property
    def forgotten(self) -> Path:
        """What must not come back, kept in git: addresses, hosts, and pictures by their SHA-256."""
        return self.root / "data" / "review" / "forgotten.csv"

    @property
    def weights(self) -> Path:
        """How much pictures count in training, a line for each that does not count 1."""
        return self.root / "data" / "weights.csv"

    @property
    def decisions(self) -> Path:
        """What people decided about pictures, a line for each decision."""
        return self.root / "data" / "review" / "decisions.csv"

    @property
    def thumbnails(self) -> Path:
        """Pictures as the page for review shows them; can be removed at any time."""
        return self.root / "data" / ".thumbnails"

    @property
    def features(self) -> Path:
        """One feature vector per picture."""
        return self.root / "data" / "features"

    @property
    def clean(self) -> Path:
        """One row per picture: kept or not, and why."""
        return self.root / "data" / "clean" / "manifest.parquet"

    @property
    def scores(self) -> Path:
        """What each check thinks of each picture."""
        return self.root / "data" / "clean" / "scores.parquet"

    @property
    def probabilities(self) -> Path:
        """How probable each class is for each picture, by a probe that was not fitted on it."""
        return self.root / "data" / "clean" / "probabilities.parquet"

    @property
    def looks(self) -> Path:
        """What decoding each picture told the checks, so that it is decoded once."""
        return self.root / "data" / "clean" / "looks.parquet"

    @property
    def links(self) -> Path:
        """Pairs of near duplicates."""
        return self.root / "data" / "clean" / "links.parquet"

    @property
    def split(self) -> Path:
        """Which picture is on which side."""
        return self.root / "data" / "split" / "split.parquet"

    @property
    def backbone(self) -> Path:
        """The pretrained network."""
        return self.root / "models" / "backbone"

    @property
    def classifier(self) -> Path:
        """What was trained on the features."""
        return self.root / "models" / "classifier"

    @property
    def export(self) -> Path:
        """What is served."""
        return self.root / "models" / "export"

    @property
    def reports(self) -> Path:
        """What people read."""
        return self.root / "reports"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`, renamed to it when the block ends well and removed when it does not.

    Several threads may write the same file at once: the last one's stays.

    Raises:
        ImageloomError: The disk is full, or the folder cannot be written.
    """
    folder = path.parent
    temporary = folder / f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp"
    try:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except BaseException as fault:
        with suppress(OSError):  # such as a folder that is none: the first fault is what is told
            temporary.unlink(missing_ok=True)
        # What is wrong with the temporary name is about writing, whatever it is: ENOENT of /proc, which takes no file.
        if isinstance(fault, OSError) and (fault.errno in _WRITE_FAULTS or fault.filename == str(temporary)):
            raise write_fault(path, fault) from fault
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives an empty temporary folder that takes the place of `path` when the block ends well.

    What a process that was killed left behind is put in order first. Two processes must not write one folder at once.

    Raises:
        ImageloomError: The disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    restore_folder(path)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with faults_of_writing(path):
            temporary.mkdir(parents=True)
            yield temporary
        replace_folder(path, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(path: Path, new: Path) -> None:
    """Puts the folder `new`, which stands beside it, in the place of `path`.

    Raises:
        ImageloomError: The folder cannot be written.
    """
    restore_folder(path)
    try:
        with faults_of_writing(path):
            if path.exists():
                path.replace(_aside(path))
            new.replace(path)
    finally:
        restore_folder(path)


def restore_folder(path: Path) -> None:
    """Brings the old folder back where a killed process left none in its place; removes it where there is a new one."""
    old = _aside(path)
    if old.exists() and not path.exists():
        old.replace(path)
    shutil.rmtree(old, ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


@contextmanager
def faults_of_writing(path: Path) -> Iterator[None]:
    """Tells the system's faults in writing `path` as users are told, and no others."""
    try:
        yield
    except OSError as fault:
        if fault.errno in _WRITE_FAULTS:
            raise write_fault(path, fault) from fault
        raise


def write_fault(path: Path, fault: OSError) -> ImageloomError:
    """The error to raise when writing `path` failed with `fault`."""
    if fault.errno in _NO_FOLDER:
        above = [*reversed(path.parents)]
        obstacle = next((one for one in above if (one.exists() or one.is_symlink()) and not one.is_dir()), None)
        if obstacle is not None:
            return ImageloomError(f"cannot write {path}: {obstacle} is no folder", "move away what stands there")
    return ImageloomError(
        f"cannot write {path}: {fault.strerror or fault}",
        "free some disk space or check the folder's permissions; what was there before is untouched",
    )


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON in any script, whole or not at all.

    Raises:
        ValueError: A number in it is infinite or none, which JSON does not have.
    """
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table for people and for git as UTF-8, whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Reads an object that `write_json` wrote.

    Args:
        path: The file.
        made_by: The stage that writes it, for the hint.

    Raises:
        DataError: It is missing or damaged.
    """
    again = f"run `dvc repro --force {made_by}` to make it again"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"no {path}", f"run `dvc repro {made_by}` first") from None
    except (OSError, ValueError) as fault:
        raise DataError(f"cannot read {path}: {fault}", again) from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no object", again)
    return content


def sha256(path: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp(path: Path) -> tuple[int, ...]:
    """Something that is another when the file is; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size
