"""`make bench-train`, second part: what `imageloom make` takes from its start to the files on disk.

On the demo's 2,223 pictures in two folders, every run a process of its own: from nothing with the default recipe and
with the last layer alone, and again when a hundredth more pictures have come. Memory is the largest process's.
"""

import importlib.metadata
import shutil
import sys
import tempfile
from pathlib import Path

from figures import Figure, show
from processes import timed

CLASSES = {"0.0": "functional", "1.0": "defective"}
LATER = 22  # pictures that come later: a hundredth


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        late = write_pictures(root / "pictures")
        default, peak = make(root, "default")
        plain, _ = make(root, "plain", "--features", "last")
        for source, target in late:
            shutil.copyfile(source, target)
        again, _ = make(root, "default")
    show(
        "make",
        [
            Figure("2,223 pictures, nothing kept, default recipe", default, "s", "< 40"),
            Figure("the same on the last layer alone", plain, "s", "< 28"),
            Figure("again with 1 % more pictures", again, "s", "< 15"),
            Figure("peak memory of a process, default recipe", peak, "MB", "< 1200"),
        ],
    )


def write_pictures(folder: Path) -> list[tuple[Path, Path]]:
    """Puts the demo's sure pictures into a folder for each class, but for some that come later, which it gives."""
    files = importlib.metadata.files("elpv-dataset") or []
    table = next(Path(str(one.locate())) for one in files if one.name == "labels.csv")
    found: list[tuple[Path, Path]] = []
    with table.open(encoding="utf-8") as file:
        for line in file:
            path, probability, _ = line.split()
            name = CLASSES.get(probability)
            if name:
                source = table.parent / path
                found.append((source, folder / name / source.name))
    late = found[:: len(found) // LATER][:LATER]
    for source, target in found:
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source, target) not in late:
            shutil.copyfile(source, target)
    return late


def make(root: Path, name: str, *flags: str) -> tuple[float, float]:
    """Wall seconds, and peak memory in MB of the largest process."""
    out = root / "out" / name
    command = [sys.executable, "-m", "imageloom.cli", "make", "--image_dir", str(root / "pictures")]
    command += ["--cache_dir", str(root / "cache" / name), "--saved_model_dir", str(out / "saved_model")]
    command += ["--tflite_output_file", str(out / "model.tflite"), "--labels_output_file", str(out / "labels.txt")]
    print(f"$ imageloom make {' '.join(flags)}", flush=True)
    return timed([*command, *flags])


if __name__ == "__main__":
    main()
