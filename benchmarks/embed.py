"""`make bench-embed`: how near the stage `embed` comes to what the processors can do, and if its memory stays flat.

The limit is the bare loop of bare.py. The stage's steady rate is what 9,000 pictures more cost, so that its start does
not count. Bare loop and stage take turns, and every run is a process of its own.
"""

import datetime
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import bare
from figures import Figure, show
from processes import timed

from imageloom import tables
from imageloom.files import Paths

FEW, MANY, BARE = 1_000, 10_000, 2_000


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "params.yaml").write_text("backbone: {}\n")
        print("making the backbone and 10,000 pictures ...", flush=True)
        run(["backbone"], root)
        model = Paths(root).backbone / "backbone.tflite"
        seconds, peak, rates = {}, {}, [bare.rate(model, BARE)]
        for number in (FEW, MANY):
            write_pictures(root, number)
            seconds[number], peak[number] = run(["embed"], root)
            for part in Paths(root).features.iterdir():
                part.unlink()
            rates.append(bare.rate(model, BARE))
    limit = sum(rates) / len(rates)
    rate = (MANY - FEW) / (seconds[MANY] - seconds[FEW])
    show(
        "embed",
        [
            Figure("bare loop", limit, "images/s"),
            Figure("embed, steady", rate, "images/s"),
            Figure("embed / bare loop", rate / limit, "ratio", ">= 0.85"),
            Figure("peak memory, 1,000 images", peak[FEW], "MB"),
            Figure("peak memory, 10,000 images", peak[MANY], "MB"),
            Figure("memory 10,000 / 1,000", peak[MANY] / peak[FEW], "ratio", "< 1.15"),
        ],
    )


def write_pictures(root: Path, number: int) -> None:
    """Puts the demo's pictures into data/raw, each several times with other bytes behind its end."""
    originals = bare.pictures()
    paths, now, rows = Paths(root), datetime.datetime.now(datetime.UTC), []
    for index in range(number):
        data = originals[index % len(originals)].read_bytes() + index.to_bytes(4, "big")
        sha = hashlib.sha256(data).hexdigest()
        path = paths.raw / "cells" / f"{sha[:20]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        row = dict.fromkeys(tables.MANIFEST.names) | {"url": f"file:{index}", "class": "cells", "source": "folder"}
        row |= {
            "status": "ok",
            "attempts": 1,
            "used": True,
            "sha256": sha,
            "path": f"cells/{path.name}",
            "width": 300,
            "height": 300,
        }
        rows.append(row | {"first_seen": now, "last_seen": now})
    tables.write(paths.raw / "manifest.parquet", rows, tables.MANIFEST)


def run(command: list[str], root: Path) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of `imageloom COMMAND`."""
    words = [sys.executable, "-m", "imageloom.cli", *command, "-C", str(root)]
    return timed(words, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
