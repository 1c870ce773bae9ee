"""Pictures in an archive: read from it without unpacking it to files."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from imageloom.console import warn
from imageloom.errors import DataError
from imageloom.params import UNLABELLED
from imageloom.sources import folder, local, members, storage
from imageloom.sources.members import Member
from imageloom.sources.source import Candidate, Context, GetPage, Source, known_class
from imageloom.sources.values import Encoding


class Archive(Source):
    """An archive that holds a folder for each class, or pictures of one class, or a pool."""

    kind: Literal["archive"] = Field(description="Pictures in a zip or tar file.")
    path: str = Field(min_length=1, description="The file: zip, tar, tar.gz, tar.bz2 or tar.xz; s3://bucket/file too.")
    inside: str = Field(default="", description="Folder inside it that holds a folder for each class, if not the top.")
    class_name: str | None = Field(default=None, description="Class of every picture in it; else its folder's name.")
    pool: bool = Field(default=False, description="Take every picture in it without a label.")
    names_encoding: Encoding | None = Field(
        default=None, description="Encoding of the names in it where it does not say so, such as gbk."
    )
    max_unpacked: int = Field(
        default=20_000_000_000,
        ge=1,
        le=10**15,
        description="Give up a compressed tar that unpacks to more bytes than this.",
    )
    author: str | None = Field(default=None, description="Who made the pictures.")
    licence: str | None = Field(default=None, description="What allows their use.")

    _members: Iterator[Member] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _one_way_to_the_class(self) -> "Archive":
        if self.pool and self.class_name is not None:
            raise ValueError("must have one class or none, not class_name and pool")
        return self

    def classes(self, context: Context) -> tuple[str, ...]:
        """The folders inside, or the one class given."""
        if self.pool:
            return (UNLABELLED,)
        if self.class_name is not None:
            return (known_class(self.class_name, context, f"{context.where}.class_name"),)
        with self.opened(context):
            found = {self._class_of(parts, context): None for parts, _ in self._pictures(context)}
        if not found:
            hint = "name the folder that holds a folder for each class as `inside`, or give all one class_name"
            raise DataError(f"{self._where(context)}: no folders of pictures in it", hint)
        return tuple(found)

    @contextmanager
    def opened(self, context: Context) -> Iterator[None]:
        """Opens the archive; its pictures are read while it is."""
        where = self._where(context)
        with (
            storage.open_file(self.path, context.root, where) as file,
            members.opened(file, where, self.names_encoding, self.max_unpacked, context.root) as found,
        ):
            self._members = found
            yield

    async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """Every file inside, in the archive's order."""
        if not storage.is_storage(self.path):
            local.warn_if_unwatched(context.root / self.path, context.root / folder.DEFAULT, context.root)
        async for candidate in local.in_background(self._listing(context)):
            yield candidate

    def _listing(self, context: Context) -> Iterator[Candidate]:
        stored = storage.is_storage(self.path)
        page = self.path if stored else local.place(context.root / self.path, context.root)
        for parts, (name, read) in self._pictures(context):
            title = PurePosixPath(name).stem
            yield Candidate(
                url=f"{page if stored else f'file:{page}'}!/{name}",
                class_name=self._class_of(parts, context),
                source=self.kind,
                page=page,
                title=title,
                author=self.author,
                licence=self.licence,
                read=read,
            )

    def _pictures(self, context: Context) -> Iterator[tuple[tuple[str, ...], Member]]:
        """The members that may be pictures, each with the parts of its path below `inside`."""
        assert self._members is not None, "opened() comes first"
        above = PurePosixPath(self.inside).parts
        for name, read in self._members:
            parts = tuple(part for part in PurePosixPath(name).parts if part not in ("/", "."))
            below = parts[len(above) :]
            wanted = parts[: len(above)] == above and not any(local.is_passed_over(part) for part in below)
            if not wanted or (len(below) < 2 and self.class_name is None and not self.pool):
                continue
            if local.is_undecodable(name):
                warn(f"{self._where(context)}: {name!a} is passed over: its name is not UTF-8; set names_encoding")
                continue
            yield below, (name, read)

    def _class_of(self, parts: tuple[str, ...], context: Context) -> str:
        if self.pool:
            return UNLABELLED
        return known_class(self.class_name or parts[0], context, self._where(context))

    def _where(self, context: Context) -> str:
        return f"{context.where}.path: {self.path}"
