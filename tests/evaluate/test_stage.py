"""The stage `evaluate` on a classifier whose answers are known: the features are the logits."""

import csv
import re
from collections import Counter

import numpy as np
import pytest
from projects import Project

from imageloom import files, tables
from imageloom.evaluate import figures
from imageloom.features import FeatureStore
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
MATRIX = [[1, 2, 1], [0, 2, 0], [0, 1, 1]]
BY_LOSS = [2, 6, 3, 1, 4, 7, 0, 5]


def put(project: Project) -> list[str]:
    """Writes all that the stage reads, and returns the ids of the test pictures."""
    ids = [f"{number}{name}".ljust(64, "0") for number, (name, _, _) in enumerate(ANSWERS)]
    rows = [
        {"id": name, "class": shows, "path": f"{name}.png", "group": name, "side": "test"}
        for name, (shows, _, _) in zip(ids, ANSWERS, strict=True)
    ]
    rows += [dict(rows[n], id=f"train-{n}", side="train") for n in (0, 4, 6)]
    tables.write(project.paths.split, rows, tables.SPLIT)
    tables.write(project.paths.clean, [], tables.CLEAN)
    backbone = {"module": "m", "image_size": 32, "features": 3, "licence": None}
    files.write_json(project.paths.backbone / "backbone.json", backbone)
    classes = [{"name": name, "label": name.upper()} for name in NAMES]
    files.write_json(project.paths.classifier / "classifier.json", {"classes": classes})
    Head(np.eye(3, dtype=np.float32), np.zeros(3, np.float32)).save(project.paths.classifier / "head.npz")
    vectors = [sure * np.eye(3, dtype=np.float32)[NAMES.index(answer)] for _, answer, sure in ANSWERS]
    FeatureStore(project.paths.features).append(zip(ids, vectors, strict=True), 3)
    return ids


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path, evaluate={"bootstrap": 100, "worst": 6})


def test_the_page_and_the_tables_name_rows_and_columns_rightly(project):
    put(project)
    project.run("evaluate")
    page = (project.paths.reports / "index.html").read_text()
    table = page[page.index('<table class="confusion">') :].partition("</table>")[0]
    assert re.findall("<th>(.*?)</th>", table) == ["actual", "ANT", "BEE", "COW"]
    assert re.findall(r"<tr><td>(\w+)</td>", table) == ["ANT", "BEE", "COW"]
    assert [int(count) for count in re.findall(r">(\d+)<small>", table)] == np.ravel(MATRIX).tolist()
    assert [int(share) for share in re.findall(r"<small>(\d+)", table)] == [25, 50, 25, 0, 100, 0, 0, 50, 50]
    with (project.paths.reports / "confusion.csv").open() as file:
        pairs = Counter((row["actual"], row["predicted"]) for row in csv.DictReader(file))
    assert pairs == Counter((shows, answer) for shows, answer, _ in ANSWERS)


def test_the_worst_pictures_come_in_the_order_of_loss(project):
    ids = put(project)
    project.run("evaluate")
    page = (project.paths.reports / "index.html").read_text()
    worst, grid = page.partition("Highest losses")[2].split("Test pictures as they come")
    shown = [re.findall(r"· (\w{8})</span>", part) for part in (worst, grid)]
    assert shown == [[ids[number][:8] for number in BY_LOSS[:6]], [name[:8] for name in ids]]
    assert "BEE 91" in worst  # e^3 / (e^3 + 2)


def test_the_figure_has_a_row_for_what_is_shown_and_a_column_for_what_is_answered(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_save", lambda figure, target: drawn.append(figure))
    figures.confusion(np.array(MATRIX), NAMES, tmp_path / "confusion.png")
    axes = drawn[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "actual")
    counts = {text.get_position(): int(text.get_text().partition("\n")[0]) for text in axes.texts}
    assert counts == {(column, row): MATRIX[row][column] for row in range(3) for column in range(3)}
    assert axes.images[0].get_array().tolist() == [[0.25, 0.5, 0.25], [0, 1, 0], [0, 0.5, 0.5]]
