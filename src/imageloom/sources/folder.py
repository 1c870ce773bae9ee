"""Pictures that are here already, or in a storage: a folder for each class, or a pool without labels."""

import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from imageloom.console import counted, warn
from imageloom.errors import DataError
from imageloom.fetch.http import Fetched
from imageloom.params import UNLABELLED
from imageloom.sources import local, storage
from imageloom.sources.source import Candidate, Context, GetPage, Source, known_class

DEFAULT = "data/pictures"

# What a picture that lies beside the classes' folders is known by; in them, a file's content decides.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


class Folder(Source):
    """A folder that holds a folder of pictures for each class; or a pool, whose folders mean nothing."""

    kind: Literal["folder"] = Field(description="Pictures in folders, on this machine or in a storage.")
    path: str = Field(
        default=DEFAULT, min_length=1, description="Folder that holds a folder for each class; s3://bucket/folder too."
    )
    pool: bool = Field(default=False, description="Take every picture below it, in whatever folder, without a label.")
    author: str | None = Field(default=None, description="Who made the pictures.")
    licence: str | None = Field(default=None, description="What allows their use.")

    def classes(self, context: Context) -> tuple[str, ...]:
        """The names of the folders, in NFC."""
        if not storage.is_storage(self.path):
            return tuple(dict.fromkeys(name for name, _ in self._folders(context)))
        storage.filesystem(self.path, self._where(context))
        return (UNLABELLED,) if self.pool else tuple(dict.fromkeys(name for name, _ in self._stored(context)))

    async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """Every file below the classes' folders, by class and path."""
        if storage.is_storage(self.path):
            listing = self._in_storage(context)
        else:
            local.warn_if_unwatched(context.root / self.path, context.root / DEFAULT, context.root)
            listing = self._here(context)
        async for candidate in local.in_background(listing):
            yield candidate

    def _here(self, context: Context) -> Iterator[Candidate]:
        self._warn_of_strays(context)
        for name, folder in self._folders(context):
            for file in files_below(folder, context.root):
                address = local.place(file, context.root)
                if local.is_undecodable(address):
                    warn(f"{address!a} is passed over: its name is not UTF-8; rename it")
                    continue
                page = local.place(file.parent if self.pool else folder, context.root)
                yield self._candidate(f"file:{address}", name, page, file=file)

    def _warn_of_strays(self, context: Context) -> None:
        """Tells of pictures beside the classes' folders, which are of no class."""
        if self.pool:
            return
        files = (entry for entry in (context.root / self.path).iterdir() if not local.is_passed_over(entry.name))
        strays = sorted(file.name for file in files if file.suffix.lower() in SUFFIXES and file.is_file())
        if strays:
            count = counted(len(strays), "picture")
            warn(f"{self._where(context)}: passed over in no class's folder: {count}, such as {strays[0]!a}")

    def _in_storage(self, context: Context) -> Iterator[Candidate]:
        for name, address in self._stored(context):
            page, _, _ = address.rpartition("/")
            yield self._candidate(address, name, page, read=storage.reader(address, self._where(context)))

    def _candidate(
        self,
        url: str,
        name: str,
        page: str,
        file: Path | None = None,
        read: Callable[[int], Fetched] | None = None,
    ) -> Candidate:
        title = PurePosixPath(url.removeprefix("file:")).stem
        return Candidate(url, name, self.kind, page, title, self.author, self.licence, file, read)

    def _folders(self, context: Context) -> list[tuple[str, Path]]:
        root = context.root / self.path
        where = self._where(context)
        try:
            folders = sorted(
                entry for entry in root.iterdir() if not local.is_passed_over(entry.name) and entry.is_dir()
            )
        except OSError as fault:
            hint = "make it, with a folder of pictures for each class in it"
            raise DataError(f"{where}: cannot read this folder: {fault.strerror}", hint) from None
        if self.pool:
            return [(UNLABELLED, root)]
        if not folders:
            raise DataError(f"{where}: no folders in it", "put a folder of pictures for each class into it")
        return [(known_class(folder.name, context, where), folder) for folder in folders]

    def _stored(self, context: Context) -> Iterator[tuple[str, str]]:
        """Class and address of every file in the storage."""
        where = self._where(context)
        count = 0
        above = len(PurePosixPath(self.path.partition("://")[2]).parts)
        for address in storage.files(self.path, where):
            parts = PurePosixPath(address.partition("://")[2]).parts[above:]
            if any(local.is_passed_over(part) for part in parts):
                continue
            if self.pool:
                yield UNLABELLED, address
            elif len(parts) > 1:
                yield known_class(parts[0], context, where), address
            else:
                continue
            count += 1
        if not count:
            raise DataError(f"{where}: no pictures in it", "put a folder of pictures for each class into it")

    def _where(self, context: Context) -> str:
        return f"{context.where}.path: {self.path}"


def files_below(folder: Path, root: Path) -> Iterator[Path]:
    """Every regular file below a folder, by path; what else lies there is told of.

    Links to folders are followed inside the folder only: what they lead to may be another class's.

    Args:
        folder: Whose files.
        root: What paths are told below.
    """
    top = os.path.realpath(folder)
    seen = set()  # links are followed, but not round in a circle
    for stand, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(stand)
        if real in seen:
            folders.clear()
            continue
        if not Path(real).is_relative_to(top):
            warn(f"{local.place(Path(stand), root)!a} is passed over: it is a link that leads out of {folder.name!a}")
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not local.is_passed_over(name))
        for name in sorted(files):
            file = Path(stand, name)
            if local.is_passed_over(name):
                continue
            if _is_special(file):  # reading a named pipe would wait for ever
                warn(f"{local.place(file, root)!a} is passed over: it is no regular file")
                continue
            yield file


def _is_special(file: Path) -> bool:
    """Whether this is there and no regular file."""
    try:
        return not stat.S_ISREG(file.stat().st_mode)
    except OSError:  # a dead link, or not to be looked at: told of where its picture is asked for
        return False
