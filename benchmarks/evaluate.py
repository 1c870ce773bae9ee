"""How long `imageloom evaluate` takes on 10,000 test pictures whose features are there; `make bench-export` runs it."""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from figures import Figure, show

from imageloom import files, tables
from imageloom.features import PART, FeatureStore
from imageloom.files import Paths
from imageloom.ood import Detector
from imageloom.recipes.head import Head

BACKBONE = Path(__file__).parents[1] / "models" / "backbone"

PICTURES, CLASSES, FEATURES = 10_000, 10, 1280


def write(paths: Paths) -> None:
    """Writes what the stage reads: features around a middle for each class, and a head that knows the middles."""
    random = np.random.default_rng(0)
    names = [f"class {number}" for number in range(CLASSES)]
    middles = random.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    rows, split = [], []
    for number in range(PICTURES + CLASSES):
        id_, name = f"{number:064x}", names[number % CLASSES]
        row = {"id": id_, "class": name, "path": f"{name}/{id_[-20:]}.jpg", "group": id_}
        about = {
            "width": 200 + number % 700,
            "height": 600,
            "copies": 1,
            "crawl": number % 3,
            "kept": True,
            "reason": "",
            "flags": [],
            "decided": "",
        }
        split.append(row | {"side": "train" if number >= PICTURES else "test"})
        rows.append(row | about | {"url": f"https://{number % 20}.example/{number}.jpg", "licence": "CC BY 4.0"})
    tables.write(paths.clean, [dict.fromkeys(tables.CLEAN.names) | row for row in rows], tables.CLEAN)
    tables.write(paths.split, split, tables.SPLIT)
    store = FeatureStore(paths.features)
    for start in range(0, PICTURES, PART):
        numbers = range(start, min(start + PART, PICTURES))
        vectors = (middles[n % CLASSES] + random.normal(0, 12, FEATURES).astype(np.float32) for n in numbers)
        store.append(zip((rows[n]["id"] for n in numbers), vectors, strict=True), FEATURES)
    paths.classifier.mkdir(parents=True)
    Head(middles.T / 144, np.zeros(CLASSES, np.float32)).save(paths.classifier / "head.npz")
    Detector.fit(middles + random.normal(size=middles.shape)).save(paths.classifier / "ood.npz")
    about = {
        "recipe": "probe",
        "classes": [{"name": name, "label": name} for name in names],
        "input": {"aspect": "crop"},
        "calibration": {"temperature": 1.1},
        "known": {"min_confidence": 0.3, "max_distance": 9.0, "target_precision": 0.9, "precision": 0.9},
    }
    files.write_json(paths.classifier / "classifier.json", about)
    paths.backbone.mkdir(parents=True)
    for name in ("backbone.tflite", "backbone.json"):
        shutil.copy(BACKBONE / name, paths.backbone)


def main() -> None:
    """Runs the stage as a process of its own, on pictures that are not there, so that no heat map is drawn."""
    if not (BACKBONE / "backbone.tflite").exists():
        sys.exit("error: there is no models/backbone/backbone.tflite\nhint: run `make run` first")
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder))
        write(paths)
        paths.params.write_text("evaluate: {}\n", encoding="utf-8")
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "imageloom.cli", "evaluate", "-C", folder], check=True)
        took = time.perf_counter() - started
    show("evaluate", [Figure(f"evaluate, {PICTURES:,} test pictures", took, "s", "< 10")])


if __name__ == "__main__":
    main()
