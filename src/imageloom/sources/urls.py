"""Lists of addresses: one file `urls_<class>.csv` for each class."""

import csv
import unicodedata
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from imageloom.errors import DataError
from imageloom.sources.source import Candidate, Context, GetPage, Source, known_class, place, warn_if_unwatched

DEFAULT = "data/urls"

# Columns beside the address that a header can name, and the candidate's field that each becomes.
_ABOUT = {"page": "page", "title": "title", "author": "author", "licence": "licence", "license": "licence"}


class Urls(Source):
    """A folder of address lists."""

    kind: Literal["urls"] = Field(description="Lists of addresses, one file for each class.")
    path: str = Field(default=DEFAULT, min_length=1, description="Folder that holds urls_<class>.csv.")
    max_per_class: int | None = Field(default=None, ge=1, description="Take this many of each list; all if not given.")

    def classes(self, context: Context) -> tuple[str, ...]:
        """The names in the files' names; a class of `params.yaml` without a file is an error."""
        return tuple(name for name, _ in self._lists(context))

    async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """Every address of the lists, in the lists' order."""
        warn_if_unwatched(context.root / self.path, context.root / DEFAULT, context.root)
        for name, path in self._lists(context):
            seen: set[str] = set()
            for url, about in read_list(path):
                if self.max_per_class and len(seen) >= self.max_per_class:
                    break
                if url not in seen:
                    seen.add(url)
                    about = {"page": place(path, context.root)} | about
                    title, author, licence = (about.get(field) for field in ("title", "author", "licence"))
                    yield Candidate(url, name, self.kind, about["page"], title, author, licence)

    def _lists(self, context: Context) -> list[tuple[str, Path]]:
        folder = context.root / self.path
        where = f"{context.where}.path: {self.path}"
        found: dict[str, Path] = {}
        try:
            for path in sorted(folder.iterdir()):
                stem = unicodedata.normalize("NFC", path.stem)
                if path.suffix.lower() == ".csv" and stem.startswith("urls_"):
                    found[known_class(stem.removeprefix("urls_"), context, f"{where}/{path.name}")] = path
        except OSError as fault:
            hint = "make it, with a file urls_<class>.csv for each class in it"
            raise DataError(f"{where}: cannot read this folder: {fault.strerror}", hint) from None
        if not found:
            raise DataError(
                f"{where}: no file urls_<class>.csv in it", "put a list of addresses for each class into it"
            )
        for name in context.classes:
            if name not in found:
                hint = "write it, with one address a line; leave it empty if other sources have the class"
                raise DataError(f"{where}: no urls_{name}.csv for the class {name!r}", hint)
        return list(found.items())


def read_list(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The addresses of one list, each with what the header's other columns say about it.

    The column is the one called `url`, else the first that holds something that looks like an address.

    Raises:
        DataError: The file cannot be read, or nothing in it looks like an address.
    """
    rows = _rows(path)
    if not rows:
        return
    names = [cell.casefold() for cell in rows[0]]
    if "url" in names:
        column, first = names.index("url"), 1
    else:
        row = next((row for row in rows if any(_is_address(cell) for cell in row)), None)
        if row is None:
            raise DataError(
                f"{path.name}: nothing in it looks like an address", "give one http or https address a line"
            )
        column = next(number for number, cell in enumerate(row) if _is_address(cell))
        first = 0 if row is rows[0] else 1
    about = {number: _ABOUT[name] for number, name in enumerate(names) if first and name in _ABOUT}
    for row in rows[first:]:
        if column < len(row) and row[column]:
            yield row[column], {field: row[n] for n, field in about.items() if n < len(row) and row[n]}


def _rows(path: Path) -> list[list[str]]:
    try:
        content = path.read_bytes()
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # what Excel calls Unicode text
        text = content.decode("utf-16" if wide else "utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=_delimiter(lines))]
    except UnicodeDecodeError:
        raise DataError(f"{path.name}: not UTF-8", "save it as CSV in UTF-8") from None
    except (OSError, csv.Error) as fault:
        raise DataError(
            f"{path.name}: cannot read it: {fault}", "it must be a CSV file with one address a line"
        ) from None


def _delimiter(lines: list[str]) -> str:
    """The mark that parts the columns; a semicolon counts in a header only, since addresses hold it too."""
    first = lines[0] if lines else ""
    marks = ",\t" if "://" in first else ",\t;"
    return max(marks, key=first.count)


def _is_address(cell: str) -> bool:
    return cell.casefold().startswith(("http://", "https://"))
