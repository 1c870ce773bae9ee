"""A classifier whose answers are known: its features are its logits, and its pictures are real files."""

import io

import numpy as np
from PIL import Image
from projects import Project

from imageloom import files, tables
from imageloom.features import FeatureStore
from imageloom.ood import Detector
from imageloom.recipes.head import Head

NAMES = ("ant", "bee", "cow")
# What a picture shows, what is answered, and by how much: the larger, the surer.
ANSWERS = (
    ("ant", "ant", 2.0),
    ("ant", "bee", 0.5),
    ("ant", "bee", 3.0),
    ("ant", "cow", 1.0),
    ("bee", "bee", 0.1),
    ("bee", "bee", 4.0),
    ("cow", "bee", 2.0),
    ("cow", "cow", 1.0),
)
TRAIN = ("ant", "bee", "cow")
MARKUP = "</script><script>document.title='taken over'</script><b>&amp;"

ABOUT = {
    "recipe": "probe",
    "classes": [{"name": name, "label": name.upper()} for name in NAMES],
    "input": {"aspect": "crop"},
    "fitted": {"C": 0.1},
    "calibration": {"temperature": 1.0},
    "known": {
        "min_confidence": 0.4,
        "max_distance": 100.0,
        "target_precision": 0.95,
        "precision": 0.9,
        "share_known": 1.0,
        "share_at_target": 0.5,
    },
}


def red_and_blue() -> bytes:
    """A PNG whose left half is red and whose right half is blue."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32, 0] = pixels[:, 32:, 2] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def row(number: int, shows: str) -> dict[str, object]:
    """A row of data/clean for picture number `number`; its id begins with the number."""
    id_ = f"{number:02d}{shows}".ljust(64, "0")
    return {
        "id": id_,
        "class": shows,
        "path": f"{shows}/{id_[:20]}.png",
        "width": 32 * (1 + number % 2),
        "height": 64,
        "copies": 1,
        "crawl": number // 6,
        "group": id_,
        "kept": True,
        "reason": "",
        "flags": [],
        "decided": "",
        "url": f"https://{'a' if number < 4 else 'b'}.example/{number}.png",
        "source": "gallery",
        "page": None if number else 'javascript:document.title="taken over"',
        "title": MARKUP if number == 2 else f"Picture {number}, {'mono' if number % 2 else 'poly'}",
        "author": "梵高" if number < 3 else None,
        "licence": "CC BY-NC 4.0" if number < 3 else None,
        "bytes": 100,
        "format": "PNG",
    }


def write(project: Project, tflite: bytes, **about: object) -> list[str]:
    """Writes all that the stage `evaluate` reads, and returns the ids of the test pictures.

    Args:
        project: Where to.
        tflite: The backbone.
        about: Replaces parts of classifier.json.
    """
    paths = project.paths
    rows = [row(number, shows) for number, (shows, _, _) in enumerate(ANSWERS)]
    train = [row(50 + number, shows) for number, shows in enumerate(TRAIN)]
    left_out = row(90, "ant") | {"kept": False, "reason": "too_small", "copies": 3}
    tables.write(paths.clean, [*rows, *train, left_out], tables.CLEAN)
    sides = [(each, "test") for each in rows] + [(each, "train") for each in train]
    columns = ("id", "class", "path", "group")
    split = [{name: each[name] for name in columns} | {"side": side} for each, side in sides]
    tables.write(paths.split, split, tables.SPLIT)
    for each in rows:
        path = paths.raw / str(each["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(red_and_blue())
    backbone = {"module": "means", "image_size": 32, "features": 3, "licence": None}
    files.write_json(paths.backbone / "backbone.json", backbone)
    (paths.backbone / "backbone.tflite").write_bytes(tflite)
    files.write_json(paths.classifier / "classifier.json", ABOUT | about)
    Head(np.eye(3, dtype=np.float32), np.zeros(3, np.float32)).save(paths.classifier / "head.npz")
    vectors = [sure * np.eye(3, dtype=np.float32)[NAMES.index(answer)] for _, answer, sure in ANSWERS]
    Detector.fit(np.array(vectors)).save(paths.classifier / "ood.npz")
    ids = [str(each["id"]) for each in rows]
    store = FeatureStore(paths.features)
    store.keep_only(set())  # where it is written twice
    store.append(zip(ids, vectors, strict=True), 3)
    return ids
