"""What decoding tells: quality as cleanvision measures it, and nothing decoded twice."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps
from planted import photograph, png
from projects import Project, picture

from imageloom import tables
from imageloom.clean import looks, quality
from imageloom.clean.pictures import Picture

SORTS = {
    "good": photograph(),
    "dark": photograph().point(lambda tone: tone // 6),
    "bright": photograph().point(lambda tone: 245 + tone // 26),
    "blurry": ImageOps.invert(Image.radial_gradient("L")).resize((128, 128)).convert("RGB"),  # all tones, and no edge
    "low_information": Image.new("RGB", (128, 128), (130, 120, 110)),
}


def scores(images: list[Image.Image]) -> dict[str, np.ndarray]:
    rows = [{"id": str(number), **looks.measure(png(image))} for number, image in enumerate(images)]
    pictures = [
        Picture(row["id"], dict(zip(("width", "height"), image.size, strict=True)))
        for row, image in zip(rows, images, strict=True)
    ]
    return dict(quality.scores(pa.Table.from_pylist(rows, tables.LOOKS), pictures))


def theirs(image: Image.Image) -> dict[str, float]:
    """Scores of cleanvision for the same picture."""
    import pandas as pd
    from cleanvision.issue_managers import image_property as them

    grey = image.convert("L")
    raw = {
        "light": them.BrightnessProperty("light").calculate(image),
        "low_information": them.EntropyProperty().calculate(grey),
        "blurry": them.BlurrinessProperty().calculate(image),
    }
    table = pd.DataFrame([{name: value for part in raw.values() for name, value in part.items()}])

    def only(frame: pd.DataFrame) -> float:
        return float(frame.iloc[0, 0])

    return {
        "dark": only(them.BrightnessProperty("dark").get_scores(table, "dark")),
        "bright": only(them.BrightnessProperty("light").get_scores(table, "light")),
        "low_information": only(them.EntropyProperty().get_scores(table, "low_information", normalizing_factor=0.1)),
        "blurry": only(
            them.BlurrinessProperty().get_scores(table, "blurry", normalizing_factor=0.01, color_threshold=0.18)
        ),
    }


@pytest.mark.parametrize("sort", list(SORTS))
def test_scores_are_cleanvisions(sort):
    ours = scores([SORTS[sort]])
    for check, score in theirs(SORTS[sort]).items():
        assert ours[check][0] == pytest.approx(score, abs=0.02), check


def test_each_fault_is_marked_and_a_good_picture_is_not():
    from imageloom.clean.checks import Thresholds

    bounds = Thresholds().model_dump()
    found = scores(list(SORTS.values()))
    marked = {sort: {check for check in found if found[check][n] < bounds[check]} for n, sort in enumerate(SORTS)}
    assert marked["good"] == set()
    for sort in ("dark", "bright", "blurry", "low_information"):
        assert sort in marked[sort]


def test_proportions_and_sizes_that_stand_out_are_told():
    ordinary = [Image.new("RGB", (90 + number, 100)) for number in range(12)]
    found = scores([*ordinary, Image.new("RGB", (300, 40)), Image.new("RGB", (900, 900))])
    assert found["odd_aspect"][12] == pytest.approx(40 / 300)
    assert found["odd_aspect"][:12].min() > 0.35
    assert found["odd_size"][13] < 0.5
    assert found["odd_size"][:12].min() > 0.5


def test_where_all_are_of_one_size_half_and_twice_stand_out():
    found = scores([Image.new("RGB", (100, 100))] * 9 + [Image.new("RGB", (side, side)) for side in (45, 80, 210)])
    assert [score < 0.5 for score in found["odd_size"]] == [False] * 9 + [True, False, True]


def test_a_picture_is_decoded_once_whatever_the_thresholds(tmp_path, monkeypatch):
    project = Project(tmp_path)
    for name in ("warm", "cold"):
        project.add(name, [picture(name, seed) for seed in range(6)])
    project.run("clean")
    first = project.paths.looks.read_bytes()
    decoded = []
    measure = looks.measure
    monkeypatch.setattr(looks, "measure", lambda data: decoded.append(data) or measure(data))
    project.configure(clean={"thresholds": {"dark": 0.9}})
    project.run("clean")
    assert decoded == []
    assert project.paths.looks.read_bytes() == first
    new = picture("warm", 77)
    project.add("warm", [new])
    project.run("clean")
    assert decoded == [new]


def test_looks_that_other_code_took_are_taken_anew(tmp_path, monkeypatch):
    project = Project(tmp_path)
    for name in ("warm", "cold"):
        project.add(name, [picture(name, seed) for seed in range(6)])
    project.run("clean")
    table = tables.read(project.paths.looks, tables.LOOKS, "clean").to_pylist()
    wrong = [row | {"entropy": 0.0} for row in table]
    tables.write(project.paths.looks, wrong, tables.LOOKS.with_metadata({"made_by": "{}"}))
    project.run("clean")
    assert tables.read(project.paths.looks, tables.LOOKS, "clean").to_pylist() == table
