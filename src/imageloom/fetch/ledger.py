"""What is known of every address while a crawl is at work: one SQLite file, with which a killed crawl goes on.

Between crawls `manifest.parquet` says it all. A crawl copies it into the ledger, notes there what becomes of every
address, and writes the manifest anew when it ends; the ledger is then removed. So memory does not grow with the number
of addresses, and whatever ends a crawl, the next one finds what came until a moment before.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imageloom import tables
from imageloom.console import counted, say, warn
from imageloom.errors import DataError, ImageloomError
from imageloom.fetch.status import DROPPED, FORGOTTEN, GOOD, Status
from imageloom.files import faults_of_writing, sha256
from imageloom.tables import MANIFEST

# A manifest's row by its columns' names, dates as seconds since 1970; and `asked`: whether this crawl has the answer.
Row = dict[str, Any]

SECONDS_TO_LOSE = 0.1  # what is noted between two commits is lost by a kill, and asked again
MOST_NOTED = 200

_NAMES = tuple(MANIFEST.names)
_DATES = ("fresh_until", "first_seen", "last_seen")


def _list(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


_GOOD = ", ".join(f"'{status.value}'" for status in GOOD)

_SCHEMA = f"""
CREATE TABLE meta (name PRIMARY KEY, value);
CREATE TABLE rows (
    {_list(_NAMES)}, asked DEFAULT 0, sha256_before, status_before, PRIMARY KEY ("class", "url")
) WITHOUT ROWID;
"""

# What the manifest will say: `used` by what params.yaml has now, and what has changed since the last crawl.
_VIEW = f"""
CREATE TEMP TABLE kinds (name PRIMARY KEY);
CREATE TEMP TABLE classes (name PRIMARY KEY);
CREATE TEMP TABLE unread (source, "class");
CREATE TEMP VIEW now AS SELECT {_list([name for name in _NAMES if name != "used"])}, asked,
    CASE
        WHEN NOT EXISTS (SELECT * FROM kinds) THEN coalesce(used, 1)
        ELSE source IN (SELECT name FROM kinds)
            AND ("class" IN (SELECT name FROM classes) OR NOT EXISTS (SELECT * FROM classes))
    END AS used,
    CASE
        WHEN NOT asked AND EXISTS (
            SELECT * FROM unread
            WHERE unread.source = rows.source AND coalesce(unread."class", rows."class") = rows."class"
        ) THEN 'unread'
        WHEN NOT asked THEN 'not_listed'
        WHEN status IN ({_GOOD}) AND sha256_before IS NULL THEN 'new'
        WHEN status IN ({_GOOD}) AND sha256_before = sha256 THEN 'unchanged'
        WHEN status IN ({_GOOD}) THEN 'changed'
        WHEN status = 'gone' AND sha256_before IS NOT NULL AND status_before != 'gone' THEN 'gone'
        WHEN status = '{Status.OPTED_OUT.value}' AND error IN ('{FORGOTTEN}', '{DROPPED}') THEN 'forgotten'
        ELSE 'failed'
    END AS change
FROM rows;
"""

# WAL and NORMAL: a kill loses what was not committed, a power cut the last commits, and neither damages the file.
_SETTINGS = """
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 4000;
PRAGMA cache_size = -4000;
"""

_RECORD = f"""
INSERT INTO rows ({_list(_NAMES)}, asked) VALUES ({", ".join("?" * len(_NAMES))}, ?)
ON CONFLICT ("class", "url") DO UPDATE
SET {", ".join(f'"{name}" = excluded."{name}"' for name in _NAMES if name not in ("class", "url"))}, asked = 1
"""
_FIND = f'SELECT {_list(_NAMES)}, asked FROM rows WHERE "class" = ? AND url = ?'


class Ledger:
    """Opens the ledger of a crawl that did not end, or begins one with what the manifest says; use it with `with`.

    Args:
        path: Where the file stands; None for one that nobody else sees and that goes with this object.
        manifest: `manifest.parquet`, read when a ledger begins and written by `export`.

    Attributes:
        started: When the crawl began, in seconds since 1970: its rows' `last_seen`, and new rows' `first_seen`.
        began: The same to the fraction of a second.
        resumed: Whether this goes on with a crawl that did not end.

    Raises:
        DataError: The manifest is damaged.
        ImageloomError: Another crawl is at work, the disk is full, or the file cannot be written.
    """

    _base: sqlite3.Connection

    def __init__(self, path: Path | None, manifest: Path) -> None:
        self._path = path
        self._manifest = manifest
        self._last_save = time.monotonic()
        self._noted: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.resumed = path is not None and path.exists()
        self._open()
        if self.resumed and not self._continues():
            self.remove()
            self.resumed = False
            self._open()
        if not self.resumed:
            self._begin()
        self.began = float(self._meta("began"))
        self.started = int(self.began)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Closes the file; it stays for the next crawl, unless it was removed."""
        if self._closed:
            return
        try:
            self.save()
        except ImageloomError:
            if kind is None:  # else what ended the crawl is what is told
                raise
        self._base.close()

    def find(self, class_name: str, url: str) -> Row | None:
        """What is known of an address under a class."""
        values = self._noted.get((class_name, url)) or self._base.execute(_FIND, (class_name, url)).fetchone()
        return dict(zip((*_NAMES, "asked"), values, strict=True)) if values else None

    def record(self, row: Row) -> None:
        """Notes what became of an address in this crawl."""
        self._noted[row["class"], row["url"]] = (*map(row.__getitem__, _NAMES), 1)
        if len(self._noted) >= MOST_NOTED or time.monotonic() - self._last_save > SECONDS_TO_LOSE:
            self.save()

    def save(self) -> None:
        """Makes what was noted outlive a kill."""
        with self._faults():
            noted = list(self._noted.values())
            try:
                self._base.executemany(_RECORD, noted)
            except UnicodeEncodeError:  # such as an ETag that is no text
                self._base.executemany(_RECORD, [tuple(map(storable, values)) for values in noted])
            self._base.commit()
        self._noted.clear()
        self._last_save = time.monotonic()

    def select(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Rows that a query gives of the table `rows` or the view `now`, one at a time; see `use` for the view."""
        self.save()
        with self._faults():
            yield from self._base.execute(query, values)

    def change(self, command: str, *values: Any) -> int:
        """Runs one command on the table `rows`, and returns how many rows it changed."""
        self.save()
        with self._faults():
            count = self._base.execute(command, values).rowcount
        self.save()
        return count

    def doubt(self, is_whole: Callable[[Row], bool]) -> None:
        """Asks again in this crawl for pictures that a power cut took from the disk."""
        rows = self.select(f"SELECT {_list(_NAMES)} FROM rows WHERE asked AND status IN ({_GOOD})")
        lost = [row for values in rows if not is_whole(row := dict(zip(_NAMES, values, strict=True)))]
        for row in lost:
            self.change('UPDATE rows SET asked = 0 WHERE "class" = ? AND url = ?', row["class"], row["url"])

    def use(self, kinds: Sequence[str], classes: Sequence[str]) -> None:
        """Says which kinds of sources and which classes params.yaml has; no class stands for all.

        Until it is said, what the manifest says of a row's use stays.
        """
        with self._faults():
            self._base.execute("DELETE FROM kinds")
            self._base.execute("DELETE FROM classes")
            self._base.executemany("INSERT OR IGNORE INTO kinds VALUES (?)", [(kind,) for kind in kinds])
            self._base.executemany("INSERT OR IGNORE INTO classes VALUES (?)", [(name,) for name in classes])
            self.save()

    def leave_unread(self, kind: str, class_name: str | None) -> None:
        """Says that a kind of source could not be listed whole, for a class or for all: who is missing is not known."""
        with self._faults():
            self._base.execute("INSERT INTO unread VALUES (?, ?)", (kind, class_name))
            self.save()

    def move(self, kind: str, home: str) -> None:
        """Takes what is known of a kind's addresses on any host as known of the same ones on `home`."""
        away = "source = ? AND host(url) != ?"
        moved = f"UPDATE OR IGNORE rows SET url = at(url, ?), page = at(page, ?) WHERE {away}"
        self.change(moved, home, home, kind, home)
        self.change(f"DELETE FROM rows WHERE {away}", kind, home)  # whose address at home has a row of its own

    def export(self) -> None:
        """Writes the manifest, by class and address.

        Raises:
            ImageloomError: The disk is full, or the folder cannot be written; the old manifest is as it was.
        """
        # A kill between the two files' writing must leave a ledger that knows the manifest it finds, old or new.
        self.save()
        with self._faults():
            tables.write_batches(self._manifest, self._batches(), MANIFEST, self._expect)

    def remove(self) -> None:
        """Closes the ledger and removes its file: the crawl has ended."""
        self._base.close()
        self._closed = True
        if self._path is not None:
            for name in (f"{self._path.name}-wal", f"{self._path.name}-journal", self._path.name):
                self._path.with_name(name).unlink(missing_ok=True)

    def _open(self) -> None:
        self._closed = False
        if self._path is not None:
            with faults_of_writing(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._faults():
            self._base = sqlite3.connect(self._path or "", timeout=1)
            try:
                self._base.executescript(_SETTINGS)
                self._base.execute("BEGIN IMMEDIATE")  # takes the lock, and finds a file that is no ledger
                self._base.rollback()
            except sqlite3.OperationalError:
                self._base.close()
                raise
            except sqlite3.DatabaseError:
                self.remove()
                self.resumed = False
                self._base = sqlite3.connect(self._path or "", timeout=1)
                self._base.executescript(_SETTINGS)
            self._base.executescript(_VIEW)
            self._base.create_function("host", 1, host, deterministic=True)
            self._base.create_function("place", 1, place, deterministic=True)
            self._base.create_function("at", 2, _at, deterministic=True)

    def _continues(self) -> bool:
        """Whether the file holds a whole ledger, and the manifest is still the one that it knows."""
        try:
            known = (self._meta("manifest"), self._meta("expected"))
            self._base.execute(f"SELECT {_list(_NAMES)} FROM rows LIMIT 0")
        except sqlite3.DatabaseError:  # it was killed before it had copied the manifest, or is an earlier version's
            return False
        if _digest(self._manifest) in known:
            return True
        warn(f"{self._manifest.name} is another than that of the crawl which did not end: a new crawl begins")
        return False

    def _begin(self) -> None:
        try:
            with self._faults():
                self._base.executescript(f"BEGIN; {_SCHEMA}")
                if self._manifest.exists():
                    self._copy_manifest()
                now = datetime.now(UTC).timestamp()
                digest = _digest(self._manifest)
                for name, value in (("began", now), ("manifest", digest), ("expected", digest)):
                    self._base.execute("INSERT INTO meta VALUES (?, ?)", (name, value))
                self._base.commit()
        except DataError as fault:
            self.remove()
            hint = "get it back with `dvc checkout`, or remove it: the pictures stay, their dates begin anew"
            raise DataError(fault.message, hint) from None
        except BaseException:
            self.remove()
            raise

    def _copy_manifest(self) -> None:
        import pyarrow as pa

        names = (*_NAMES, "sha256_before", "status_before")
        insert = f"INSERT INTO rows ({_list(names)}) VALUES ({', '.join('?' * len(names))})"
        for batch in tables.read_batches(self._manifest, MANIFEST, "scrape"):
            columns = {name: batch.column(name) for name in _NAMES}
            columns |= {name: columns[name].view(pa.int64()) for name in _DATES}
            values = {name: column.to_pylist() for name, column in columns.items()}
            self._base.executemany(insert, zip(*values.values(), values["sha256"], values["status"], strict=True))

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa

        rows = self._base.execute(f'SELECT {_list(_NAMES)} FROM now ORDER BY "class", url')
        while batch := rows.fetchmany(tables.BATCH):
            columns = zip(*batch, strict=True)
            arrays = [tables.array(values, field.type) for values, field in zip(columns, MANIFEST, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=MANIFEST)

    def _expect(self, manifest: Path) -> None:
        self._base.execute("UPDATE meta SET value = ? WHERE name = 'expected'", (_digest(manifest),))
        self._base.commit()

    def _meta(self, name: str) -> Any:
        found = self._base.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise sqlite3.DatabaseError(name)
        return found[0]

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Tells SQLite's faults as users are told."""
        try:
            yield
        except sqlite3.Error as fault:
            if fault.sqlite_errorname in ("SQLITE_BUSY", "SQLITE_LOCKED"):
                raise ImageloomError(
                    "another crawl of this project is at work", "wait for its end, or end it"
                ) from None
            hint = "free some disk space or check the folder's permissions"
            raise ImageloomError(f"cannot write {self._path}: {fault}", hint) from None


def host(url: str) -> str:
    """An address's host, with the port where it has one; `file` and the like for what is not on the web."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return (parts.netloc.rpartition("@")[2] if parts.scheme in ("http", "https") else parts.scheme).lower()


def place(url: str) -> str:
    """What stands for an address in a table of hosts: its host, or in brackets what it is instead."""
    if url[:6].lower().startswith(("http:", "https:")):
        return host(url) or "(no host)"
    scheme = url.partition(":")[0] if ":" in url else ""
    return "(files)" if scheme == "file" else f"({scheme.lower() or 'no'} address)"


def _at(url: str | None, home: str) -> str | None:
    """The same address on another host."""
    return urlsplit(url)._replace(netloc=home).geturl() if url else url


def storable(value: Any) -> Any:
    """Text without what cannot be written as UTF-8; anything else as it is."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def sweep(raw: Path) -> None:
    """Removes the temporary files that a killed crawl left."""
    for path in (*raw.glob(".*.tmp"), *raw.glob("*/.*.tmp")):
        path.unlink(missing_ok=True)


def _digest(manifest: Path) -> str:
    return sha256(manifest) if manifest.exists() else "none"


def tell_resumed(ledger: Ledger) -> None:
    """Says with what a crawl that did not end goes on."""
    [(done,)] = ledger.select("SELECT count(*) FROM rows WHERE asked")
    began = datetime.fromtimestamp(ledger.started, UTC)
    after = counted(done, "address", "addresses")
    say(f"scrape: goes on with the crawl of {began:%Y-%m-%d %H:%M} UTC, which did not end, after {after}")
