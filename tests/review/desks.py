"""Projects for the review page: real pictures, and the tables that the stages would have written about them."""

import hashlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from projects import Project, picture
from servers import started

from imageloom import decisions, tables
from imageloom.params import UNLABELLED

CLASSES = [{"name": "warm", "label": "暖 warm"}, {"name": "cold", "label": "冷 cold"}]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Desk:
    """A project whose queues a test fills."""

    def __init__(self, root: Path, classes: Sequence[dict] = CLASSES) -> None:
        self.project = Project(root, classes=list(classes))
        self.paths = self.project.paths
        self.scores: list[dict] = []
        self.probabilities: dict[str, float] = {}  # of the first class, by picture
        self.groups: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def add(self, name: str, hue: str, seeds: Sequence[int], **more: object) -> list[str]:
        """Pictures of a hue under a class; gives their ids."""
        made = [picture(hue, seed) for seed in seeds]
        self.project.add(name, made)
        for row in self.project.rows[-len(made) :]:
            row.update(more)
        return [sha(data) for data in made]

    def flag(self, ids: Sequence[str], check: str, detail: str = "", worst: float = 0.01) -> None:
        """Lets a check mark pictures, the first as the worst."""
        for place, name in enumerate(ids):
            score = worst + place / 100
            self.scores.append({"id": name, "check": check, "score": score, "flagged": True, "detail": detail})

    def write(self) -> "Desk":
        """Writes the tables as stage `clean` does."""
        tables.write(self.paths.raw / "manifest.parquet", self.project.rows, tables.MANIFEST)
        rows = {}
        for row in self.project.rows:
            name = row["sha256"]
            reason = self.reasons.get(name, "unlabelled" if row["class"] == UNLABELLED else "")
            about = {"id": name, "copies": 1, "crawl": 0, "group": self.groups.get(name, name)}
            about |= {"kept": not reason, "reason": reason, "flags": [], "decided": ""}
            rows.setdefault(name, {column: (row | about).get(column) for column in tables.CLEAN.names})
        tables.write(self.paths.clean, list(rows.values()), tables.CLEAN)
        tables.write(self.paths.scores, self.scores, tables.SCORES)
        schema = tables.PROBABILITIES.with_metadata({"classes": json.dumps(["warm", "cold"])})
        found = [{"id": name, "probabilities": [first, 1 - first]} for name, first in self.probabilities.items()]
        tables.write(self.paths.probabilities, found, schema)
        return self

    def decided(self) -> list[tuple[str, str, str, str, str]]:
        """What the file says: sha256, decision, from, to, queue."""
        read = decisions.read(self.paths.decisions)
        return [(one.sha256, one.decision, one.from_, one.to, one.queue) for one in read]


def full(root: Path) -> Desk:
    """Something in every queue."""
    desk = Desk(root)
    warm = desk.add("warm", "warm", range(20), title="a warm one", page="http://site/warm", licence="CC0")
    cold = desk.add("cold", "cold", range(100, 120))
    pool = desk.add(UNLABELLED, "warm", range(200, 206)) + desk.add(UNLABELLED, "cold", range(300, 304))
    desk.flag(warm[:2], "label_issues", "cold")
    desk.flag(warm[2:4], "outliers")
    desk.flag(cold[:1], "placeholders", worst=0.5)
    desk.flag(cold[1:3], "blurry")
    desk.flag(cold[3:4], "two_classes", "warm")
    desk.reasons[cold[3]] = "two_classes"
    desk.groups |= {warm[11]: warm[10], warm[12]: warm[10], cold[11]: cold[10]}
    desk.probabilities |= dict.fromkeys(warm, 0.9) | dict.fromkeys(cold, 0.1)
    desk.probabilities |= {warm[0]: 0.05, warm[5]: 0.2, cold[5]: 0.45, pool[0]: 0.55, pool[9]: 0.02}
    inbox = root / "data" / "inbox"
    inbox.mkdir(parents=True)
    kept = picture("cold", 999)
    (inbox / f"{sha(kept)[:20]}.png").write_bytes(kept)
    line = f"2026-01-01T00:00:00+00:00,{sha(kept)},{sha(kept)[:20]}.png,correction,warm,0.6,true,cold,abc"
    header = "time,id,file,reason,predicted,probability,known,label,model"
    (inbox / "inbox.csv").write_text(f"{header}\n{line}\n", encoding="utf-8")
    return desk.write()


@contextmanager
def reviewing(root: Path, *options: str, port: int = 0) -> Iterator[tuple[str, subprocess.Popen]]:
    """`imageloom review` in a process of its own; gives its address and the process."""
    with started("review", "-C", str(root), "--port", str(port), *options) as (address, server):
        yield address, server
    assert server.communicate()[1] == ""
