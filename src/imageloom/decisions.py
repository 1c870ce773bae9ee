"""What people decided about pictures: data/review/decisions.csv, to which lines are added and of which none is removed.

A line is one decision: `sha256,decision,from,to,who,when,queue`. It says what it saw (`from`), so that two people who
decide about one picture at once overwrite nothing: both lines are there, and the later one stands. What to take back is
a line as well, `undo`.
"""

import csv
import fcntl
import io
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import BinaryIO

from imageloom.errors import DataError
from imageloom.files import faults_of_writing
from imageloom.params import UNLABELLED, folder_safe

HEADER = ("sha256", "decision", "from", "to", "who", "when", "queue")

# What is decided -> what comes of it.
KINDS = {
    "label": "the first class of a picture that had none",
    "relabel": "another class",
    "drop": "not to be used",
    "keep": "fine as it is: no check marks it any more",
    "skip": "nothing, but that it leaves its queue",
    "undo": "takes back an earlier decision about the picture",
}

_NAMING = ("label", "relabel")
_STANDING = (*_NAMING, "drop", "keep")
_SHA = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # what would end a line
_HEADER_LINE = ",".join(HEADER).encode() + b"\n"
_BOM = b"\xef\xbb\xbf"  # with which spreadsheet programs begin what they save


@dataclass(frozen=True)
class Decision:
    """One line.

    Args:
        sha256: The picture, by the SHA-256 of its bytes in hexadecimal.
        decision: One of `KINDS`.
        from_: The class that the picture had when it was decided; of `undo`, the decision that is taken back.
        to: The class that it gets, for `label` and `relabel`; of `undo`, that of what is taken back.
        who: Who decided.
        when: ISO 8601 in UTC, to the second.
        queue: Where it was decided: one of the page's queues, or `import`.

    Raises:
        ValueError: A part does not fit the others.
    """

    sha256: str
    decision: str
    from_: str = ""
    to: str = ""
    who: str = ""
    when: str = ""
    queue: str = ""

    def __post_init__(self) -> None:
        if not _SHA.fullmatch(self.sha256):
            raise ValueError(f"sha256 must be 64 hexadecimal digits, not {self.sha256[:80]!r}")
        if self.decision not in KINDS:
            raise ValueError(f"the decision must be one of {', '.join(KINDS)}, not {self.decision[:80]!r}")
        if self.decision in _NAMING:
            object.__setattr__(self, "to", _class_name(self.to))
        if self.decision == "undo" and self.from_ not in ("", "skip", *_STANDING):
            raise ValueError(f"undo must say in `from` which decision it takes back, not {self.from_[:80]!r}")


class Decided:
    """What holds after a number of decisions.

    Each picture has a stack of the decisions about it. `undo` removes the last one that is what it says it takes back;
    so of two people who take back the same decision at once, the second takes back nothing.

    Args:
        decisions: In the order of the file.
    """

    def __init__(self, decisions: Iterable[Decision] = ()) -> None:
        self._stacks: dict[str, list[Decision]] = {}
        self._named: dict[str, None] = {}
        for decision in decisions:
            self.add(decision)

    def add(self, decision: Decision) -> None:
        """Takes in the next one."""
        if decision.decision in _NAMING:
            self._named.setdefault(decision.to)
        stack = self._stacks.setdefault(decision.sha256, [])
        if decision.decision != "undo":
            stack.append(decision)
            return
        undone = (number for number in reversed(range(len(stack))) if _takes_back(decision, stack[number]))
        if (number := next(undone, None)) is not None:
            del stack[number]

    def latest(self, sha256: str) -> Decision | None:
        """What an `undo` would take back."""
        stack = self._stacks.get(sha256)
        return stack[-1] if stack else None

    def standing(self, sha256: str) -> Decision | None:
        """The last label, relabel, drop or keep: a picture that is given a class after it was dropped is back."""
        return self._last(sha256, _STANDING)

    def label(self, sha256: str) -> str | None:
        """The class that was given last; a drop or keep after it does not take it back."""
        last = self._last(sha256, _NAMING)
        return None if last is None else last.to

    def classes(self) -> list[str]:
        """The classes that some picture has been given and still has, in the order of their first use."""
        given = {self.label(sha256) for sha256 in self._stacks}
        return [name for name in self._named if name in given]

    def skipped(self, sha256: str) -> set[str]:
        """The queues in which it was skipped."""
        return {each.queue for each in self._stacks.get(sha256, ()) if each.decision == "skip"}

    def all_standing(self) -> dict[str, Decision]:
        """The standing decision of every picture that has one."""
        found = ((sha256, self.standing(sha256)) for sha256 in self._stacks)
        return {sha256: decision for sha256, decision in found if decision is not None}

    def _last(self, sha256: str, kinds: Sequence[str]) -> Decision | None:
        return next((each for each in reversed(self._stacks.get(sha256, ())) if each.decision in kinds), None)


def standing(decisions: Iterable[Decision]) -> dict[str, Decision]:
    """The decision that holds, by picture; skipping decides nothing."""
    return Decided(decisions).all_standing()


def undo_of(decision: Decision, who: str, queue: str) -> Decision:
    """The line that takes a decision back, now."""
    return Decision(decision.sha256, "undo", decision.decision, decision.to, who, now(), queue)


def now(seconds_ago: float = 0) -> str:
    """The moment, or one that has been, as `Decision.when` has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))


def begin(path: Path) -> None:
    """Makes the file, without decisions, where there is none: stage `clean` has it as an input.

    Raises:
        ImageloomError: It cannot be written.
    """
    if not path.exists():
        append(path, [])


def append(path: Path, decisions: Sequence[Decision]) -> None:
    """Adds lines, all in one write; they are on the disk when it returns.

    Several processes may do so at once. A last line that was left half written by a machine that stopped, which nobody
    was told had been taken, is removed first.

    Raises:
        ImageloomError: The disk is full, or the file cannot be written; nothing was added then.
    """
    with faults_of_writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            tail = _unended(file)
            if tail and not _is_whole(tail):
                file.truncate(file.seek(0, os.SEEK_END) - len(tail))
                tail = b""
            before = file.seek(0, os.SEEK_END)
            begin_with = b"\n" if tail else b"" if before else _HEADER_LINE
            _write(file, begin_with + b"".join(map(_line, decisions)), before)


def read(path: Path) -> list[Decision]:
    """Every decision, in the order in which they were taken; none where there is no file.

    Raises:
        DataError: The file or a line of it is damaged.
    """
    return read_from(path, 0)[0]


def read_from(path: Path, start: int) -> tuple[list[Decision], int]:
    """The decisions that were added since an earlier call.

    Args:
        path: The file.
        start: What the earlier call returned, 0 for the first. A file that has become shorter was replaced, by git for
            instance: ask again from 0 when the second value returned is smaller than `start`.

    Returns:
        The decisions, and how far the file was read, in bytes. What is half written is left for the next call.

    Raises:
        DataError: The file or a line of it is damaged.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            end = file.seek(0, os.SEEK_END)
            if end < start:
                return [], end
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return [], 0
    except OSError as fault:
        raise DataError(f"cannot read {path}: {fault}", "get it back with git") from None
    ended = data.rfind(b"\n") + 1
    if not _is_whole(data[ended:]):
        data = data[:ended]
    return list(_parsed(data, path, first=start == 0)), start + len(data)


def _class_name(name: str) -> str:
    try:
        name = folder_safe(name)
    except ValueError as fault:
        raise ValueError(f"the class in `to` {fault}") from None
    if name == UNLABELLED:
        raise ValueError(f"the class in `to` must be a class, which {name} is not")
    return name


def _takes_back(undo: Decision, decision: Decision) -> bool:
    return undo.from_ in ("", decision.decision) and undo.to in ("", decision.to)


def _line(decision: Decision) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(_CONTROL.sub(" ", part) for part in astuple(decision))
    return text.getvalue().encode()


def _unended(file: BinaryIO) -> bytes:
    """What stands after the last end of a line."""
    end = file.seek(0, os.SEEK_END)
    for length in (4096, end):  # no line is longer than the first, but what is not ours may be
        file.seek(max(0, end - length))
        _, found, tail = file.read().rpartition(b"\n")
        if found:
            break
    return tail


def _is_whole(line: bytes) -> bool:
    """Whether a line without an end, such as editors leave, says all that it has to say."""
    try:
        return bool(line) and _decision(line) is not None
    except (ValueError, csv.Error):
        return line == _HEADER_LINE.strip()


def _write(file: BinaryIO, data: bytes, before: int) -> None:
    """Adds all of `data` or, on a disk that is full, nothing."""
    try:
        while data:
            data = data[file.write(data) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(before)
        raise


def _parsed(data: bytes, path: Path, first: bool) -> Iterable[Decision]:
    lines = data.removeprefix(_BOM).splitlines(keepends=False)
    if first and lines:
        if lines[0] != _HEADER_LINE.strip():
            raise DataError(f"{path} must begin with {','.join(HEADER)}", "get it back with git")
        lines[0] = b""
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            yield _decision(line)
        except (ValueError, csv.Error) as fault:
            where = f"{path.name}:{number}" if first else path.name
            raise DataError(
                f"{where}: {fault}: {line[:80]!r}", "mend the line, or get the file back with git"
            ) from None


def _decision(line: bytes) -> Decision:
    [row] = csv.reader([line.decode()], strict=True)
    if len(row) != len(HEADER):
        raise ValueError(f"must have {len(HEADER)} columns, not {len(row)}")
    return Decision(*row)
