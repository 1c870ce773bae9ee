"""Asks again what failed, from the ledger: no source is listed."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import PrivateAttr

from imageloom.console import warn
from imageloom.fetch.ledger import Ledger
from imageloom.fetch.status import Status
from imageloom.sources.source import Candidate, Context, GetPage, Source


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
            is_file = kind != "archive" and url.startswith("file:")
            if is_file or url.startswith(("http:", "https:")):
                file = context.root / url.removeprefix("file:") if is_file else None
                yield Candidate(url, name, kind, page, title, author, licence, file)
            else:
                left += 1
        if left:
            warn(f"{left:,} addresses are asked by a crawl only: they stand in archives or storages")


def retry(ledger: Ledger, statuses: Sequence[Status], root: Path) -> tuple[Source, Context]:
    """A source for `Crawl.run` of what has one of the statuses."""
    source = Retry()
    source._ledger, source._statuses = ledger, tuple(status.value for status in statuses)
    return source, Context(root, (), "--retry")
