"""Whether a classifier can be trained on what a crawl brought, and what looks like a mistake in what it was told."""

from collections import Counter
from collections.abc import Collection, Sequence

from imageloom.console import counted, say, warn
from imageloom.errors import DataError
from imageloom.fetch.ledger import Ledger
from imageloom.params import UNLABELLED
from imageloom.sources.source import Context, Source


def warn_of_unnamed(classes: Sequence[str], named: Collection[str]) -> None:
    """Says which classes no source names, before a crawl that may take long; a pool may hold pictures of any.

    Args:
        classes: What `params.yaml` lists.
        named: What the sources list pictures of.
    """
    for name in classes:
        if name not in named and UNLABELLED not in named:
            warn(f"class {name!r}: no source has a start, a search, a folder or a list for it")


def warn_of_losses(ledger: Ledger, classes: Sequence[str], listed: Sequence[tuple[Source, Context]]) -> None:
    """Says what earlier crawls had and this one, which listed some sources whole, has not: it may be a mistake."""
    query = """SELECT "class", count(DISTINCT sha256) FROM now
               WHERE used AND (sha256 IS NOT NULL OR change = 'gone') GROUP BY 1"""
    for name, left in ledger.select(query):
        if name not in (*classes, UNLABELLED):
            warn(f"no source has the class {name!r} any more; {left or 'none'} of its pictures are still used")
    for source, context in listed:
        query = "SELECT count(*) FROM now WHERE source = ? AND used AND change = 'not_listed'"
        [(unlisted,)] = ledger.select(query, source.kind)
        if unlisted and source.doubt:
            message = f"not listed any more: {counted(unlisted, 'known address', 'known addresses')}; {source.doubt}"
            warn(f"{context.where} ({source.kind}): {message}")


def check(ledger: Ledger, classes: Sequence[str]) -> None:
    """Refuses what no classifier can be trained on.

    Raises:
        DataError: There are no pictures, or none of a class, or there is one class only.
    """
    query = 'SELECT "class", count(DISTINCT sha256) FROM now WHERE sha256 IS NOT NULL AND used GROUP BY 1'
    pictures = Counter[str](dict(ledger.select(query)))
    if not pictures:
        causes = list(ledger.select("SELECT status, count(*) FROM now WHERE asked GROUP BY 1 ORDER BY 2 DESC, 1"))
        counts = ", ".join(f"{count:,} {status}" for status, count in causes)
        total = sum(count for _, count in causes)
        came = f"no picture came of {counted(total, 'address', 'addresses')}"
        raise DataError(f"{came}: {counts}", "see the causes above")
    missing = [name for name in classes if not pictures[name]]
    pool = pictures[UNLABELLED]
    if pool:
        what = "picture has" if pool == 1 else "pictures have"
        say(f"  {pool:,} {what} no label: `clean` leaves out what has none")
        if missing or len(classes) < 2:  # what is in the pool may be of these classes
            return
    if missing:
        names = ", ".join(repr(name) for name in missing)
        raise DataError(f"no picture of the class {names}", "check its source, or take the class out of `classes`")
    if len(classes) < 2:
        name = classes[0]
        hint = "a classifier needs two or more; what is not of the class can be a class of its own"
        raise DataError(f"one class only, {name!r}, with {counted(pictures[name], 'picture')}", hint)
    [(unused,)] = ledger.select("SELECT count(DISTINCT sha256) FROM now WHERE NOT used")
    if unused:
        what = counted(unused, "picture")
        say(f"  kept and not used: {what} of sources or classes that params.yaml no longer has")
