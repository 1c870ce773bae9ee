"""Asks again what failed, from the ledger: no source is listed."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import PrivateAttr

from imageloom.console import counted, warn
from imageloom.errors import ImageloomError
from imageloom.fetch.ledger import Ledger
from imageloom.fetch.status import GOOD, Status
from imageloom.params import nearest
from imageloom.sources.source import Candidate, Context, GetPage, Source

FAILED = "failed"  # what `--retry` calls every status without a picture


class Retry(Source):
    """The addresses of a ledger that have one of some statuses, in the order of classes and addresses."""

    kind: Literal["retry"] = "retry"
    _ledger: Ledger = PrivateAttr()
    _statuses: tuple[str, ...] = PrivateAttr()

    async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """What is on the web and what stands in a file of its own; how many others there are is told."""
        marks = ", ".join("?" * len(self._statuses))
        query = f'SELECT "class", url, source, page, title, author, licence FROM rows WHERE status IN ({marks})'
        left = 0
        # Into a list of its own first: the crawl changes the table while this goes through it.
        self._ledger.change(f"CREATE TEMP TABLE again AS {query}", *self._statuses)
        for name, url, kind, page, title, author, licence in self._ledger.select("SELECT * FROM again"):
            is_file = kind == "folder" and url.startswith("file:")  # a list from outside may name any file here
            if is_file or url[:6].lower().startswith(("http:", "https:")):
                file = context.root / url.removeprefix("file:") if is_file else None
                yield Candidate(url, name, kind, page, title, author, licence, file)
            else:
                left += 1
        if left:
            what = counted(left, "address", "addresses")
            warn(f"left to the next crawl, being neither on the web nor in a folder: {what}")


def statuses(text: str | None) -> list[Status]:
    """What `--retry` names: statuses with commas between, or `failed` for every one without a picture.

    Raises:
        ImageloomError: There is no such status.
    """
    named: list[Status] = []
    for name in (part.strip().lower() for part in text.split(",")) if text is not None else ():
        if name == FAILED:
            named += [status for status in Status if status not in GOOD]
        elif name in list(Status):
            named.append(Status(name))
        else:
            known = [FAILED, *(status.value for status in Status)]
            raise ImageloomError(f"--retry: {name!r} is no status", nearest(name, known))
    return named


def count(ledger: Ledger, wanted: Sequence[Status]) -> int:
    """How many addresses have one of the statuses."""
    marks = ", ".join("?" * len(wanted))
    [(number,)] = ledger.select(f"SELECT count(*) FROM rows WHERE status IN ({marks})", *wanted)
    return int(number)


def source(ledger: Ledger, wanted: Sequence[Status], root: Path) -> tuple[Source, Context]:
    """A source for `Crawl.run` of what has one of the statuses."""
    again = Retry()
    again._ledger, again._statuses = ledger, tuple(status.value for status in wanted)
    return again, Context(root, (), "--retry")
