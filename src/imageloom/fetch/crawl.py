"""One crawl: lists the sources' candidates, fetches them through a bounded queue, and keeps a row for each."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import datetime
from typing import Any

from imageloom.console import Bar
from imageloom.engine import cores
from imageloom.errors import DataError, ImageloomError
from imageloom.fetch.http import Fetched, Http, Limits
from imageloom.fetch.status import GOOD, Status
from imageloom.fetch.store import Kept, Store
from imageloom.sources.source import Candidate, Context, Source
from imageloom.tables import MANIFEST

# Kinds of sources whose pictures a person puts in and takes out.
PLACES = {"archive", "folder"}

Row = dict[str, Any]
Key = tuple[str, str]  # address and class


class Crawl:
    """What is known of every address, brought up to date by `run`.

    After a crawl that was interrupted, `rows` holds what came until then.

    Args:
        rows: The manifest's rows of earlier crawls, by address and class; changed in place.
        store: Where the pictures go.
        started: When the crawl began, to the second; its rows' `last_seen`, and new rows' `first_seen`.

    Attributes:
        counts: How many addresses of this crawl have each status.
        faults: What kept a source from being listed; the other sources were crawled all the same.
    """

    def __init__(self, rows: dict[Key, Row], store: Store, started: datetime) -> None:
        self.rows = rows
        self.counts: Counter[Status] = Counter()
        self.faults: list[ImageloomError] = []
        self.listed: set[Key] = set()
        self._store = store
        self._started = started

    async def run(self, sources: Sequence[tuple[Source, Context]], limits: Limits, bar: Bar) -> None:
        """Crawls the sources one after another, and fetches their candidates many at a time.

        Raises:
            ImageloomError: The disk is full, or the store cannot be written.
        """
        # The queue is what bounds the memory: the listing waits when the fetching is behind.
        queue: asyncio.Queue[Candidate | None] = asyncio.Queue(2 * limits.concurrency)
        pool = ThreadPoolExecutor(cores(), "decode")
        try:
            async with Http(limits) as http, asyncio.TaskGroup() as tasks:
                for _ in range(limits.concurrency):
                    tasks.create_task(self._work(queue, _Desk(http, pool, self._store, limits.max_bytes), bar))
                for source, context in sources:
                    await self._list(source.candidates(context, http.get), context, queue)
                for _ in range(limits.concurrency):
                    await queue.put(None)
        except BaseExceptionGroup as group:  # one full disk is as many faults as there are fetchers
            raise group.exceptions[0] from None
        finally:
            pool.shutdown(cancel_futures=True)
        self._mark_taken_away([source for source, _ in sources])

    async def _list(
        self, candidates: AsyncIterator[Candidate], context: Context, queue: asyncio.Queue[Candidate | None]
    ) -> None:
        count = 0
        try:
            async with aclosing(candidates) as listing:  # type: ignore[type-var]
                async for candidate in listing:
                    count += 1
                    key = (candidate.url, candidate.class_name)
                    if key not in self.listed:
                        self.listed.add(key)
                        await queue.put(candidate)
        except ImageloomError as fault:
            self.faults.append(fault)
            return
        if not count:
            self.faults.append(DataError(f"{context.where}: lists nothing", "check what it names, or take it out"))

    async def _work(self, queue: asyncio.Queue[Candidate | None], desk: "_Desk", bar: Bar) -> None:
        while (candidate := await queue.get()) is not None:
            key = (candidate.url, candidate.class_name)
            known = self.rows.get(key)
            fetched, kept = await desk.process(candidate, known)
            self.rows[key] = self._row(candidate, known, fetched, kept)
            self.counts[kept.status] += 1
            bar.update(self.counts.total(), len(self.listed), self._note())

    def _note(self) -> str:
        good, unchanged = self.counts[Status.OK], self.counts[Status.UNCHANGED]
        return f"{good:,} ok, {unchanged:,} unchanged, {self.counts.total() - good - unchanged:,} failed"

    def _row(self, candidate: Candidate, known: Row | None, fetched: Fetched, kept: Kept) -> Row:
        row = dict(known) if known else self._new_row()
        row |= {"url": candidate.url, "class": candidate.class_name, "source": candidate.source}
        row |= {"page": candidate.page, "title": candidate.title}
        row |= {"author": candidate.author, "licence": candidate.licence}
        row |= {"status": kept.status.value, "http_status": fetched.http_status, "attempts": fetched.attempts}
        row |= {"error": kept.error, "last_seen": self._started}
        if kept.status in GOOD:  # a failed recrawl leaves the picture, and what to ask with for it, as they were
            row |= kept.columns
            asked = row if fetched.http_status == 304 else {}  # an answer 304 need not repeat them
            row["etag"] = fetched.etag or asked.get("etag")
            row["last_modified"] = fetched.last_modified or asked.get("last_modified")
        return row

    def _new_row(self) -> Row:
        row: Row = dict.fromkeys(MANIFEST.names)
        return row | {"first_seen": self._started}

    def _mark_taken_away(self, sources: Sequence[Source]) -> None:
        """Lets go of pictures that a person took out of a folder, or moved to another class's, since the last crawl."""
        here = {source.kind for source in sources} & PLACES
        if self.faults or not here:
            return
        gone = {"sha256": None, "path": None, "status": Status.GONE.value, "error": "no longer there"}
        for key, row in self.rows.items():
            if row["source"] in here and key not in self.listed:
                row |= gone


class _Desk:
    """Where one candidate becomes bytes, and bytes a picture in the store."""

    def __init__(self, http: Http, pool: ThreadPoolExecutor, store: Store, max_bytes: int) -> None:
        self._http = http
        self._pool = pool
        self._store = store
        self._max_bytes = max_bytes

    async def process(self, candidate: Candidate, known: Row | None) -> tuple[Fetched, Kept]:
        loop = asyncio.get_running_loop()
        if candidate.file is not None or candidate.read is not None:
            fetched = await loop.run_in_executor(self._pool, self._read, candidate)
        elif self._store.has(known):
            assert known is not None
            fetched = await self._http.get(candidate.url, known["etag"], known["last_modified"])
        else:
            fetched = await self._http.get(candidate.url)
        if fetched.status is not Status.OK:
            return fetched, Kept(fetched.status, {}, fetched.error)
        kept = await loop.run_in_executor(self._pool, self._store.keep, fetched.body, candidate.class_name, known)
        return fetched, kept

    def _read(self, candidate: Candidate) -> Fetched:
        if candidate.read is not None:
            return candidate.read(self._max_bytes)
        assert candidate.file is not None
        try:
            if candidate.file.stat().st_size > self._max_bytes:
                return Fetched(Status.TOO_LARGE, error=f"more than {self._max_bytes:,} bytes")
            return Fetched(Status.OK, body=candidate.file.read_bytes())
        except FileNotFoundError:
            return Fetched(Status.GONE, error="no such file")
        except OSError as fault:
            return Fetched(Status.BLOCKED_ADDRESS, error=f"cannot be read: {fault.strerror}")
