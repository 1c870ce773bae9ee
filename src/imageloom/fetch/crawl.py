"""One crawl: lists the sources' candidates, fetches them through bounded queues, and notes what became of each.

A candidate's way: listed -> `asked` queue -> a fetcher -> backlog of bodies -> a decoding process -> the ledger. Both
queues are bounded, so that the listing waits when the fetching is behind and the fetching when the decoding is: a crawl
of ten million addresses holds as few in memory as one of a thousand.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields, replace

from imageloom.console import Bar
from imageloom.engine import cores
from imageloom.errors import DataError, ImageloomError
from imageloom.fetch.decoders import Decoders, Undecoded
from imageloom.fetch.forgotten import Forgotten
from imageloom.fetch.http import Fetched, Http, Limits
from imageloom.fetch.ledger import Ledger, Row, storable
from imageloom.fetch.retry import Retry
from imageloom.fetch.status import GOOD, Status
from imageloom.fetch.store import Kept, Store
from imageloom.sources.source import Candidate, Context, Source
from imageloom.tables import MANIFEST

# Kinds of sources whose pictures a person puts in and takes out.
PLACES = {"archive", "folder"}

BATCH = 16  # bodies that go to a decoding process at a time: going there and back costs as much as a small picture
BATCH_BYTES = 4_000_000  # and what they may weigh together, beside the last of them
BACKLOG = 64  # bodies that wait for a decoding process
BACKLOG_BYTES = 64_000_000  # and what they may weigh together, beside the last that came

SECONDS_BETWEEN_SIGHTS = 0.1  # of the progress bar

READ = Fetched(Status.OK)  # what stands for an answer where a file was read
NOT_ASKED = Fetched(Status.OPTED_OUT, attempts=0)


@dataclass(frozen=True, slots=True)
class _Order:
    """A candidate with what is known of it, and what its address gave; None for a file, which is yet to be read."""

    candidate: Candidate
    known: Row | None
    fetched: Fetched | None = None

    @property
    def weight(self) -> int:
        return len(self.fetched.body) if self.fetched else 0

    @property
    def undecoded(self) -> Undecoded:
        body = self.fetched.body if self.fetched else None
        return Undecoded(body, self.candidate.file, self.candidate.class_name, self.known)


class Crawl:
    """Brings the ledger up to date.

    Args:
        ledger: What is known of every address.
        store: Where the pictures go.
        forgotten: What must not be asked.
        most: End after asking this many; None for no end but the sources'.
        refresh: Ask for pictures that are fresh as well.

    Attributes:
        listed: How many candidates were listed, each counted once.
        counts: How many of them have each status.
        faults: What kept a source from being listed; the other sources were crawled all the same.
        full: Whether the end came by `most`.
    """

    def __init__(
        self, ledger: Ledger, store: Store, forgotten: Forgotten, most: int | None = None, *, refresh: bool = False
    ) -> None:
        self.listed = 0
        self.counts: Counter[Status] = Counter()
        self.faults: list[ImageloomError] = []
        self.full = False
        self._ledger = ledger
        self._store = store
        self._forgotten = forgotten
        self._left = most
        self._refresh = refresh
        self._bar: Bar | None = None
        self._retries = False
        self._unread: set[str] = set()  # kinds of sources that could not be listed whole
        self._on_the_way: set[tuple[str, str]] = set()
        self._done = 0
        self._last_sight = 0.0

    async def run(self, sources: Sequence[tuple[Source, Context]], limits: Limits, bar: Bar) -> None:
        """Crawls the sources one after another, and fetches their candidates many at a time.

        Raises:
            ImageloomError: The disk is full, the store cannot be written, or the system ended a process that decodes;
                the ledger knows what came.
        """
        asked: asyncio.Queue[_Order | None] = asyncio.Queue(2 * limits.concurrency)
        bodies = _Backlog(BACKLOG)
        decoders = Decoders(self._store, limits.max_bytes)
        hands = cores() + 1  # so that a process which is done finds its next batch waiting
        self._bar = bar
        self._retries = any(isinstance(source, Retry) for source, _ in sources)
        try:
            async with Http(limits) as http, asyncio.TaskGroup() as tasks:
                for _ in range(hands):
                    tasks.create_task(self._decode(bodies, decoders))
                fetchers = [tasks.create_task(self._fetch(asked, http, bodies)) for _ in range(limits.concurrency)]
                for source, context in sources:
                    await self._list(source, context, http, asked.put)
                for _ in fetchers:
                    await asked.put(None)
                await asyncio.gather(*fetchers)
                for _ in range(hands):
                    await bodies.put(None)
        except BaseExceptionGroup as group:  # one full disk is as many faults as there are processes
            raise group.exceptions[0] from None
        finally:
            decoders.close()
        self._mark_taken_away([source for source, _ in sources])

    async def preview(
        self, sources: Sequence[tuple[Source, Context]], limits: Limits, show: Callable[[Candidate, Row | None], None]
    ) -> None:
        """Lists the sources, and shows what `run` would ask, with what is known of it, instead of asking."""

        async def show_order(order: _Order) -> None:
            show(order.candidate, order.known)

        async with Http(limits) as http:
            for source, context in sources:
                await self._list(source, context, http, show_order)

    async def _list(
        self,
        source: Source,
        context: Context,
        http: Http,
        give: "Callable[[_Order], Awaitable[None]]",
    ) -> None:
        count = 0
        unread: set[str | None] = set()
        try:
            candidates = source.candidates(context, source.asks(http))
            async with aclosing(candidates) as listing:  # type: ignore[type-var]
                async for candidate in listing:
                    count += 1
                    order = self._order(candidate)
                    if self.full:
                        return
                    if order is not None:
                        await give(order)
            if not count and not self._retries:
                raise DataError(f"{context.where}: lists nothing", "check what it names, or take it out")
        except ImageloomError as fault:
            self.faults.append(fault)
            unread.add(None)
        for name in context.unread or unread:
            self._unread.add(source.kind)
            self._ledger.leave_unread(source.kind, name)

    def _order(self, candidate: Candidate) -> _Order | None:
        """What to ask; None where this crawl has the answer, or is about to have it."""
        if not _is_storable(candidate):
            texts = {field.name: storable(getattr(candidate, field.name)) for field in fields(candidate)}
            candidate = replace(candidate, **texts)
        key = (candidate.class_name, candidate.url)
        known = self._ledger.find(*key)
        if key in self._on_the_way:
            return None
        if known and known["asked"]:
            if known["last_seen"] < self._ledger.started and not self._retries:  # by a retry, which was killed
                self._ledger.record(known | {"last_seen": self._ledger.started})
            return None
        answered = self._answered(candidate, known)
        if answered is None and self._left == 0:
            self.full = True
            return None
        self._on_the_way.add(key)
        self.listed += 1
        if answered is not None:
            self._note(*answered)
            return None
        if self._left is not None:
            self._left -= 1
        return _Order(candidate, known)

    def _answered(self, candidate: Candidate, known: Row | None) -> tuple[_Order, Kept] | None:
        """What is known without asking: what was forgotten does not come, and what is fresh is here already."""
        why = self._forgotten.why(candidate, known["sha256"] if known else None)
        if why is not None:
            candidate = replace(candidate, title=None, author=None)  # who asked to be forgotten is not named here
            return _Order(candidate, known, NOT_ASKED), Kept(Status.OPTED_OUT, {}, why)
        until = (known["fresh_until"] or 0) if known and not self._refresh else 0
        if until <= time.time() or not self._store.has(known):
            return None
        fresh = Fetched(Status.UNCHANGED, attempts=0, fresh_until=until)
        return _Order(candidate, known, fresh), Kept(Status.UNCHANGED, {})

    async def _fetch(self, asked: "asyncio.Queue[_Order | None]", http: Http, bodies: "_Backlog") -> None:
        while (order := await asked.get()) is not None:
            candidate, known = order.candidate, order.known
            if candidate.file is None:
                if candidate.read is not None:  # a storage's answer takes its time as well
                    fetched = await asyncio.to_thread(candidate.read, http.max_bytes)
                elif known is not None and self._store.has(known):
                    fetched = await http.get(candidate.url, known["etag"], known["last_modified"])
                else:
                    fetched = await http.get(candidate.url)
                order = _Order(candidate, known, fetched)
                if fetched.status is not Status.OK:
                    self._note(order, Kept(fetched.status, {}, fetched.error))
                    continue
            await bodies.put(order)

    async def _decode(self, bodies: "_Backlog", decoders: Decoders) -> None:
        while batch := await bodies.some():
            done, fault = await decoders.keep([order.undecoded for order in batch])
            for order, kept in zip(batch, done, strict=fault is None):
                self._note(order, kept)
            if fault is not None:
                raise fault

    def _note(self, order: _Order, kept: Kept) -> None:
        candidate, known, fetched = order.candidate, order.known, order.fetched or READ
        row = dict(known) if known else _EMPTY | {"first_seen": self._ledger.started}
        row["url"], row["class"], row["source"] = candidate.url, candidate.class_name, candidate.source
        row["page"], row["title"] = candidate.page, candidate.title
        row["author"], row["licence"] = candidate.author, candidate.licence
        row["status"], row["http_status"], row["attempts"] = kept.status.value, fetched.http_status, fetched.attempts
        row["error"] = kept.error
        if not (known and self._retries):  # else no source was listed that could have it
            row["last_seen"] = self._ledger.started
        row["fresh_until"] = None
        if kept.status in GOOD:  # a failed recrawl leaves the picture, and what to ask with for it, as they were
            row |= kept.columns
            asked = row if fetched.status is Status.UNCHANGED else {}  # an answer 304 need not repeat them
            row["etag"] = fetched.etag or asked.get("etag")
            row["last_modified"] = fetched.last_modified or asked.get("last_modified")
            row["fresh_until"] = fetched.fresh_until or None
        self._ledger.record(row)
        self._on_the_way.discard((candidate.class_name, candidate.url))
        self.counts[kept.status] += 1
        self._done += 1
        self._show()

    def _show(self) -> None:
        now = time.monotonic()
        if self._bar is not None and now - self._last_sight >= SECONDS_BETWEEN_SIGHTS:
            self._last_sight = now
            good, unchanged = self.counts[Status.OK], self.counts[Status.UNCHANGED]
            failed = self._done - good - unchanged
            self._bar.update(self._done, self.listed, f"{good:,} ok, {unchanged:,} unchanged, {failed:,} failed")

    def _mark_taken_away(self, sources: Sequence[Source]) -> None:
        """Lets go of pictures that a person took out of a folder, or moved to another class's, since the last crawl."""
        here = ({source.kind for source in sources} & PLACES) - self._unread
        if self.full:
            return
        for kind in sorted(here):
            self._ledger.change(
                "UPDATE rows SET sha256 = NULL, path = NULL, status = ?, error = 'no longer there', asked = 1"
                " WHERE source = ? AND NOT asked",
                Status.GONE.value,
                kind,
            )


class _Backlog(asyncio.Queue["_Order | None"]):
    """Bodies that wait for a decoding process: bounded by their number and by their weight."""

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._weight = 0

    def full(self) -> bool:
        return super().full() or self._weight > BACKLOG_BYTES

    async def some(self) -> list[_Order]:
        """Waits for a body, and takes what came beside it, up to `BATCH`; nothing when there will be no more."""
        batch: list[_Order] = []
        weight = 0
        order = await self.get()
        while order is not None:
            batch.append(order)
            weight += order.weight
            if len(batch) == BATCH or weight > BATCH_BYTES or self.empty():
                return batch
            order = self.get_nowait()
        if batch:
            self.put_nowait(None)  # for the next turn
        return batch

    def _put(self, order: _Order | None) -> None:
        super()._put(order)
        self._weight += order.weight if order else 0

    def _get(self) -> _Order | None:
        order: _Order | None = super()._get()
        self._weight -= order.weight if order else 0
        return order


_EMPTY: Row = dict.fromkeys(MANIFEST.names)


def _is_storable(candidate: Candidate) -> bool:
    try:
        f"{candidate.url}{candidate.page}{candidate.title}{candidate.author}{candidate.licence}".encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as broken pages and JSON hold
        return False
    return True
