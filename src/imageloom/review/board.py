"""Who has decided what, and what is left: the queues of the pictures as they are, and every decision about them."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from imageloom import decisions
from imageloom.decisions import Decided, Decision
from imageloom.errors import ImageloomError
from imageloom.files import Paths
from imageloom.review import pictures as tables
from imageloom.review.pictures import Pictures
from imageloom.review.queues import NEAR_DUPLICATES, QUEUES, Entry

DECIDED = "decided"
REQUESTS = 10_000  # of which the ids are known


class Board:
    """Safe to use from several threads; others may write to the same project at once.

    Args:
        paths: The project.

    Raises:
        ImageloomError: Nothing was crawled yet, or a table or the decisions are damaged.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._lock = threading.RLock()
        self._stamp: tuple[object, ...] = ()
        self._read_to, self._inode = 0, 0
        self._decided = Decided()
        self._requests: dict[str, None] = {}  # in the order in which they came
        self.edition = 0
        self._take_pictures()
        self._take_decisions()

    @property
    def pictures(self) -> Pictures:
        """The pictures, as the stages last left them."""
        return self._pictures

    def refresh(self) -> None:
        """Takes over what stages and other people have written since.

        A table that cannot be read, because a stage is at work, leaves what was known.
        """
        with self._lock:
            if tables.stamp(self._paths) != self._stamp:
                try:
                    self._take_pictures()
                except ImageloomError:
                    return
            self._take_decisions()

    def progress(self) -> list[dict[str, Any]]:
        """Of each queue: how many entries it has, and how many of these are done."""
        with self._lock:
            told = [
                {
                    "name": name,
                    "title": queue.title,
                    "question": queue.question,
                    "grouped": queue.grouped,
                    "total": len(self._entries[name]),
                    "done": len(self._done[name]),
                }
                for name, queue in QUEUES.items()
            ]
            count = len(self._decided.all_standing())
        last = {"name": DECIDED, "title": "Decided", "question": "", "grouped": False, "total": count, "done": 0}
        return [*told, last]

    def batch(self, queue: str, start: int, count: int) -> tuple[list[dict[str, Any]], int | None]:
        """The next entries of a queue that are not done.

        Args:
            queue: One of `QUEUES`, or `DECIDED`.
            start: Where to begin.
            count: How many.

        Returns:
            The entries, for JSON; and where the next batch begins, None at the end of the queue.
        """
        with self._lock:
            entries, done = self._listed(queue)
            found: list[dict[str, Any]] = []
            place = start
            while place < len(entries) and len(found) < count:
                if place not in done:
                    found.append(self._told(entries[place], queue))
                place += 1
            return found, place if place < len(entries) else None

    def told(self, sha256: str) -> dict[str, Any]:
        """What the page shows of one picture."""
        with self._lock:
            standing = self._decided.standing(sha256)
            decided = standing and {"decision": standing.decision, "who": standing.who, "when": standing.when}
            latest = self._decided.latest(sha256)
            undoes = latest and {"decision": latest.decision, "to": latest.to}
            return self._pictures.facts(sha256) | {
                "class": self.class_of(sha256),
                "decided": decided,
                "latest": undoes,
            }

    def class_of(self, sha256: str) -> str:
        """The class that a picture has after all decisions; empty where it has none."""
        with self._lock:
            label = self._decided.label(sha256)
            return label if label is not None else self._pictures.class_of.get(sha256, "")

    def knows(self, sha256: str) -> bool:
        """Whether the project has this picture."""
        return self._pictures.path(sha256, self._paths) is not None

    def class_names(self) -> list[str]:
        """The classes that can be given; last those made up in review, in an order that new ones do not change."""
        with self._lock:
            names = [spec.name for spec in self._pictures.classes]
            if self._pictures.open_classes:
                names += [name for name in self._decided.classes() if name not in names]
            return names

    def decide(self, wanted: Sequence[Decision], request: str = "") -> list[Decision]:
        """Writes decisions down, all in one piece.

        What somebody asks for twice, because the answer got lost, is written once; what is to be taken back and does
        not stand any more is not written at all.

        Args:
            wanted: The decisions.
            request: An id by which a request is known that comes again, whatever was decided in between; empty where
                it has none.

        Returns:
            What was written.

        Raises:
            ImageloomError: They could not be written; none was.
        """
        with self._lock:
            self._take_decisions()
            if request in self._requests:
                return []
            new = [decision for decision in wanted if self._is_news(decision)]
            if new:
                decisions.append(self._paths.decisions, new)
                self._take_decisions()
            if request:
                self._requests[request] = None
                while len(self._requests) > REQUESTS:
                    del self._requests[next(iter(self._requests))]
            return new

    def _is_news(self, decision: Decision) -> bool:
        latest = self._decided.latest(decision.sha256)
        if decision.decision == "undo":
            return latest is not None and (latest.decision, latest.to) == (decision.from_, decision.to)
        said = ("decision", "from_", "to", "who", "queue")
        return latest is None or any(getattr(latest, name) != getattr(decision, name) for name in said)

    def _take_pictures(self) -> None:
        stamp = tables.stamp(self._paths)
        self._pictures = tables.load(self._paths)
        self._stamp = stamp
        self.edition += 1
        self._entries = {name: queue.entries(self._pictures) for name, queue in QUEUES.items()}
        self._places: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for name, entries in self._entries.items():
            for place, entry in enumerate(entries):
                for member in {*entry.members, entry.key}:
                    self._places[member].append((name, place))
        self._done = {
            name: {place for place, entry in enumerate(entries) if self._is_done(name, entry)}
            for name, entries in self._entries.items()
        }

    def _take_decisions(self) -> None:
        """Reads what was added to the file; all of it where it became another file, as when git has merged it."""
        path = self._paths.decisions
        inode = path.stat().st_ino if path.exists() else 0
        new, end = decisions.read_from(path, self._read_to)
        if inode != self._inode or end < self._read_to:
            new, end = decisions.read_from(path, 0)
            touched = set(self._places)
            self._decided = Decided(new)
        else:
            touched = {decision.sha256 for decision in new}
            for decision in new:
                self._decided.add(decision)
        self._read_to, self._inode = end, inode
        for name, place in {where for sha256 in touched for where in self._places.get(sha256, ())}:
            done = self._is_done(name, self._entries[name][place])
            (self._done[name].add if done else self._done[name].discard)(place)

    def _is_done(self, queue: str, entry: Entry) -> bool:
        if queue in self._decided.skipped(entry.key):
            return True
        standing = [self._decided.standing(name) for name in entry.members]
        if queue == NEAR_DUPLICATES:  # what else was decided about its members says nothing about the group
            staying = [one for one in standing if one is None or one.decision != "drop"]
            return len(staying) <= 1 or all(one and (one.decision, one.queue) == ("keep", queue) for one in staying)
        return standing[0] is not None

    def _listed(self, queue: str) -> tuple[Sequence[Entry], set[int]]:
        if queue != DECIDED:
            return self._entries[queue], self._done[queue]
        last = sorted(self._decided.all_standing().values(), key=lambda one: (one.when, one.sha256), reverse=True)
        return [Entry((one.sha256,)) for one in last if self.knows(one.sha256)], set()

    def _told(self, entry: Entry, queue: str) -> dict[str, Any]:
        members = [self.told(name) for name in entry.members]
        return {"key": entry.key, "queue": queue, "suggestion": entry.suggestion, "members": members}
