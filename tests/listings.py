"""What a source lists, asked with the client of a crawl."""

import asyncio
from pathlib import Path
from typing import Any

from imageloom.fetch.http import Http, Limits
from imageloom.sources import registry
from imageloom.sources.source import Candidate, Context

CATS = Context(Path(), ("cat",), "scrape.sources.0")


def listing(entry: dict[str, Any], context: Context, **limits: Any) -> list[Candidate]:
    """All candidates; limits are those of a crawl but for retries, of which there are none unless they are given."""
    return partial_listing(entry, context, [], **limits)


def partial_listing(entry: dict[str, Any], context: Context, found: list[Candidate], **limits: Any) -> list[Candidate]:
    """The same, added to `found`, which keeps what was listed before a fault."""
    source = registry.read(entry)
    source.classes(context)

    async def collect() -> None:
        async with Http(Limits(**{"retries": 0, "allow_hosts": ("127.0.0.1",)} | limits)) as http:
            async for candidate in source.candidates(context, source.asks(http)):
                found.append(candidate)

    with source.opened(context):
        asyncio.run(collect())
    return found


def names(candidates: list[Candidate]) -> list[str]:
    """The last parts of the addresses."""
    return [candidate.url.rsplit("/", 1)[-1] for candidate in candidates]
