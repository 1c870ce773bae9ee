"""What a person sees while a stage works: lines that say what happened, and a bar with counts on long work."""

import json
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

SECONDS_BETWEEN_LINES = 10.0


class Bar(Protocol):
    """Tells how far a piece of work is."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Shows `done` of `total` with a short note such as `12 failed`."""


def say(line: str) -> None:
    """Prints one line at once, so that it keeps its place in a log that other processes write to as well."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def remark(line: str) -> None:
    """Prints one line to standard error, where standard output is for programs."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def warn(line: str) -> None:
    """Prints a line that begins with `warning:` to standard error."""
    remark(f"warning: {line}")


def error(line: str) -> None:
    """Prints a line that begins with `error:` to standard error, for a fault that does not end the command."""
    remark(f"error: {line}")


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: two for a Chinese character, none for an accent of its own."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.category(letter) in ("Mn", "Me", "Cf") for letter in text)


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun, such as `1 picture` or `2,000 pictures`; `many` where that is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def readable(text: str) -> str:
    """The text with everything replaced that would move the cursor or that the output cannot hold."""
    joiners = " \u200c\u200d"  # these hold Persian words and family emoji together
    text = "".join(letter if letter.isprintable() or letter in joiners else "\ufffd" for letter in text)
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def fits(text: str) -> bool:
    """Whether the output can hold the text: a file's name may be in no encoding, and the output in ASCII."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def as_json(content: Any, indent: int | None = None) -> str:
    """JSON in every script, or with escapes where the output cannot hold it."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    return text if fits(text) else json.dumps(content, indent=indent)


def table(rows: Sequence[Sequence[str]], texts: int = 1, even: bool = False) -> list[str]:
    """Lines in which cells stand below each other, in any script; each cell is made `readable` first.

    Args:
        rows: Their cells, as many in each.
        texts: How many columns stand to the left, as texts do; the others stand to the right, as numbers do.
        even: Whether all columns of numbers are as wide as the widest.
    """
    cells = [[readable(cell) for cell in row] for row in rows]
    widths = [max(map(columns, column)) for column in zip(*cells, strict=True)]
    if even:
        widths[texts:] = [max(widths[texts:])] * len(widths[texts:])
    lines = []
    for row in cells:
        filled = [(cell, " " * (width - columns(cell))) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cell + room if n < texts else room + cell for n, (cell, room) in enumerate(filled)))
    return [line.rstrip() for line in lines]


@contextmanager
def progress(
    title: str, total: int | None = None, unit: str = "images", log: Callable[[str], None] = say
) -> Iterator[Bar]:
    """A progress bar on a terminal; elsewhere a line every ten seconds, so that a log stays short.

    Args:
        title: What is being done, such as `embed`.
        total: How much there is to do; None while that is not known.
        unit: What is being counted.
        log: Prints the lines where there is no terminal.
    """
    if not sys.stderr.isatty():
        yield _Lines(title, total, unit, log)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # On a terminal Rich prints other lines above the bar; what goes into a file or a pipe must stay out of its hands.
    above = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=above) as display:
        task = display.add_task(title, total=total, unit=unit, note="")

        class _Terminal:
            def update(self, done: int, total: int | None = None, note: str = "") -> None:
                display.update(task, completed=done, total=total, note=note)

        yield _Terminal()


class _Lines:
    def __init__(self, title: str, total: int | None, unit: str, log: Callable[[str], None]) -> None:
        self._title, self._total, self._unit, self._log = title, total, unit, log
        self._last = time.monotonic()

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self._total = self._total if total is None else total
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            of = "" if self._total is None else f" of {self._total:,}"
            self._log(f"{self._title}: {done:,}{of} {self._unit}{', ' + note if note else ''}")
