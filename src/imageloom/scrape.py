"""`imageloom scrape`: crawls the sources, and keeps every picture that decodes and a row for every address.

A second crawl asks only for what may have changed. A picture that is no longer there is marked, never deleted.
"""

import asyncio
import unicodedata
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator

from imageloom import params as parameters
from imageloom import tables
from imageloom.console import progress, say, warn
from imageloom.errors import DataError, ImageloomError
from imageloom.fetch.crawl import Crawl, Key, Row
from imageloom.fetch.http import Limits
from imageloom.fetch.netguard import allowance
from imageloom.fetch.status import GOOD, Status
from imageloom.fetch.store import Store
from imageloom.files import Paths
from imageloom.params import UNLABELLED, StageParams
from imageloom.sources import registry
from imageloom.sources.source import Context, Source

LONGEST_BAR = 40


def _allowance(text: str) -> str:
    allowance(text)
    return text


class Params(StageParams):
    """Section `scrape`."""

    sources: list[Annotated[Source, PlainValidator(registry.read)]] = Field(
        min_length=1, description="Where pictures come from: one entry or more, each with a kind."
    )
    concurrency: int = Field(default=24, ge=1, le=1000, description="Requests at a time in all.")
    per_host: int = Field(default=8, ge=1, description="Requests at a time to one host.")
    delay: float = Field(default=0.0, ge=0, description="Seconds between the starts of two requests to one host.")
    retries: int = Field(default=3, ge=0, le=20, description="Further attempts after a fault that may pass.")
    backoff: float = Field(default=0.5, ge=0, description="Seconds before the first retry; doubled for each after it.")
    longest_wait: float = Field(default=60.0, gt=0, description="Wait no longer than this, whatever Retry-After says.")
    timeout: float = Field(default=30.0, gt=0, description="Seconds that one attempt may take in all.")
    idle_timeout: float = Field(default=10.0, gt=0, description="Seconds that one attempt may pass without a byte.")
    max_bytes: int = Field(default=30_000_000, ge=1, description="Give up a longer body.")
    min_side: int = Field(default=0, ge=0, description="Refuse pictures with a side shorter than this, in pixels.")
    user_agent: str = Field(
        default="imageloom/0.1",
        pattern=r"^[A-Za-z][ -~]*$",
        description="Who asks; robots.txt is read for its first word.",
    )
    contact: str = Field(
        default="", pattern=r"^[ -~]*$", description="How to reach you: an address or e-mail, told to every server."
    )
    obey_robots: bool = Field(default=True, description="Ask for nothing that a host's robots.txt refuses.")
    obey_opt_out: bool = Field(default=True, description="Keep no picture sent with noai, noimageai or noindex.")
    allow_hosts: list[Annotated[str, AfterValidator(_allowance)]] = Field(
        default=[], description="Hosts, host:ports or networks that may be asked although they are inside."
    )
    allow_ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default=[], description="Ports that may be asked beside 80, 443, 8080 and 8443."
    )

    @classmethod
    def fields_at(cls, value: Any, loc: Sequence[int | str]) -> dict[str, Any] | None:
        """The fields of the source that `loc` leads into, for hints."""
        if len(loc) < 3 or loc[0] != "sources" or not isinstance(loc[1], int):
            return None
        model = registry.model_of(value["sources"][loc[1]])
        return dict(model.model_fields) if model else None


def run(params: Params, paths: Paths) -> None:
    """Crawls, writes `data/raw/`, and says what became of every address.

    Raises:
        DataError: A source is dead or lists nothing, or a class has no picture; what others gave is kept.
        ImageloomError: The disk is full; everything is as it was.
    """
    sources, classes = _prepare(params, paths)
    started = datetime.now(UTC).replace(microsecond=0)
    store = Store(paths.raw, params.min_side)
    crawl = Crawl(_known(paths.raw / "manifest.parquet"), store, started)
    with ExitStack() as running:
        for source, context in sources:
            running.enter_context(source.opened(context))
        try:
            with progress("scrape") as bar:
                asyncio.run(crawl.run(sources, _limits(params, sources), bar))
        except ImageloomError:  # a full disk: give the room back
            store.undo()
            raise
        except KeyboardInterrupt:  # what came until then is kept
            _write(crawl, store, sources, paths)
            raise
        _write(crawl, store, sources, paths)
    seconds = (datetime.now(UTC) - started).total_seconds()
    say(f"scrape: {len(crawl.listed):,} addresses in {seconds:.0f} s")
    summarise(crawl.rows, crawl.listed)
    for fault in crawl.faults[1:]:
        warn(fault.message)
    if crawl.faults:
        raise crawl.faults[0]
    _check(crawl.rows, classes)


def _prepare(params: Params, paths: Paths) -> tuple[list[tuple[Source, Context]], list[str]]:
    """The sources, each with what it is told, and the classes; finds what is wrong before anything is fetched."""
    given = tuple(spec.name for spec in parameters.load_classes(paths.params))
    sources = []
    named: dict[str, None] = {}
    for number, source in enumerate(params.sources):
        context = Context(paths.root, given, f"scrape.sources.{number}")
        sources.append((source, context))
        named |= dict.fromkeys(source.classes(context))
    return sources, list(given) or sorted(set(named) - {UNLABELLED})


def _limits(params: Params, sources: list[tuple[Source, Context]]) -> Limits:
    limits = Limits(**{name: getattr(params, name) for name in Limits.__dataclass_fields__})
    own = [host for source, context in sources for host in source.allowed_hosts(context)]
    return replace(limits, allow_hosts=(*params.allow_hosts, *own))


def _known(manifest: Path) -> dict[Key, Row]:
    if not manifest.exists():
        return {}
    try:
        table = tables.read(manifest, tables.MANIFEST, "scrape")
    except DataError as fault:
        hint = "get it back with `dvc checkout`, or remove it: the pictures stay, their dates begin anew"
        raise DataError(fault.message, hint) from None
    return {(row["url"], row["class"]): row for row in table.to_pylist()}


def _write(crawl: Crawl, store: Store, sources: list[tuple[Source, Context]], paths: Paths) -> None:
    manifest = paths.raw / "manifest.parquet"
    kinds = {source.kind for source, _ in sources}
    classes = {spec.name for spec in parameters.load_classes(paths.params)}
    for row in crawl.rows.values():
        row["used"] = row["source"] in kinds and (not classes or row["class"] in (*classes, UNLABELLED))
    rows = sorted(crawl.rows.values(), key=lambda row: (row["class"], row["url"]))
    if not rows and not manifest.exists():
        return
    try:
        tables.write(manifest, rows, tables.MANIFEST)
    except ImageloomError:
        store.undo()
        raise


def _check(rows: dict[Key, Row], classes: Sequence[str]) -> None:
    """Refuses what no classifier can be trained on."""
    pictures = Counter(row["class"] for row in rows.values() if row["sha256"] and row["used"])
    if not pictures:
        causes = Counter(row["status"] for row in rows.values())
        counts = ", ".join(f"{count:,} {status}" for status, count in causes.most_common())
        raise DataError(f"no picture came of {len(rows):,} addresses: {counts}", "see the causes above")
    missing = [name for name in classes if not pictures[name]]
    pool = pictures[UNLABELLED]
    if pool:
        say(f"  {pool:,} pictures have no label: `clean` leaves them out until they have one")
        if missing or len(classes) < 2:  # what is in the pool may be of these classes
            return
    if missing:
        names = ", ".join(repr(name) for name in missing)
        raise DataError(f"no picture of the class {names}", "check its source, or take the class out of `classes`")
    if len(classes) < 2:
        name = classes[0]
        hint = "a classifier needs two or more; what is not of the class can be a class of its own"
        raise DataError(f"one class only, {name!r}, with {pictures[name]:,} pictures", hint)
    unused = sum(1 for row in rows.values() if row["sha256"] and not row["used"])
    if unused:
        say(f"  {unused:,} pictures of sources or classes that params.yaml no longer has are kept and not used")


def summarise(rows: dict[Key, Row], listed: set[Key]) -> None:
    """Prints the statuses of each class's addresses in this crawl, and the causes of failure as a histogram."""
    crawled = [rows[key] for key in listed if key in rows]
    if not crawled:
        return
    counts = Counter((row["class"], row["status"]) for row in crawled)
    statuses = [status.value for status in Status if any(status == found for _, found in counts)]
    names = sorted({name for name, _ in counts})
    pictures = Counter(row["class"] for row in rows.values() if row["sha256"])
    table = [["class", *statuses, "pictures"]]
    table += [[name, *(f"{counts[name, s]:,}" for s in statuses), f"{pictures[name]:,}"] for name in names]
    widths = [max(_width(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        first = line[0] + " " * (widths[0] - _width(line[0]))
        say("  " + "  ".join([first, *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]))
    causes = Counter(_cause(row) for row in crawled if row["status"] not in GOOD)
    for cause, count in sorted(causes.items(), key=lambda item: (-item[1], item[0])):
        bar = "#" * max(1, LONGEST_BAR * count // max(causes.values()))
        say(f"  {cause:<24} {count:>7,} {bar}")


def _cause(row: Row) -> str:
    code = row["http_status"]
    return row["status"] if code in (None, 200, 304) else f"{row['status']} (HTTP {code})"


def _width(text: str) -> int:
    """Columns on a terminal, where Chinese takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
