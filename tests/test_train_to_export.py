"""The stages from features to exported models, on a small project with a small real backbone."""

import csv
import json
import shutil

import numpy as np
import pytest
from projects import Project, picture

from imageloom import images, tables
from imageloom.cli import main
from imageloom.engine import Engine
from imageloom.errors import DataError, ModelError
from imageloom.features import FeatureStore, key

CLASSES = [{"name": "warm", "label": "暖 <b>warm</b>"}, {"name": "cold", "label": "冷 & $cold$"}]
SIZE = {"warm": 60, "cold": 40}
STAGES = ("embed", "clean", "split", "train", "evaluate")


def make(root, backbone, classes=CLASSES, hue=lambda name: name) -> Project:
    project = Project(root, classes=classes, split={"method": "stratified"}, embed={"aspect": "stretch"})
    shutil.copytree(backbone, project.paths.backbone)
    for offset, (name, number) in enumerate(SIZE.items()):
        project.add(name, [picture(hue(name), seed + 1000 * offset, 40, height=60) for seed in range(number)])
    return project


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiles_backbone) -> Project:
    project = make(tmp_path_factory.mktemp("all") / "项目 one", tiles_backbone)
    project.run(*STAGES)
    project.export_alone()
    return project


@pytest.fixture
def copied(exported, tmp_path) -> Project:
    return exported.copied(tmp_path / "copy")


def predictions(project) -> list[dict[str, str]]:
    with (project.paths.reports / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measured(project) -> dict:
    return json.loads((project.paths.reports / "metrics.json").read_text())


def test_it_learns_what_can_be_learnt(exported):
    result = measured(exported)
    assert result["accuracy"] > 0.95
    assert result["accuracy_interval"][0] <= result["accuracy"] <= result["accuracy_interval"][1]
    assert result["majority_baseline"] == pytest.approx(0.6)
    assert result["pictures"]["test"] == {"warm": 12, "cold": 8}
    assert sum(sum(side.values()) for side in result["pictures"].values()) == 100


def test_it_learns_nothing_where_there_is_nothing_to_learn(tmp_path, tiles_backbone):
    project = make(tmp_path, tiles_backbone, hue=lambda name: "plain")
    project.run(*STAGES)
    assert measured(project)["accuracy"] < 0.8


def test_labels_are_written_in_the_order_given(exported):
    expected = [spec["label"] for spec in CLASSES]
    for folder in (exported.paths.classifier, exported.paths.export):
        assert (folder / "labels.txt").read_text(encoding="utf-8").splitlines() == expected


def test_classes_come_from_the_folders_where_none_are_given(tmp_path, tiles_backbone):
    project = make(tmp_path, tiles_backbone, classes=[])
    project.run(*STAGES)
    assert (project.paths.classifier / "labels.txt").read_text() == "cold\nwarm\n"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([{"name": "warm"}, {"name": "other"}], "pictures of 'cold', which is not in `classes`"),
        ([{"name": "warm"}, {"name": "cold"}, {"name": "hot"}], "class 'hot' has no pictures"),
    ],
)
def test_classes_that_do_not_match_the_pictures_are_refused(copied, classes, message):
    copied.configure(classes=classes)
    before = (copied.paths.classifier / "head.npz").read_bytes()
    with pytest.raises(DataError, match=message):
        copied.run("train")
    assert (copied.paths.classifier / "head.npz").read_bytes() == before


@pytest.mark.parametrize("command", ["train", "lr-find"])
@pytest.mark.parametrize("view", ["", "mirror"])
@pytest.mark.parametrize(("side", "recipe"), [("validation", "probe"), ("train", "head"), ("train", "cnn")])
def test_features_that_are_no_numbers_are_refused(copied, capsys, side, recipe, view, command):
    copied.configure(classes=CLASSES, split={"method": "stratified"}, train={"recipe": recipe})
    split = tables.read(copied.paths.split, tables.SPLIT, "split").to_pylist()
    damaged = key(next(row["id"] for row in split if row["side"] == side), view)
    store = FeatureStore(copied.paths.features)
    ids = store.ids()
    vectors = dict(zip(ids, store.read(ids), strict=True))
    vectors |= {key(name, view): vectors[name].copy() for name in ids}
    vectors[damaged][3] = np.nan
    store.keep_only(set())
    store.append(vectors.items(), len(vectors[damaged]))
    assert main([command, "-C", str(copied.paths.root)]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: features of pictures of the side `{side}` are infinite or no numbers"
    assert hint.startswith("hint: remove data/features and run `dvc repro --force embed`")


def test_tables_tell_what_the_metrics_say(exported):
    rows = predictions(exported)
    right = [row["actual"] == row["predicted"] for row in rows]
    assert np.mean(right) == pytest.approx(measured(exported)["accuracy"], abs=1e-4)
    assert all(float(row["warm"]) + float(row["cold"]) == pytest.approx(1, abs=2e-4) for row in rows)
    test = {
        row["id"]
        for row in tables.read(exported.paths.split, tables.SPLIT, "split").to_pylist()
        if row["side"] == "test"
    }
    assert {row["id"] for row in rows} == test


def test_report_is_one_page_that_escapes_labels_and_asks_for_nothing(exported):
    page = (exported.paths.reports / "index.html").read_text(encoding="utf-8")
    assert "暖 &lt;b&gt;warm&lt;/b&gt;" in page
    assert "<b>warm</b>" not in page
    assert 'src="http' not in page
    assert "<link" not in page
    assert page.count('"image": ') == 20  # each test picture once


def test_figures_are_pictures(exported):
    for name in ("confusion.png", "predictions.png", "highest_losses.png"):
        assert images.inspect((exported.paths.reports / "figures" / name).read_bytes()).width > 300


def test_everything_is_the_same_twice(copied, exported):
    copied.run(*STAGES)
    copied.export_alone()
    for folder in ("classifier", "export"):
        for path in sorted((exported.paths.root / "models" / folder).rglob("*")):
            if path.is_file():
                twin = copied.paths.root / path.relative_to(exported.paths.root)
                assert twin.read_bytes() == path.read_bytes(), path.name
    for path in exported.paths.reports.rglob("*"):
        if path.is_file():
            assert (copied.paths.root / path.relative_to(exported.paths.root)).read_bytes() == path.read_bytes(), (
                path.name
            )


def test_what_makes_a_picture_square_is_honoured_and_handed_on(tmp_path, tiles_backbone, exported):
    vectors = {}
    for aspect in ("crop", "pad", "stretch"):
        project = make(tmp_path / aspect, tiles_backbone)
        project.configure(classes=CLASSES, split={"method": "stratified"}, embed={"aspect": aspect})
        project.run("embed", "clean", "split", "train")
        row, engine = project.rows[0], Engine(project.paths.backbone / "backbone.tflite")
        pixels = images.load((project.paths.raw / row["path"]).read_bytes(), 32, aspect)
        vectors[aspect] = FeatureStore(project.paths.features).read([row["sha256"]])[0]
        assert np.array_equal(vectors[aspect], engine(pixels))
        assert json.loads((project.paths.classifier / "classifier.json").read_text())["input"] == {"aspect": aspect}
    assert len({vector.tobytes() for vector in vectors.values()}) == 3
    card = json.loads((exported.paths.export / "model.json").read_text(encoding="utf-8"))
    assert card["input"] == {"size": 32, "aspect": "stretch"}


def test_a_damaged_classifier_is_named(copied):
    (copied.paths.classifier / "head.npz").write_bytes(b"PK\x03\x04nonsense")
    with pytest.raises(ModelError, match=r"head\.npz is damaged"):
        copied.run("evaluate")
