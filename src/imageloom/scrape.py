"""`imageloom scrape`: crawls the sources, and keeps every picture that decodes and a row for every address.

A second crawl asks only for what may have changed: not for what its server says is fresh, and for the rest in a way
that brings no bytes where nothing has changed. A picture that is no longer there is marked, never deleted.
"""

import argparse
import asyncio
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, PlainValidator, field_validator
from pydantic_core import PydanticCustomError

from imageloom import files, tables
from imageloom import params as parameters
from imageloom.console import counted, progress, say, warn
from imageloom.errors import DataError, ImageloomError
from imageloom.fetch import retry, verdict
from imageloom.fetch.crawl import Crawl
from imageloom.fetch.ending import told, until_terminated
from imageloom.fetch.forgotten import Forgotten, erase
from imageloom.fetch.http import Limits
from imageloom.fetch.ledger import Ledger, Row, sweep, tell_resumed
from imageloom.fetch.netguard import AllowanceError, allowance
from imageloom.fetch.report import changes, say_changes, say_report, summarise
from imageloom.fetch.status import Status
from imageloom.fetch.store import Store
from imageloom.files import Paths
from imageloom.params import UNLABELLED, ClassSpec, StageParams
from imageloom.sources import registry
from imageloom.sources.source import Candidate, Context, Source

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # what would end a line or a column of a list

_HOUR = 3600  # seconds: who waits longer has mistyped
_PIXELS = 100_000  # of a side; images.MAX_PIXELS allows no picture that is larger both ways


def _allowance(text: str) -> str:
    try:
        allowance(text)
    except AllowanceError as fault:
        raise PydanticCustomError("allowance", str(fault), {"hint": fault.hint}) from None
    return text


def _of_a_header(text: str) -> str:
    if re.search(r"[^ -~]", text):
        raise ValueError("only ASCII may stand here, in one line")
    return text


def _user_agent(text: str) -> str:
    if not re.match(r"[A-Za-z]", _of_a_header(text)):
        raise ValueError("must begin with a letter from a to z")
    return text


def _contact(text: str) -> str:
    if text and not text.strip():
        raise ValueError("must not be blank: leave it out, or say how to reach you")
    return _of_a_header(text.strip())


class Params(StageParams):
    """Section `scrape`."""

    sources: list[Annotated[Source, PlainValidator(registry.read)]] = Field(
        min_length=1, description="Where pictures come from: one entry or more, each with a kind."
    )
    concurrency: int = Field(default=24, ge=1, le=1000, description="Requests at a time in all.")
    per_host: int = Field(default=8, ge=1, le=1000, description="Requests at a time to one host.")
    delay: float = Field(
        default=0.0, ge=0, le=_HOUR, description="Seconds between the starts of two requests to one host."
    )
    retries: int = Field(default=3, ge=0, le=20, description="Further attempts after a fault that may pass.")
    backoff: float = Field(
        default=0.5, ge=0, le=_HOUR, description="Seconds before the first retry; doubled for each after it."
    )
    longest_wait: float = Field(
        default=60.0, gt=0, le=_HOUR, description="Wait no longer than this, in seconds, whatever Retry-After says."
    )
    timeout: float = Field(default=30.0, gt=0, le=_HOUR, description="Seconds that one attempt may take in all.")
    idle_timeout: float = Field(
        default=10.0, gt=0, le=_HOUR, description="Seconds that one attempt may pass without a byte."
    )
    max_bytes: int = Field(default=30_000_000, ge=1, le=1_000_000_000, description="Give up a longer body.")
    min_side: int = Field(
        default=0, ge=0, le=_PIXELS, description="Refuse pictures with a side shorter than this, in pixels."
    )
    resize: int | None = Field(
        default=None,
        ge=16,
        le=_PIXELS,
        description="Store larger pictures with this shorter side, as JPEG; as they come if not given.",
    )
    user_agent: Annotated[str, AfterValidator(_user_agent)] = Field(
        default="imageloom/0.1",
        description="Who asks; robots.txt is read for its first word.",
    )
    contact: Annotated[str, AfterValidator(_contact)] = Field(
        default="", description="How to reach you: an address or e-mail, told to every server."
    )
    obey_robots: bool = Field(default=True, description="Ask for nothing that a host's robots.txt refuses.")
    obey_opt_out: bool = Field(default=True, description="Keep no picture sent with noai, noimageai or noindex.")
    allow_hosts: list[Annotated[str, AfterValidator(_allowance)]] = Field(
        default=[],
        description="May be asked although inside: hosts and networks, on every port, or with :PORT on that one.",
    )
    allow_ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default=[], description="Ports of all other hosts that may be asked beside 80, 443, 8080 and 8443."
    )

    @field_validator("sources")
    @classmethod
    def _one_of_each_kind_that_moves(cls, sources: list[Source]) -> list[Source]:
        """What is known of a kind with a home is moved to where that is now, which cannot be two places."""
        for kind, count in Counter(source.kind for source in sources if source.home is not None).items():
            if count > 1:
                raise PydanticCustomError(
                    "kind", f"can have one entry of the kind {kind}", {"hint": "keep one of them"}
                )
        return sources

    @classmethod
    def fields_at(cls, value: Any, loc: Sequence[int | str]) -> dict[str, Any] | None:
        """The fields of the source that `loc` leads into, for hints."""
        if len(loc) < 3 or loc[0] != "sources" or not isinstance(loc[1], int):
            return None
        model = registry.model_of(value["sources"][loc[1]])
        return dict(model.model_fields) if model else None


def more_params() -> dict[str, type[BaseModel]]:
    """What can stand in an entry of `sources`, of each kind, and in one of `classes`."""
    kinds = {f"an entry of sources, of the kind {kind}": registry.model_of({"kind": kind}) for kind in registry.KINDS}
    return {what: model for what, model in kinds.items() if model} | {"an entry of the section 'classes'": ClassSpec}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what a person can ask beside a plain crawl."""
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--report", action="store_true", help="crawl nothing; say what became of every address so far")
    asked.add_argument(
        "--dry-run", action="store_true", help="list what would be asked; fetch no picture and write nothing"
    )
    asked.add_argument(
        "--retry",
        metavar="STATUS,...",
        help=f"list no source; ask again the addresses with these statuses: {retry.FAILED}, or {', '.join(Status)}",
    )
    parser.add_argument(
        "--refresh", action="store_true", help="ask as well for pictures that their servers say cannot have changed yet"
    )
    parser.add_argument(
        "--max",
        type=int,
        metavar="N",
        help="ask at most N addresses; the next crawl goes on with the rest",
    )


def run(params: Params, paths: Paths, arguments: argparse.Namespace) -> None:
    """Crawls, writes `data/raw/`, and says what became of every address.

    Raises:
        DataError: A source is dead or lists nothing, or a class has no picture; what others gave is kept.
        ImageloomError: The disk is full, or a process ended; what came is kept, and the next crawl goes on.
        SystemExit: SIGTERM came; likewise.
    """
    if arguments.max is not None and arguments.max < 1:
        raise ImageloomError(f"--max must be 1 or more, not {arguments.max}")
    _refuse_what_would_be_ignored(arguments)
    statuses = retry.statuses(arguments.retry)
    refresh = arguments.refresh or bool(statuses)  # who names a status means to ask
    given = tuple(spec.name for spec in parameters.load_classes(paths.params))
    sources, named = _prepare(params, paths, given)
    job = _Job(params, paths, sources, given or sorted(named - {UNLABELLED}), statuses, arguments.max, refresh)
    if not (arguments.report or statuses):
        verdict.warn_of_unnamed(given, named)
    if arguments.report:
        _report(job)
    elif arguments.dry_run:
        _preview(job)
    elif not (statuses and _nothing_to_retry(job)):
        _crawl(job)


def _refuse_what_would_be_ignored(arguments: argparse.Namespace) -> None:
    if arguments.report and (arguments.refresh or arguments.max is not None):
        other = "--refresh" if arguments.refresh else "--max"
        raise ImageloomError(f"--report asks for nothing, so {other} says nothing to it", f"leave {other} out")
    if arguments.retry is not None and arguments.refresh:
        raise ImageloomError("--retry asks again all that it names, fresh or not", "leave --refresh out")


@dataclass(frozen=True)
class _Job:
    """What is to be done.

    Args:
        params: The section of params.yaml.
        paths: The project's files.
        sources: The sources, each with what it is told.
        classes: The classes' names.
        statuses: Ask again the addresses with these statuses, and list no source; empty for a crawl.
        most: Ask no more addresses than this.
        refresh: Ask for what is fresh as well.
    """

    params: Params
    paths: Paths
    sources: Sequence[tuple[Source, Context]]
    classes: Sequence[str]
    statuses: Sequence[Status]
    most: int | None
    refresh: bool

    @property
    def manifest(self) -> Path:
        return self.paths.raw / "manifest.parquet"

    def limits(self) -> Limits:
        limits = Limits(**{name: getattr(self.params, name) for name in Limits.__dataclass_fields__})
        own = [host for source, context in self.sources for host in source.allowed_hosts(context)]
        return replace(limits, allow_hosts=(*self.params.allow_hosts, *own))

    def ledger(self, path: Path | None) -> Ledger:
        """The ledger at `path`, or a fleeting one, that knows what params.yaml has now."""
        ledger = Ledger(path, self.manifest)
        given = [spec.name for spec in parameters.load_classes(self.paths.params)]
        ledger.use([source.kind for source, _ in self.sources], [*given, UNLABELLED] if given else [])
        for source, _ in self.sources:
            if source.home is not None:
                ledger.move(source.kind, source.home)
        return ledger


def _crawl(job: _Job) -> None:
    paths = job.paths
    tables.use_little_memory()
    forgotten = Forgotten.read(paths)
    with job.ledger(paths.ledger) as ledger, ExitStack() as running:
        store = Store(paths.raw, job.params.min_side, job.params.resize, forgotten.pictures)
        if ledger.resumed:
            _resume(ledger, store, job)
        erase(ledger, forgotten, paths.raw)
        for source, context in job.sources:
            running.enter_context(source.opened(context))
        listed = [retry.source(ledger, job.statuses, paths.root)] if job.statuses else job.sources
        crawl = Crawl(ledger, store, forgotten, job.most, refresh=job.refresh)
        began = time.monotonic()
        try:
            with told(), progress("scrape") as bar:
                asyncio.run(until_terminated(crawl.run(listed, job.limits(), bar)))
            seconds = time.monotonic() - began
            _export(ledger, job)
        except (KeyboardInterrupt, SystemExit, ImageloomError):  # such as a full disk
            with suppress(ImageloomError):  # where nothing can be written, what was noted until a moment before is
                _break_off(ledger, job)
            raise
        count = counted(crawl.listed, "address", "addresses")
        say(f"scrape: {count} in {seconds:.1f} s ({crawl.listed / seconds:,.0f}/s)")
        _conclude(crawl, ledger, job)


def _nothing_to_retry(job: _Job) -> bool:
    """Whether no address has one of the statuses, which it says."""
    if job.paths.ledger.exists():  # of a crawl that did not end, which comes first
        return False
    if not job.manifest.exists():
        raise DataError("--retry: nothing was crawled yet", "run `imageloom scrape` first")
    with job.ledger(None) as ledger:
        count = retry.count(ledger, job.statuses)
    if not count:
        say("scrape: no address has such a status: there is nothing to retry")
    return not count


def _resume(ledger: Ledger, store: Store, job: _Job) -> None:
    if job.statuses:
        raise ImageloomError("the last crawl did not end", "`imageloom scrape` goes on with it; then retry")
    sweep(job.paths.raw)
    ledger.doubt(store.has)
    tell_resumed(ledger)


def _break_off(ledger: Ledger, job: _Job) -> None:
    """Keeps what came, so that the next crawl goes on with the rest; a crawl of which nothing came has not begun."""
    [(done,)] = ledger.select("SELECT count(*) FROM rows WHERE asked")
    if not done:
        ledger.remove()
        return
    after = counted(done, "address", "addresses")
    say(f"scrape: broken off after {after}; `imageloom scrape` goes on with the rest")
    _export(ledger, job)


def _export(ledger: Ledger, job: _Job) -> None:
    [(rows,)] = ledger.select("SELECT EXISTS (SELECT * FROM rows)")
    if rows or job.manifest.exists():
        ledger.export()


def _conclude(crawl: Crawl, ledger: Ledger, job: _Job) -> None:
    """Says what came of it, and ends the crawl unless `--max` cut it short."""
    summarise(ledger)
    if crawl.full and not job.statuses:
        say(f"  --max {job.most:,} is reached: the next `imageloom scrape` goes on with the rest")
        for fault in crawl.faults:
            warn(fault.message)
        return
    if not job.statuses:
        diff = changes(ledger)
        files.write_json(job.paths.reports / "scrape" / "diff.json", diff)
        say_changes(diff)
    verdict.warn_of_losses(ledger, job.classes, job.sources if not job.statuses else [])
    for fault in crawl.faults[1:]:
        warn(fault.message)
    try:
        if crawl.faults:
            raise crawl.faults[0]
        verdict.check(ledger, job.classes)
    finally:
        ledger.remove()
    if "DVC_STAGE" not in os.environ:  # DVC sets it for what it runs itself, and knows nothing of the rest
        say("next: `dvc commit --force scrape`, then `dvc repro`")


def _preview(job: _Job) -> None:
    """Prints every address that a crawl would ask: its class, what is known of it, and itself."""

    def show(candidate: Candidate, known: Row | None) -> None:
        counts[known is not None] += 1
        cells = (candidate.class_name, known["status"] if known else "new", candidate.url)
        say("\t".join(_CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), cell) for cell in cells))

    counts: Counter[bool] = Counter()
    forgotten = Forgotten.read(job.paths)
    with _copied_ledger(job) as ledger, ExitStack() as running:
        for source, context in job.sources:
            running.enter_context(source.opened(context))
        crawl = Crawl(ledger, Store(job.paths.raw), forgotten, job.most, refresh=job.refresh)
        asyncio.run(crawl.preview(job.sources, job.limits(), show))
    say(f"scrape: would ask {counted(counts.total(), 'address', 'addresses')}, {counts[False]:,} of them new")
    for fault in crawl.faults[1:]:
        warn(fault.message)
    if crawl.faults:
        raise crawl.faults[0]


def _report(job: _Job) -> None:
    with _copied_ledger(job) as ledger:
        if not job.manifest.exists() and not ledger.resumed:
            raise DataError(f"no {job.manifest}", "run `imageloom scrape` first")
        say_report(ledger, job.classes)


@contextmanager
def _copied_ledger(job: _Job) -> Iterator[Ledger]:
    """What is known, of a crawl that did not end as well, to look at and to throw away."""
    with tempfile.TemporaryDirectory() as folder:
        for path in job.paths.ledger.parent.glob(f"{job.paths.ledger.name}*"):
            shutil.copy(path, folder)
        with job.ledger(Path(folder) / job.paths.ledger.name) as ledger:
            yield ledger


def _prepare(params: Params, paths: Paths, given: tuple[str, ...]) -> tuple[list[tuple[Source, Context]], set[str]]:
    """The sources, each with what it is told, and the classes that they name.

    It finds what is wrong with them before anything is fetched.
    """
    sources = []
    named = set[str]()
    for number, source in enumerate(params.sources):
        context = Context(paths.root, given, f"scrape.sources.{number}")
        sources.append((source, context))
        named.update(source.classes(context))
    return sources, named
