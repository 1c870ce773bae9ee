"""What must not come back: addresses, hosts and pictures that were forgotten, and pictures that a reviewer dropped."""

import csv
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from imageloom import decisions
from imageloom.errors import DataError
from imageloom.fetch.ledger import Ledger, host
from imageloom.fetch.status import DROPPED, FORGOTTEN, Status
from imageloom.files import Paths, atomic_file
from imageloom.sources.source import Candidate

HEADER = ("what", "value", "when", "why")
KINDS = ("url", "sha256", "host")

_ERASE = """
UPDATE rows SET sha256 = NULL, path = NULL, bytes = NULL, width = NULL, height = NULL, format = NULL, etag = NULL,
    last_modified = NULL, fresh_until = NULL, title = NULL, author = NULL, status = ?, error = ?
WHERE "class" = ? AND url = ?
"""


@dataclass(frozen=True)
class Forgotten:
    """Answers whether something may come.

    Args:
        urls: Addresses that are never asked again, each as `spelt_once` has it.
        pictures: Why a picture must not come, by its SHA-256.
        hosts: Hosts of which nothing is asked, nor of those below them: `shop.example` is `img.shop.example` as well.
    """

    urls: set[str] = field(default_factory=set)
    pictures: dict[str, str] = field(default_factory=dict)
    hosts: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, paths: Paths) -> "Forgotten":
        """Reads `data/review/forgotten.csv` and the drops of `data/review/decisions.csv`, where they are.

        Raises:
            DataError: One is damaged. Nothing is crawled then, since what it forbids is not known.
        """
        known = cls()
        decided = decisions.standing(decisions.read(paths.decisions))
        known.pictures.update((sha, DROPPED) for sha, last in decided.items() if last.decision == "drop")
        for line, row in _rows(paths.forgotten, HEADER[:2]):
            what, value = row["what"], row["value"]
            if what not in KINDS or not value:
                message = f"{paths.forgotten.name}:{line}: must hold one of {', '.join(KINDS)}, and which"
                raise DataError(message, "mend the line, or get the file back with git")
            known.add(what, value)
        return known

    def add(self, what: str, value: str) -> None:
        """Takes in one thing of the kinds in `KINDS`."""
        if what == "url":
            self.urls.add(spelt_once(value))
        elif what == "host":
            self.hosts.update(_spellings(value.lower()))
        else:
            self.pictures[value.lower()] = FORGOTTEN

    def why(self, candidate: Candidate, sha256: str | None) -> str | None:
        """Why a candidate must not be asked; None when it may.

        Args:
            candidate: What a source lists.
            sha256: The picture that it gave in an earlier crawl.
        """
        if self.is_about(candidate.url, candidate.page, sha256):
            return FORGOTTEN
        return self.pictures.get(sha256) if sha256 else None

    def is_about(self, url: str, page: str | None, sha256: str | None) -> bool:
        """Whether someone asked to forget this."""
        if (self.urls and spelt_once(url) in self.urls) or (
            sha256 is not None and self.pictures.get(sha256) == FORGOTTEN
        ):
            return True
        return bool(self.hosts) and (self.covers(host(url)) or bool(page and self.covers(host(page))))

    def covers(self, name: str) -> bool:
        """Whether a host is one of those that were forgotten, or below one."""
        parts = name.rpartition(":")[0].split(".") if re.search(r":\d+$", name) else name.split(".")
        return name in self.hosts or any(".".join(parts[start:]) in self.hosts for start in range(len(parts)))


def spelt_once(url: str) -> str:
    """An address as the request for it goes out: browsers, lists and manifests spell one and the same in many ways."""
    from yarl import URL

    try:
        return str(URL(url).with_fragment(None))
    except ValueError:
        return url


def _spellings(name: str) -> set[str]:
    """A host's name as people write it and as it goes over the wire: lists have either, in any script."""
    from yarl import URL

    try:
        url = URL(f"http://{name}")
    except ValueError:
        return {name}
    port = f":{url.explicit_port}" if url.explicit_port is not None else ""
    return {name, *(f"{host}{port}" for host in (url.host, url.raw_host) if host and ":" not in host)}


def erase(ledger: Ledger, forgotten: Forgotten, raw: Path) -> int:
    """Takes the pictures that were forgotten out of the ledger and off the disk, and returns how many rows those were.

    Pictures that a reviewer dropped stay where they are: `clean` leaves them out, and the decision can be undone.
    """
    if not (forgotten.pictures or forgotten.urls or forgotten.hosts):
        return 0
    query = 'SELECT "class", url, page, sha256, path, status FROM rows'
    found = [
        (name, url, sha, path)
        for name, url, page, sha, path, status in ledger.select(query)
        if (sha or status != Status.OPTED_OUT) and forgotten.is_about(url, page, sha)
    ]
    for name, url, _, _ in found:
        ledger.change(_ERASE, Status.OPTED_OUT.value, FORGOTTEN, name, url)
    for path in {path for _, _, _, path in found if path}:
        [(others,)] = ledger.select("SELECT count(*) FROM rows WHERE path = ?", path)
        if not others:
            (raw / path).unlink(missing_ok=True)
    return len(found)


def remember(path: Path, entries: list[tuple[str, str]], why: str) -> None:
    """Adds lines to `forgotten.csv`, which is written whole or not at all; what is there already is not repeated."""
    rows = [row for _, row in _rows(path, HEADER)]
    there = {(row["what"], row["value"]) for row in rows}
    today = time.strftime("%Y-%m-%d", time.gmtime())
    rows += [dict(zip(HEADER, (*entry, today, why), strict=True)) for entry in entries if entry not in there]
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _rows(path: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not set(needed) <= set(reader.fieldnames or ()):
                raise DataError(f"{path} must have the columns {', '.join(needed)}", "get it back with git")
            return [(reader.line_num, {key: value or "" for key, value in row.items() if key}) for row in reader]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise DataError(f"cannot read {path}: {fault}", "get it back with git") from None
