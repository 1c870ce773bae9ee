"""What a person and the next stages are told about a crawl: what came, what changed, what to crawl next."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from imageloom.console import counted, readable, say, table
from imageloom.fetch.ledger import Ledger
from imageloom.fetch.status import GOOD, Status

LONGEST_BAR = 40
OTHERS = "other hosts"
MOST_HOSTS = 20  # of a class, the most changed first: the rest is added up, so that the file stays small

# Every row of the manifest is one of these; `not_listed` was in an earlier crawl and in none of today's lists,
# `forgotten` must not come, `failed` gave no picture for another reason. Or it is `unread`: the list that may have it
# could not be read.
CHANGES = ("new", "changed", "gone", "unchanged", "failed", "forgotten", "not_listed")

# Faults that may be gone another time.
PASSING = (Status.TIMEOUT, Status.DNS, Status.HTTP_ERROR, Status.RATE_LIMITED)

# A class with fewer pictures than this part of what the others have is starved; less is chance.
ENOUGH = 0.9

EXAMPLES = 5  # of each cause of failure

_GOOD = ", ".join(f"'{status.value}'" for status in GOOD)

# What people read of a row that failed; `bomb` is what `--retry` calls it.
_CAUSE = """
    replace(status, 'bomb', 'too many pixels (bomb)')
    || CASE WHEN coalesce(http_status, 200) IN (200, 304) THEN '' ELSE ' (HTTP ' || http_status || ')' END
"""


def summarise(ledger: Ledger) -> None:
    """Prints the statuses of each class's addresses in this crawl, and the causes of failure as a histogram."""
    counts = {(name, status): count for name, status, count in ledger.select(
        'SELECT "class", status, count(*) FROM now WHERE asked GROUP BY 1, 2'
    )}  # fmt: skip
    if not counts:
        return
    pictures = dict(ledger.select('SELECT "class", count(DISTINCT sha256) FROM now WHERE used GROUP BY 1'))
    _say_statuses(counts, {name: [pictures.get(name, 0)] for name, _ in counts}, ["class"], ["pictures"])
    failed = f"FROM now WHERE asked AND status NOT IN ({_GOOD})"
    causes = Counter[str](dict(ledger.select(f"SELECT {_CAUSE}, count(*) {failed} GROUP BY 1")))
    order = sorted(causes.items(), key=lambda item: (-item[1], item[0]))
    for cause, count in order:
        bar = "#" * max(1, LONGEST_BAR * count // max(causes.values()))
        say(f"  {cause:<24} {count:>7,} {bar}")
    for cause, _ in order:
        if cause.startswith(Status.OPTED_OUT):  # who asked to be forgotten is not named here
            continue
        say(f"  {cause}, such as:")
        for url, error in ledger.select(f"SELECT url, error {failed} AND {_CAUSE} = ? LIMIT {EXAMPLES}", cause):
            say(readable(f"    {url}" + (f" ({error})" if error else "")))  # as a list from outside has it
    if causes:
        say("  every address with its status and error is in data/raw/manifest.parquet")


def changes(ledger: Ledger) -> dict[str, Any]:
    """What is new, changed, gone and so on since the last crawl, of each class and host, as `diff.json` holds it."""
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    hosts: Counter[str] = Counter()
    # The busiest hosts first, so that those beyond MOST_HOSTS are added up without being held.
    query = f"""
        SELECT "class", place(url) AS host, {", ".join(f"sum(change = '{change}')" for change in CHANGES)}
        FROM now WHERE change != 'unread' GROUP BY 1, 2
        ORDER BY sum(change IN ('new', 'changed', 'gone')) DESC, count(*) DESC, "class", host
    """
    for name, host, *numbers in ledger.select(query):
        hosts[name] += 1
        shown = host if hosts[name] <= MOST_HOSTS else OTHERS
        counts[name][shown].update(dict(zip(CHANGES, numbers, strict=True)))
    rows: list[dict[str, Any]] = [
        {"class": name, "host": host, **{change: found[change] for change in CHANGES}}
        for name in sorted(counts)
        for host, found in counts[name].items()
    ]
    query = """SELECT source, "class", count(*) FROM now WHERE change = 'unread' GROUP BY 1, 2"""
    unread = [dict(zip(("source", "class", "addresses"), values, strict=True)) for values in ledger.select(query)]
    total = {change: sum(row[change] for row in rows) for change in CHANGES}
    return {"total": total, "by_class_and_host": rows, "unread": unread}


def say_changes(diff: dict[str, Any]) -> None:
    """Prints what `changes` found, unless all of it is new."""
    for row in diff["unread"]:
        count = counted(row["addresses"], "known address", "known addresses")
        say(f"not read whole: {row['source']}, class {row['class']!r}: {count} that it did not list may be there still")
    if not any(diff["total"][change] for change in ("changed", "gone", "unchanged", "forgotten", "not_listed")):
        return
    say("since the last crawl:")
    rows = [
        [row["class"], row["host"], *(f"{row[change]:,}" for change in CHANGES)] for row in diff["by_class_and_host"]
    ]
    _say_table([["class", "host", *CHANGES], *rows], texts=2)


def say_report(ledger: Ledger, classes: Sequence[str]) -> None:
    """Prints every class, host and status of the manifest, and which classes need more pictures."""
    # The busiest hosts first, so that those beyond MOST_HOSTS are added up without being held.
    query = 'SELECT "class", place(url), count(*) FROM now GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2'
    hosts: Counter[str] = Counter()
    shown = set[tuple[str, str]]()
    for name, host, _ in ledger.select(query):
        hosts[name] += 1
        if hosts[name] <= MOST_HOSTS:
            shown.add((name, host))
    counts: Counter[tuple[Any, str]] = Counter()
    for name, host, status, count in ledger.select(
        'SELECT "class", place(url), status, count(*) FROM now GROUP BY 1, 2, 3'
    ):
        counts[(name, host if (name, host) in shown else OTHERS), status] += count
    _say_statuses(counts, {key: [] for key, _ in counts}, ["class", "host"], [])
    if ledger.resumed:  # what it has not come to yet would look starved
        [(done,)] = ledger.select("SELECT count(*) FROM rows WHERE asked")
        after = counted(done, "address", "addresses")
        say(f"the last crawl did not end: after {after}, `imageloom scrape` goes on with the rest")
    else:
        _say_starved(ledger, classes)


def _say_starved(ledger: Ledger, classes: Sequence[str]) -> None:
    pictures = dict.fromkeys(classes, 0)
    query = 'SELECT "class", count(DISTINCT sha256) FROM now WHERE sha256 IS NOT NULL AND used GROUP BY 1'
    pictures |= {name: count for name, count in ledger.select(query) if name in pictures}
    passing = ", ".join(f"'{status.value}'" for status in PASSING)
    # What its source's last list of the class did not have was last seen before the rest of it.
    query = f"""
        SELECT "class", count(*) FROM now
        JOIN (SELECT source AS kind, "class" AS name, max(last_seen) AS listed FROM rows GROUP BY 1, 2)
        ON kind = source AND name = "class"
        WHERE status IN ({passing}) AND used AND last_seen = listed GROUP BY 1
    """
    may_pass = dict(ledger.select(query))
    needs = starved(pictures)
    if not any(pictures.values()):
        say("no class has a picture")
    elif not needs:
        say("no class is starved: each has about as many pictures as the others")
    for name, need in needs.items():
        say(f"starved: {name} has {counted(pictures[name], 'picture')} and needs {need:,} more to match the others")
        if may_pass.get(name):
            command = f"imageloom scrape --retry {','.join(PASSING)}"
            say(f"  {may_pass[name]:,} of its addresses failed in a way that may pass: `{command}`")


def starved(pictures: dict[str, int]) -> dict[str, int]:
    """How many pictures a class lacks to the median of the others, for each that lacks many; the neediest first."""
    needs = {}
    for name, count in pictures.items():
        others = [other for key, other in pictures.items() if key != name]
        typical = statistics.median_low(others) if others else 0
        if count < ENOUGH * typical:
            needs[name] = typical - count
    return dict(sorted(needs.items(), key=lambda item: (-item[1], item[0])))


def _say_statuses(
    counts: dict[tuple[Any, str], int], more: dict[Any, list[int]], header: list[str], header_more: list[str]
) -> None:
    """A line for each key of `more`, a column for each status that any of them has, and what `more` adds to it."""
    statuses = [status.value for status in Status if any(status == found for _, found in counts)]
    rows = [[*header, *statuses, *header_more]]
    for key in sorted(more):
        numbers = [*(counts.get((key, status), 0) for status in statuses), *more[key]]
        rows.append([*(key if isinstance(key, tuple) else (key,)), *(f"{number:,}" for number in numbers)])
    _say_table(rows, len(header))


def _say_table(rows: list[list[str]], texts: int) -> None:
    for line in table(rows, texts):
        say(f"  {line}")
