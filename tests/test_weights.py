"""Pictures count in training as data/weights.csv says, and a list that cannot be right is refused."""

import dataclasses

import numpy as np
import pytest
from blobs import blobs
from projects import Project, picture

from imageloom import tables, train, weights
from imageloom.errors import DataError
from imageloom.features import FeatureStore
from imageloom.recipes import classical, dense, probe
from imageloom.recipes.classical import ClassicalParams
from imageloom.recipes.dense import HeadParams
from imageloom.recipes.probe import ProbeParams
from imageloom.recipes.standard import picture_weights

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
PICTURES = [
    {"id": A, "url": "http://site/片/cat%20one.jpg?size=2"},
    {"id": B, "url": "file:data/pictures/cats/猫 zwölf.png"},
    {"id": C, "url": "http://other/cat%20one.jpg"},
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"id,weight\n{B},0.5\n", {B: 0.5}),
        ("weight,url\n2,file:data/pictures/cats/猫 zwölf.png\n", {B: 2}),
        ("file,weight\ncat one.jpg,0.25\n猫 zwölf.png,3\n", {A: 0.25, B: 3, C: 0.25}),
        ("file,weight\ncat%20one.jpg,1e-3\n", {A: 0.001, C: 0.001}),
        ("\ufefffile,weight\r\n猫 zwölf.png,3\r\n猫 zwölf.png,3\r\n", {B: 3}),
        ("file,weight\n猫 zwo\u0308lf.png,3\n", {B: 3}),  # as a Mac writes it
        ("file,weight\n", {}),
    ],
)
def test_pictures_are_named_by_id_address_or_file(tmp_path, text, expected):
    (tmp_path / "weights.csv").write_bytes(text.encode())
    assert weights.read(tmp_path / "weights.csv", PICTURES) == expected


def test_without_a_list_no_picture_is_listed(tmp_path):
    assert weights.read(tmp_path / "weights.csv", PICTURES) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns none"),
        ("file\ncat.jpg\n", "has the columns file"),
        ("file,weight,note\ncat.jpg,1,x\n", "has the columns file, weight, note"),
        ("id,file,weight\n", "has the columns id, file, weight"),
        ("name,weight\n", "has the columns name, weight"),
        (
            "file,weight\ncat one.jpg,1\ncat one.jpg,-2\n",
            r"weights\.csv:3: the weight must be a number above 0, from 1e-06 to 1e\+06, not '-2'",
        ),
        ("file,weight\ncat one.jpg,0\n", "number above 0"),
        ("file,weight\ncat one.jpg,nan\n", "number above 0"),
        ("file,weight\ncat one.jpg,inf\n", "number above 0"),
        ("file,weight\ncat one.jpg,1e300\n", "number above 0"),
        ("file,weight\ncat one.jpg,1e-300\n", "number above 0"),
        ("file,weight\ncat one.jpg,half\n", "not 'half'"),
        ("file,weight\ncat one.jpg\n", "not None"),
        ("file,weight\ncat one.jpg,1\ncat one.jpg,2\n", r"weights\.csv:3: cat one\.jpg has two weights"),
        ('file,weight\n"cat,1\n', "cannot read"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused(tmp_path, text, message):
    (tmp_path / "weights.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        weights.read(tmp_path / "weights.csv", PICTURES)


def test_a_list_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "weights.csv").write_bytes("file,weight\ncafé,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="cannot read"):
        weights.read(tmp_path / "weights.csv", PICTURES)


def test_names_of_no_picture_are_told(tmp_path, capsys):
    (tmp_path / "weights.csv").write_text("file,weight\ndog.jpg,1\n猫 zwölf.png,2\nemu.jpg,1\n", encoding="utf-8")
    assert weights.read(tmp_path / "weights.csv", PICTURES) == {B: 2}
    assert "weights.csv names 2 pictures not among those here, such as dog.jpg" in capsys.readouterr().err


def test_weights_keep_classes_balanced_and_their_sum():
    labels, own = np.array([0, 0, 0, 1, 1]), np.array([1, 2, 3, 1, 1.0])
    found = picture_weights(labels, own, 2, balanced=True)
    assert found.sum() == pytest.approx(5)
    assert found[:3].sum() == found[3:].sum()
    assert found[:3] == pytest.approx(own[:3] * found[0])
    plain = picture_weights(labels, own, 2, balanced=False)
    assert plain == pytest.approx(own * 5 / 8)
    assert picture_weights(labels, np.ones(5), 2, balanced=False).tolist() == [1] * 5


RECIPES = {
    "probe": (probe.fit, ProbeParams(c=[0.1], balanced=False)),
    "head": (dense.fit, HeadParams(epochs=10, learning_rate=0.01, balanced=False)),
    "svm": (classical.fit, ClassicalParams(method="svm", c=[1], balanced=False)),
    "tree": (classical.fit, ClassicalParams(method="tree", depths=[3], balanced=False)),
    "forest": (classical.fit, ClassicalParams(method="forest", leaves=[9], trees=30, balanced=False)),
    "xgboost": (classical.fit, ClassicalParams(method="xgboost", rounds=[20], balanced=False)),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_labels_that_are_doubted_mislead_less_the_less_they_weigh(recipe, tmp_path):
    fit, params = RECIPES[recipe]
    sides = [blobs(2, [90, 90], 0.5), blobs(2, [30, 30], 0.5, seed=1)]
    test = blobs(2, [200, 200], 0.5, seed=2)
    for side in sides:
        doubted = np.flatnonzero(side.classes == 1)[: int(0.7 * (side.classes == 1).sum())]
        side.classes[doubted] = 0  # seven of ten of a class are said to be of the other, by somebody who is not sure
        object.__setattr__(side, "weights", np.where(np.isin(np.arange(len(side.classes)), doubted), 0.01, 1.0))
    alike = [dataclasses.replace(side, weights=np.full(len(side.classes), 3.0)) for side in sides]
    unsaid = [dataclasses.replace(side, weights=np.empty(0)) for side in sides]
    heads = {name: fit(*pair, 2, params).head for name, pair in (("w", sides), ("a", alike), ("n", unsaid))}
    right = {
        name: (head.probabilities(test.features).argmax(axis=1) == test.classes).mean() for name, head in heads.items()
    }
    assert right["w"] > 0.75
    assert right["w"] > right["n"] + 0.2
    assert np.allclose(heads["a"].probabilities(test.features), heads["n"].probabilities(test.features), atol=1e-4)


def test_what_cannot_weigh_says_so(capsys):
    train, validation = blobs(2, [40, 40], 0.5), blobs(2, [10, 10], 0.5, seed=1)
    params = ClassicalParams(method="knn")
    classical.fit(train, validation, 2, params)
    assert "cannot weigh" not in capsys.readouterr().err
    weighed = dataclasses.replace(train, weights=np.linspace(0.5, 1, 80))
    classical.fit(weighed, validation, 2, params)
    assert "knn cannot weigh pictures" in capsys.readouterr().err


def test_the_split_hands_weights_on_to_training(tmp_path):
    project = Project(tmp_path, classes=[{"name": "warm"}, {"name": "cold"}], split={"method": "stratified"})
    for offset, name in enumerate(("warm", "cold")):
        project.add(name, [picture(name, seed + 100 * offset, 40) for seed in range(15)])
    project.run("clean", "split")
    before = project.paths.split.read_bytes()
    rows = tables.read(project.paths.split, tables.SPLIT, "split").to_pylist()
    assert {row["weight"] for row in rows} == {1}
    project.paths.weights.write_text(f"id,weight\n{rows[0]['id']},0.25\n{rows[1]['id']},0.25\n", encoding="utf-8")
    project.run("split")
    assert project.paths.split.read_bytes() != before
    table = tables.read(project.paths.split, tables.SPLIT, "split")
    _, sides = train.read(table, project.paths)
    for side, data in sides.items():
        told = {row["id"]: row["weight"] for row in table.to_pylist() if row["side"] == side}
        assert data.weights.tolist() == list(told.values())
        assert np.array_equal(data.features, FeatureStore(project.paths.features).read(list(told)))
    assert sum(row["weight"] == 0.25 for row in table.to_pylist()) == 2
    project.paths.weights.unlink()
    project.run("split")
    assert project.paths.split.read_bytes() == before


def test_a_split_of_an_older_version_weighs_all_alike(tmp_path):
    import pyarrow.parquet as pq

    older = tables.SPLIT.remove(tables.SPLIT.get_field_index("weight"))
    row = {"id": A, "class": "x", "path": "x/a.png", "group": A, "side": "train"}
    pq.write_table(tables.from_rows([row], older), tmp_path / "split.parquet")
    assert tables.read(tmp_path / "split.parquet", tables.SPLIT, "split").to_pylist() == [row | {"weight": None}]
