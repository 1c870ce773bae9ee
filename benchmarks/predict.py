"""How near `imageloom predict` on a folder comes to what the processors can do; `make bench-export` runs it.

The limit is the bare loop of bare.py. The command's rate is what many pictures take longer than few, so that its start
does not count. Both take turns, and every run is a process of its own. The model is the project's, in models/export/.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import bare
from figures import Figure, show
from processes import timed

EXPORT = Path(__file__).parents[1] / "models" / "export"

FEW, MANY, ROUNDS = 100, 2_600, 5


def main() -> None:
    """Measures and prints."""
    model = EXPORT / "model.tflite"
    if not model.exists():
        sys.exit("error: there is no models/export/model.tflite\nhint: run `make run` first")
    with tempfile.TemporaryDirectory() as scratch:
        one, few, many = (linked(Path(scratch) / str(number), number) for number in (1, FEW, MANY))
        limits, ours, peaks = [bare.rate(model, MANY - FEW)], [], []
        for _ in range(ROUNDS):
            short, _ = run(few)
            long, peak = run(many)
            ours.append((MANY - FEW) / (long - short))
            peaks.append(peak)
            limits.append(bare.rate(model, MANY - FEW))
        start = min(run(one)[0] for _ in range(3))
    limit, rate = statistics.median(limits), statistics.median(ours)
    show(
        "predict",
        [
            Figure("bare loop (median)", limit, "images/s"),
            Figure("predict on a folder (median)", rate, "images/s"),
            Figure("predict / bare loop", rate / limit, "ratio", ">= 0.9"),
            Figure("predict, one picture (best of 3)", start, "s", "< 1"),
            Figure(f"peak memory, {MANY:,} images", max(peaks), "MB"),
        ],
    )


def linked(folder: Path, number: int) -> Path:
    """A folder with that many of the demo's pictures."""
    folder.mkdir()
    for index, path in enumerate(bare.pictures()[:number]):
        (folder / f"{index:05}.png").symlink_to(path)
    return folder


def run(folder: Path) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of the command on a folder."""
    command = [sys.executable, "-m", "imageloom.cli", "predict", str(folder), "--json", "--model", str(EXPORT)]
    return timed(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
