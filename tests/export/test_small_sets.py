"""int8 holds on other pictures than the demo's: drawn digits, and pieces of photographs, on the packaged MobileNetV2.

Both sets are made from what scikit-learn ships: its 8 x 8 digits drawn larger in colours, and pieces cut from its two
sample photographs, whose class is the side on which they lie.
"""

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from projects import Project

from imageloom.predictor import Predictor

pytestmark = pytest.mark.slow

BACKBONE = {"image_size": 96}
DIGITS, PIECES = 120, 300  # pictures a class: so many are tested that a point is four of them


def digits() -> Iterator[tuple[str, list[bytes]]]:
    from sklearn.datasets import load_digits

    data, random = load_digits(), np.random.default_rng(0)
    for digit in range(10):
        drawn = []
        for image in data.images[data.target == digit][:DIGITS]:
            ink, paper = random.integers(0, 110, 3), random.integers(150, 256, 3)
            share = (image / 16)[..., None]
            drawn.append(encoded(Image.fromarray((paper + share * (ink - paper)).astype(np.uint8)), 80))
        yield f"digit {digit}", drawn


def pieces() -> Iterator[tuple[str, list[bytes]]]:
    from sklearn.datasets import load_sample_images

    photographs, random = load_sample_images().images, np.random.default_rng(1)
    for turns in range(4):
        cut = []
        for number in range(PIECES):
            photograph, side = photographs[number % 2], int(random.integers(120, 260))
            top, left = (int(random.integers(0, length - side)) for length in photograph.shape[:2])
            piece = np.rot90(photograph[top : top + side, left : left + side], turns)
            cut.append(encoded(Image.fromarray(np.ascontiguousarray(piece)), 112))
        yield f"{turns} quarter turns", cut


def encoded(image: Image.Image, size: int) -> bytes:
    file = io.BytesIO()
    image.resize((size, size), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def run(project: Project, *stages: str) -> None:
    for stage in stages:
        subprocess.run([sys.executable, "-m", "imageloom.cli", stage, "-C", str(project.paths.root)], check=True)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> Path:
    project = Project(tmp_path_factory.mktemp("backbone"), backbone=BACKBONE)
    run(project, "backbone")
    return project.paths.backbone


@pytest.mark.parametrize(("pictures", "least"), [(digits, 0.8), (pieces, 0.7)])
def test_int8_is_as_right_as_float32_within_a_point(pictures, least, backbone, tmp_path):
    classes = dict(pictures())
    project = Project(
        tmp_path / "set",
        classes=[{"name": name} for name in classes],
        backbone=BACKBONE,
        split={"method": "stratified", "validation": 0.15, "test": 0.4},
        train={"probe": {"c": [0.03, 0.1]}},
        export={"formats": ["int8"], "check": 1000},
    )
    for name, content in classes.items():
        project.add(name, content)
    shutil.copytree(backbone, project.paths.backbone)
    run(project, "embed", "clean", "split", "train", "export")
    with (project.paths.reports / "export.csv").open(encoding="utf-8") as file:
        rows = {row["format"]: row for row in csv.DictReader(file)}
    assert int(rows["int8"]["pictures"]) == pytest.approx(0.4 * sum(map(len, classes.values())), rel=0.02)
    right = {name: float(row["accuracy"]) for name, row in rows.items()}
    assert right["float32"] >= least
    assert right["int8"] >= right["float32"] - 0.01
    assert all(Predictor(project.paths.export, name).has_map for name in ("float32", "int8"))
    assert int(rows["int8"]["bytes"]) <= int(rows["float32"]["bytes"]) / 3
