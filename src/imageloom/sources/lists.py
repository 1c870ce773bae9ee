"""Reads lists of addresses, row by row: txt, csv, tsv, jsonl and parquet."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from imageloom.errors import DataError

Meaning = Literal["url", "class", "page", "title", "author", "licence"]

# What is known of one address, by meaning; there is always a `url`.
Record = dict[str, str]

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet")

# Names of columns that are understood where none are given.
_NAMES: dict[Meaning, tuple[str, ...]] = {
    "url": ("url",),
    "class": ("class",),
    "page": ("page",),
    "title": ("title",),
    "author": ("author",),
    "licence": ("licence", "license"),
}

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_ROWS = 1024


def read_list(file: BinaryIO, name: str, columns: Mapping[Meaning, str]) -> Iterator[Record]:
    """The rows of one list that have an address.

    In csv and tsv the address is in the column called `url`, else in the first that holds something which looks like
    one; in txt it is the line.

    Args:
        file: Its content.
        name: The file's name, whose end says what it is.
        columns: Names of columns, by what they mean.

    Raises:
        DataError: It cannot be read, lacks a column of `columns`, or has nothing in it that looks like an address.
    """
    suffix = name[name.rfind(".") :].lower()
    try:
        if suffix == ".parquet":
            yield from _parquet(file, name, columns)
            return
        with _text(file) as text:
            if suffix in (".jsonl", ".ndjson"):
                yield from _jsonl(text, name, columns)
            elif suffix == ".txt":
                yield from ({"url": line.strip()} for line in _lines(text))
            else:
                yield from _table(text, name, columns, "\t" if suffix == ".tsv" else "")
    except UnicodeDecodeError:
        raise DataError(f"{name}: not UTF-8", "save it in UTF-8") from None
    except (OSError, csv.Error) as fault:
        raise DataError(f"{name}: cannot read it: {fault}", f"it must be what its name says, {suffix[1:]}") from None


def _text(file: BinaryIO) -> io.TextIOWrapper:
    mark = file.read(2)
    file.seek(0)
    wide = mark in (b"\xff\xfe", b"\xfe\xff")  # what Excel calls Unicode text
    return io.TextIOWrapper(file, "utf-16" if wide else "utf-8-sig", newline="")


def _lines(text: Iterable[str]) -> Iterator[str]:
    return (line for line in text if line.strip() and not line.startswith("#"))


def _table(text: Iterable[str], name: str, columns: Mapping[Meaning, str], delimiter: str) -> Iterator[Record]:
    lines = _lines(text)
    first = next(lines, None)
    if first is None:
        return
    rows: Iterator[list[str]] = csv.reader(_again(first, lines), delimiter=delimiter or _delimiter(first))
    header = [cell.strip() for cell in next(rows)]
    places = {meaning: header.index(column) for meaning, column in _columns(header, columns, name).items()}
    if "url" not in places:
        rows = _again(header, rows)
        row = next((row for row in rows if any(_is_address(cell) for cell in row)), None)
        if row is None:
            raise DataError(f"{name}: nothing in it looks like an address", "give one http or https address a line")
        if row is header:
            places = {}
        places["url"] = next(number for number, cell in enumerate(row) if _is_address(cell))
        rows = _again(row, rows)
    for row in rows:
        record = {meaning: row[place].strip() for meaning, place in places.items() if place < len(row)}
        if record.get("url"):
            yield {meaning: value for meaning, value in record.items() if value}


def _jsonl(text: Iterable[str], name: str, columns: Mapping[Meaning, str]) -> Iterator[Record]:
    rows = found = 0
    unmet = dict(columns)
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as fault:
            raise DataError(f"{name}:{number}: not JSON: {fault}", "give one JSON object a line") from None
        if isinstance(row, str):
            row = {"url": row}
        if not isinstance(row, dict):
            raise DataError(f"{name}:{number}: neither an object nor an address", "give one JSON object a line")
        rows += 1
        unmet = {meaning: column for meaning, column in unmet.items() if column not in row}
        record = _record(row, {**_columns(list(row), {}, name), **columns})  # each row has keys of its own
        if "url" in record:
            found += 1
            yield record
    if rows and not found:
        raise DataError(f"{name}: no address under {columns.get('url', 'url')!r}", _naming("url"))
    if found and unmet:
        meaning, column = next(iter(unmet.items()))
        raise DataError(f"{name}: no row has {column!r}", _naming(meaning))


def _parquet(file: BinaryIO, name: str, columns: Mapping[Meaning, str]) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        named = _columns(table.schema_arrow.names, columns, name)
        if "url" not in named:
            raise _missing("url", "url", table.schema_arrow.names, name)
        for batch in table.iter_batches(_ROWS, columns=list(named.values())):
            for row in batch.to_pylist():
                record = _record(row, named)
                if "url" in record:
                    yield record
    except pa.ArrowException as fault:
        raise DataError(f"{name}: cannot read it: {fault}", "it must be what its name says, parquet") from None


def _columns(header: Sequence[str], given: Mapping[Meaning, str], name: str) -> dict[str, str]:
    """The columns that mean something, by meaning; those that are `given` must be there."""
    known = {column.casefold(): column for column in reversed(header)}  # of two with one name, the first counts
    found: dict[str, str] = {}
    for meaning, usual in _NAMES.items():
        wanted = given.get(meaning)
        if wanted is not None and wanted.casefold() not in known:
            raise _missing(meaning, wanted, header, name)
        names = usual if wanted is None else (wanted,)
        column = next((known[each.casefold()] for each in names if each.casefold() in known), None)
        if column is not None:
            found[meaning] = column
    return found


def _missing(meaning: str, wanted: str, header: Sequence[str], name: str) -> DataError:
    there = ", ".join(repr(column) for column in header[:20])
    return DataError(f"{name}: no column {wanted!r} in it; it has {there}", _naming(meaning))


def _naming(meaning: str) -> str:
    return f"name the column as `columns: {{{meaning}: ...}}`"


def _record(row: Mapping[str, Any], named: Mapping[Any, str]) -> Record:
    values = {meaning: row.get(column) for meaning, column in named.items()}
    texts = {meaning: _text_of(value).strip() for meaning, value in values.items() if value is not None}
    return {meaning: text for meaning, text in texts.items() if text}


def _text_of(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)  # what Parquet calls binary


def _again(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _delimiter(first: str) -> str:
    """The mark that parts the columns; a semicolon counts in a header only, since addresses hold it too."""
    marks = ",\t" if "://" in first else ",\t;"
    return max(marks, key=first.count)


def _is_address(cell: str) -> bool:
    return bool(_ADDRESS.match(cell.strip()))
