"""Pictures that are here already: a folder for each class, searched in depth."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from imageloom.console import warn
from imageloom.errors import DataError
from imageloom.sources.source import Candidate, Context, GetPage, Source, known_class, place, warn_if_unwatched

DEFAULT = "data/pictures"

# What operating systems leave in folders of pictures; names that start with a dot are passed over as well.
_NOT_PICTURES = {"Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir"}


class Folder(Source):
    """A folder that holds a folder of pictures for each class."""

    kind: Literal["folder"] = Field(description="Pictures in folders on this machine.")
    path: str = Field(default=DEFAULT, min_length=1, description="Folder that holds a folder for each class.")
    author: str | None = Field(default=None, description="Who made the pictures.")
    licence: str | None = Field(default=None, description="What allows their use.")

    def classes(self, context: Context) -> tuple[str, ...]:
        """The names of the folders, in NFC."""
        return tuple(dict.fromkeys(name for name, _ in self._folders(context)))

    async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """Every file below the classes' folders, by class and path."""
        warn_if_unwatched(context.root / self.path, context.root / DEFAULT, context.root)
        for name, folder in self._folders(context):
            for file in _files(folder):
                address = place(file, context.root)
                if _is_undecodable(address):
                    warn(f"{address!a} is passed over: its name is not UTF-8; rename it")
                    continue
                yield Candidate(
                    url=f"file:{address}",
                    class_name=name,
                    source=self.kind,
                    page=place(folder, context.root),
                    title=Path(address).stem,
                    author=self.author,
                    licence=self.licence,
                    file=file,
                )

    def _folders(self, context: Context) -> list[tuple[str, Path]]:
        root = context.root / self.path
        where = f"{context.where}.path: {self.path}"
        try:
            folders = sorted(entry for entry in root.iterdir() if not _is_passed_over(entry.name) and entry.is_dir())
        except OSError as fault:
            hint = "make it, with a folder of pictures for each class in it"
            raise DataError(f"{where}: cannot read this folder: {fault.strerror}", hint) from None
        if not folders:
            raise DataError(f"{where}: no folders in it", "put a folder of pictures for each class into it")
        return [(known_class(folder.name, context, where), folder) for folder in folders]


def _files(folder: Path) -> Iterator[Path]:
    seen = set()  # links are followed, but not round in a circle
    for stand, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(stand)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _is_passed_over(name))
        for name in sorted(files):
            if not _is_passed_over(name):
                yield Path(stand, name)


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name in _NOT_PICTURES


def _is_undecodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False
