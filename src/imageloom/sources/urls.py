"""Lists of addresses: one file `urls_<class>.csv` for each class, or one file with a column of classes."""

import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from imageloom.console import counted, warn
from imageloom.errors import DataError
from imageloom.fetch.http import Fetched
from imageloom.params import UNLABELLED, nearest
from imageloom.sources import local, storage
from imageloom.sources.lists import SUFFIXES, Meaning, Record, read_list
from imageloom.sources.source import Candidate, Context, GetPage, Source, known_class
from imageloom.sources.values import Pictures

DEFAULT = "data/urls"


def _prefix(text: str) -> str:
    protocol, mark, rest = text.partition("://")
    if protocol not in storage.DRIVERS or not mark or not rest.strip("/"):
        raise ValueError("must be a storage's address with its bucket, such as `s3://my-bucket/`")
    return text.rstrip("/") + "/"


class Urls(Source):
    """A folder of address lists, or one list."""

    kind: Literal["urls"] = Field(description="Lists of addresses.")
    path: str = Field(
        default=DEFAULT,
        min_length=1,
        description="Folder of urls_<class>.csv (.tsv, .txt, .jsonl, .parquet), or one file with a column of classes.",
    )
    columns: dict[Meaning, Annotated[str, Field(min_length=1)]] = Field(
        default={}, description="Names of columns by meaning: url, class, page, title, author, licence."
    )
    max_per_class: Pictures | None = Field(default=None, description="Take this many of each class; all if not given.")
    storage: list[Annotated[str, AfterValidator(_prefix)]] = Field(
        default=[], description="What addresses in storages may begin with, such as `s3://my-bucket/`; else http only."
    )

    def classes(self, context: Context) -> tuple[str, ...]:
        """The names in the files' names, or in the column; a class of `params.yaml` without a file is an error."""
        for prefix in self.storage:
            storage.filesystem(prefix, f"{context.where}.storage")
        lists = self._lists(context)
        self._refuse_columns_of_none(lists, context)
        found: dict[str, None] = {}
        for name, path in lists:
            if name is not None:
                found[name] = None
                continue
            for record in self._records(path, context):
                found[self._class_of(record, path, context)] = None
                if context.classes:  # they are known, and the first row has shown that the list can be read
                    return context.classes
        return tuple(found)

    async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """Every address of the lists, in the lists' order."""
        if not storage.is_storage(self.path):
            local.warn_if_unwatched(context.root / self.path, context.root / DEFAULT, context.root)
        async for candidate in local.in_background(self._listing(context)):
            yield candidate

    def _listing(self, context: Context) -> Iterator[Candidate]:
        lists = self._lists(context)
        seen: dict[str, set[str]] = {}
        empty, faults = [], []
        for named, path in lists:
            count = 0
            try:
                for candidate in self._listed_in(path, named, context, seen):
                    count += 1
                    if candidate is not None:
                        yield candidate
            except DataError as fault:  # one damaged list does not keep the others from being read
                faults.append(fault)
                context.unread.update([named] if named else context.classes)
                continue
            if not count:
                empty.append(PurePosixPath(path).name)
        if empty:
            message = f"{self._where(context)}: no address in {', '.join(empty)}"
            if len(empty) == len(lists):
                raise DataError(message, "write one address a line")
            warn(message)
        for other in faults[1:]:
            warn(other.message)
        if faults:
            raise faults[0]

    def _listed_in(
        self, path: str, named: str | None, context: Context, seen: dict[str, set[str]]
    ) -> Iterator[Candidate | None]:
        """A candidate for each row of a list, None where that is left out; up to what may be taken of each class.

        Args:
            path: The list.
            named: The class in its name, if any.
            context: What the source is told.
            seen: The addresses that were taken of each class, where there is a limit.
        """
        left_out: Counter[str] = Counter()
        for record in self._records(path, context):
            name = named or self._class_of(record, path, context)
            if named is None and context.classes and name not in (*context.classes, UNLABELLED):
                left_out[name] += 1
                yield None
                continue
            if self.max_per_class is not None:
                taken = seen.setdefault(name, set())
                if len(taken) >= self.max_per_class and named is not None:
                    return
                if len(taken) >= self.max_per_class or record["url"] in taken:
                    continue
                taken.add(record["url"])
            yield self._candidate(record, name, path, context)
        if left_out:
            first = next(iter(left_out))
            rows = counted(left_out.total(), "row")
            example = f"{first!r} ({nearest(first, context.classes)})"
            where = self._where(context)
            warn(f"{where}: left out, of classes that params.yaml does not list: {rows}, such as {example}")

    def _refuse_columns_of_none(self, lists: Sequence[tuple[str | None, str]], context: Context) -> None:
        """Refuses names of columns that no list can have, which would say nothing."""
        where = f"{context.where}.columns"
        if self.columns and all(path.lower().endswith(".txt") for _, path in lists):
            hint = "leave columns out, or give the list as csv, tsv, jsonl or parquet"
            raise DataError(f"{where}: a txt has no columns: each of its lines is an address", hint)
        if "class" in self.columns and all(named for named, _ in lists):
            hint = "leave class out of columns, or name the one file with such a column as path"
            raise DataError(f"{where}.class: the lists in {self.path} have their classes in their names", hint)

    def _candidate(self, record: Record, name: str, path: str, context: Context) -> Candidate:
        url = record["url"]
        page = record.get("page") or _shown(path, context)
        title, author, licence = (record.get(field) for field in ("title", "author", "licence"))
        return Candidate(url, name, self.kind, page, title, author, licence, read=self._reader(url, context))

    def _reader(self, url: str, context: Context) -> Callable[[int], Fetched] | None:
        """Reads what is in a storage that may be read; lists come from outside, and may name other people's."""
        if not url.startswith(tuple(self.storage)) or ".." in PurePosixPath(url).parts:
            return None
        return storage.reader(url, f"{context.where}.storage")

    def _records(self, path: str, context: Context) -> Iterator[Record]:
        with storage.open_file(path, context.root, f"{context.where}.path: {path}") as file:
            yield from read_list(file, PurePosixPath(path).name, self.columns)

    def _class_of(self, record: Record, path: str, context: Context) -> str:
        where = f"{context.where}.path: {path}"
        if "class" not in record:
            column = self.columns.get("class", "class")
            hint = "name the column as `columns: {class: ...}`, or give each class a file urls_<class>.csv"
            raise DataError(f"{where}: no class for {record['url']} in a column {column!r}", hint)
        name = unicodedata.normalize("NFC", record["class"])
        return name if name in context.classes else known_class(name, Context(context.root, (), where), where)

    def _lists(self, context: Context) -> list[tuple[str | None, str]]:
        """The files, each with the class in its name; None where a column tells it."""
        where = self._where(context)
        if self.path.lower().endswith(SUFFIXES):
            stem = unicodedata.normalize("NFC", PurePosixPath(self.path).stem)
            name = stem.removeprefix("urls_") if stem.startswith("urls_") and "class" not in self.columns else None
            return [(name and known_class(name, context, where), self.path)]
        found: list[tuple[str | None, str]] = []
        for path in self._files(context):
            stem = unicodedata.normalize("NFC", PurePosixPath(path).stem)
            if path.lower().endswith(SUFFIXES) and stem.startswith("urls_"):
                name = known_class(stem.removeprefix("urls_"), context, f"{where}/{PurePosixPath(path).name}")
                found.append((name, path))
        if not found:
            hint = "put a list of addresses for each class into it"
            raise DataError(f"{where}: no file urls_<class>.csv in it", hint)
        for name in context.classes:
            if name not in dict(found):
                hint = "write it, with one address a line; leave it empty if other sources have the class"
                raise DataError(f"{where}: no urls_{name}.csv for the class {name!r}", hint)
        return found

    def _files(self, context: Context) -> list[str]:
        where = self._where(context)
        if storage.is_storage(self.path):
            return list(storage.files(self.path, where))
        try:
            return sorted(
                (context.root / self.path / file.name).as_posix() for file in (context.root / self.path).iterdir()
            )
        except OSError as fault:
            hint = "make it, with a file urls_<class>.csv for each class in it"
            raise DataError(f"{where}: cannot read this folder: {fault.strerror}", hint) from None

    def _where(self, context: Context) -> str:
        return f"{context.where}.path: {self.path}"


def _shown(path: str, context: Context) -> str:
    return path if storage.is_storage(path) else local.place(context.root / path, context.root)
