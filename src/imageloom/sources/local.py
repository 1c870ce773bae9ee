"""What sources that read files share: which files count, what they are called, and how they are listed."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from imageloom.console import warn
from imageloom.errors import ImageloomError

Item = TypeVar("Item")

BATCH = 256  # files listed at a time

_NOT_PICTURES = {"Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir"}


def is_passed_over(name: str) -> bool:
    """Whether a file or folder is hidden, or is what operating systems leave in folders of pictures."""
    return name.startswith(".") or name in _NOT_PICTURES


def is_undecodable(name: str) -> bool:
    """Whether a file's name is in another encoding than its system's, so that it cannot be written into a table."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


async def in_background(items: Iterator[Item]) -> AsyncIterator[Item]:
    """The items, each batch of them made in a thread, so that a slow disk or storage does not hold up the fetching.

    Raises:
        ImageloomError: What making them raised, after those that came before it.
    """
    fault = None
    while fault is None:
        batch, fault = await asyncio.to_thread(_some, items)
        for item in batch:
            yield item
        if not batch and fault is None:
            return
    raise fault


def _some(items: Iterator[Item]) -> tuple[list[Item], ImageloomError | None]:
    found: list[Item] = []
    try:
        for item in islice(items, BATCH):
            found.append(item)  # one at a time: what came before a fault is kept
    except ImageloomError as fault:
        return found, fault
    return found, None


def place(path: Path, root: Path) -> str:
    """A path as manifests and messages show it: below the project where it is inside, with / and in NFC."""
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return unicodedata.normalize("NFC", inside.as_posix())


def warn_if_unwatched(path: Path, watched: Path, root: Path) -> None:
    """Warns of a folder whose changes `dvc repro` does not notice: neither `watched` nor a dependency of the stage."""
    folders = [watched, *(root / name for name in _dependencies(root / "dvc.yaml"))]
    if not any(path.resolve().is_relative_to(folder.resolve()) for folder in folders):
        name = place(path, root)
        warn(f"`dvc repro` does not notice what changes in {name}; add it under stages.scrape.deps in dvc.yaml")


def _dependencies(dvc_yaml: Path) -> Sequence[str]:
    import yaml

    try:
        content = yaml.safe_load(dvc_yaml.read_text(encoding="utf-8"))
        return [name for name in content["stages"]["scrape"]["deps"] if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # not a DVC project, or one of another shape
        return []
