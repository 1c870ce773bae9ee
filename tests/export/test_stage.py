"""The stage `export`: what it writes fits together, answers as the classifier, and is refused where it does not."""

import csv
import dataclasses
import importlib.util
import json
import shutil

import numpy as np
import pytest
from projects import Project, picture

from imageloom import card, files, graphs, images, tables, tflite_metadata
from imageloom.errors import DataError, ModelError
from imageloom.export import check, onnx, quantise, saved_model, tflite
from imageloom.export.stage import FILES, Params, _Sources, _tensors, prepare
from imageloom.features import FeatureStore
from imageloom.ood import Detector
from imageloom.predictor import Predictor
from imageloom.recipes.head import Head
from imageloom.tflite_editor import Graph
from imageloom.tflite_graph import TFLiteGraph

CLASSES = [{"name": "warm", "label": "暖 <b>warm</b>"}, {"name": "cold", "label": "冷 & $cold$"}]
STAGES = ("embed", "clean", "split", "train")
TITLES = {"float32": "TFLite", "float16": "TFLite float16", "int8": "TFLite int8", "saved_model": "SavedModel"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiles_backbone) -> Project:
    root = tmp_path_factory.mktemp("all") / "项目 one"
    weak = {"probe": {"c": [0.001]}}  # so that no answer is so sure that a wrong bias would not show
    project = Project(root, classes=CLASSES, split={"method": "stratified"}, embed={"aspect": "stretch"}, train=weak)
    shutil.copytree(tiles_backbone, project.paths.backbone)
    for offset, (name, number) in enumerate({"warm": 60, "cold": 40}.items()):
        project.add(name, [picture(name, seed + 1000 * offset, 40, height=60) for seed in range(number)])
    project.run(*STAGES)
    project.export_alone()
    return project


@pytest.fixture
def copied(exported, tmp_path) -> Project:
    return exported.copied(tmp_path / "copy")


@pytest.fixture
def held_out(exported) -> tuple[list[bytes], np.ndarray]:
    """Test pictures and the calibrated classifier's probabilities, float32[N, K]."""
    rows = [
        row for row in tables.read(exported.paths.split, tables.SPLIT, "split").to_pylist() if row["side"] == "test"
    ]
    about = json.loads((exported.paths.classifier / "classifier.json").read_text())
    temperature = about["calibration"]["temperature"]
    assert temperature != 1  # or it would not show that an export forgets it
    head = Head.load(exported.paths.classifier / "head.npz").tempered(temperature)
    expected = head.probabilities(FeatureStore(exported.paths.features).read([row["id"] for row in rows]))
    return [(exported.paths.raw / row["path"]).read_bytes() for row in rows], expected


@pytest.mark.parametrize(("name", "tolerance"), [("float32", 1e-5), ("float16", 0.02), ("int8", 0.1)])
def test_every_tflite_answers_as_the_calibrated_classifier(exported, held_out, name, tolerance):
    predictor = Predictor(exported.paths.export, name)
    data, expected = held_out
    answers = [predictor.predict(one) for one in data]
    assert np.array([one.probabilities for one in answers]) == pytest.approx(expected, abs=tolerance)
    assert all(np.isfinite(one.distance) for one in answers)
    assert np.mean([one.known for one in answers]) > 0.8


def test_saved_model_takes_any_number_of_pictures_in_three_ways(exported, held_out):
    import tensorflow as tf

    data, expected = held_out
    model = tf.saved_model.load(str(exported.paths.export / "saved_model"))
    pixels = tf.constant(np.stack([images.load(one, 32, "stretch") for one in data]))
    assert model.signatures["serving_default"](images=pixels)["probabilities"].numpy() == pytest.approx(
        expected, abs=1e-5
    )
    of_bytes = model.signatures["serving_bytes"](images=tf.constant(data))["probabilities"].numpy()
    assert of_bytes == pytest.approx(expected, abs=0.02)
    inside = model.signatures["features"](images=pixels)
    head = Head.load(exported.paths.export / "head.npz")
    assert head.probabilities(inside["features"].numpy()) == pytest.approx(expected, abs=1e-5)
    assert inside["probabilities"].numpy() == pytest.approx(expected, abs=1e-5)


def test_labels_are_in_every_file(exported):
    expected = [spec["label"] for spec in CLASSES]
    folder = exported.paths.export
    for path in (folder / "labels.txt", folder / "saved_model" / "assets" / "labels.txt"):
        assert path.read_text(encoding="utf-8").splitlines() == expected
    for name in ("float32", "float16", "int8"):
        assert tflite_metadata.read((folder / FILES[name]).read_bytes()).labels == tuple(expected)


def test_model_json_and_the_table_tell_what_is_there(exported):
    folder = exported.paths.export
    content = card.read(folder).content
    assert set(content["formats"]) == set(TITLES)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"model.json"}
    assert {name: files.sha256(folder / name) for name in there} == content["files"]
    with (exported.paths.reports / "export.csv").open(encoding="utf-8") as file:
        rows = {row["format"]: row for row in csv.DictReader(file)}
    for name, entry in content["formats"].items():
        sizes = [
            path.stat().st_size
            for path in (folder / entry["file"], *(folder / entry["file"]).rglob("*"))
            if path.is_file()
        ]
        assert entry["bytes"] == sum(sizes) == int(rows[name]["bytes"])
        assert entry["accuracy"] == float(rows[name]["accuracy"])
        assert entry["agreement"] == float(rows[name]["agreement"]) >= 0.9
        assert entry["known_agreement"] == float(rows[name]["known_agreement"]) >= 0.9
        assert 0.8 < float(rows[name]["known"]) <= 1
        assert float(rows[name]["feature_error"]) < {"float16": 0.01, "int8": 0.1}.get(name, 1e-4)
    assert content["formats"]["int8"]["bytes"] < content["formats"]["float32"]["bytes"] * 1.5


def test_the_model_tells_on_which_pictures_it_was_trained(exported):
    known = card.read(exported.paths.export).trained_on()
    rows = tables.read(exported.paths.split, tables.SPLIT, "split").to_pylist()
    assert {row["side"] for row in rows if row["id"] in known} == {"train", "validation"}
    assert {row["side"] for row in rows if row["id"] not in known} == {"test"}


def test_every_format_is_known_by_the_bounds_of_the_classifier(copied):
    path = copied.paths.classifier / "classifier.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    about["known"] |= {"min_confidence": 0.625, "max_distance": 1.75, "precision": 0.875}
    path.write_text(json.dumps(about), encoding="utf-8")
    copied.run("export")
    for name, entry in card.read(copied.paths.export).content["formats"].items():
        assert entry["known"] == about["known"]
        assert entry["temperature"] == about["calibration"]["temperature"]
        if name != "saved_model":  # whose backbone pools tiles and has no map
            assert entry.items() >= _tensors(copied.paths.export / FILES[name]).items()
            assert entry["features"] is not None


def test_a_map_that_is_pooled_is_found(colour_tflite, tmp_path):
    (tmp_path / "model.tflite").write_bytes(colour_tflite)
    found = _tensors(tmp_path / "model.tflite")
    graph = TFLiteGraph(colour_tflite)
    assert len(graph.shape(found["map"])) == 4
    assert graph.shape(found["map"])[-1] == graph.shape(found["features"])[-1]


def test_int8_is_fitted_on_training_pictures(copied, monkeypatch):
    seen, right = [], quantise.backbone

    def watched(content, pictures):
        seen.append(pictures)
        return right(content, pictures)

    monkeypatch.setattr(quantise, "backbone", watched)
    copied.configure(export={"formats": ["int8"], "representative": 10})
    copied.run("export")
    rows = tables.read(copied.paths.split, tables.SPLIT, "split").to_pylist()
    train = [row for row in rows if row["side"] == "train"][:10]
    (pictures,) = seen
    assert np.array_equal(pictures.features, FeatureStore(copied.paths.features).read([row["id"] for row in train]))
    paths = [copied.paths.raw / row["path"] for row in train]
    assert np.array_equal(pictures.pixels, check.load(paths, 32, "stretch"))


def test_another_clone_gets_the_same_bytes(copied, exported):
    shutil.rmtree(copied.paths.export)
    copied.export_alone()
    names = {path.relative_to(copied.paths.export) for path in copied.paths.export.rglob("*") if path.is_file()}
    assert names == {
        path.relative_to(exported.paths.export) for path in exported.paths.export.rglob("*") if path.is_file()
    }
    for name in names:
        assert (copied.paths.export / name).read_bytes() == (exported.paths.export / name).read_bytes(), name
    assert (copied.paths.reports / "export.csv").read_bytes() == (exported.paths.reports / "export.csv").read_bytes()


def test_int8_is_measured_on_all_test_pictures_and_the_others_on_as_many_as_asked(copied, exported):
    copied.configure(export={"formats": ["int8"], "check": 7})  # 20 are not a multiple
    copied.run("export")
    with (copied.paths.reports / "export.csv").open(encoding="utf-8") as file:
        rows = {row["format"]: row for row in csv.DictReader(file)}
    assert {name: int(row["pictures"]) for name, row in rows.items()} == {"float32": 7, "saved_model": 7, "int8": 20}
    with (exported.paths.reports / "export.csv").open(encoding="utf-8") as file:
        at_once = {row["format"]: row for row in csv.DictReader(file)}
    assert rows["int8"] == at_once["int8"]


def test_a_class_that_came_after_the_classifier_is_told_of(copied):
    path = copied.paths.classifier / "classifier.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    gone = about["classes"][-1]["name"]
    about["classes"][-1]["name"] = "another"
    sources = _Sources({"image_size": 32}, about, reference(), [], copied.paths)
    with pytest.raises(DataError, match=f"does not know the class {gone}"):
        sources.test_pictures([{"class": gone}])


def test_without_test_pictures_it_is_told_what_to_do(copied):
    table = tables.read(copied.paths.split, tables.SPLIT, "split")
    tables.write(copied.paths.split, [row for row in table.to_pylist() if row["side"] != "test"], tables.SPLIT)
    copied.configure(export={"formats": []})
    with pytest.raises(DataError, match="there are no pictures to try the model on") as told:
        copied.run("export")
    assert "split.test" in told.value.hint


def test_float32_and_saved_model_alone_where_no_more_is_asked(copied):
    copied.configure(export={"formats": []})
    copied.run("export")
    assert set(card.read(copied.paths.export).content["formats"]) == {"float32", "saved_model"}
    assert not (copied.paths.export / FILES["int8"]).exists()


def spoil_head(monkeypatch) -> None:
    right = tflite.add_head

    def wrong(graph, head):
        return right(graph, Head(head.kernel, head.bias + np.array([0.5, 0], np.float32)))

    monkeypatch.setattr(tflite, "add_head", wrong)


def spoil_saved_model(monkeypatch) -> None:
    right = graphs.save

    def wrong(module, *args, **more):
        module.bias.assign_add([0.5, 0])
        return right(module, *args, **more)

    monkeypatch.setattr(graphs, "save", wrong)


def spoil_float16(monkeypatch) -> None:
    right = Graph.halve

    def wrong(self):
        for tensor in self._graph.tensors:
            if tensor.name == "bias":
                self._model.buffers[tensor.buffer].data = np.array([9, -9], np.float32).view(np.uint8)
        right(self)

    monkeypatch.setattr(Graph, "halve", wrong)


def spoil_known(monkeypatch) -> None:
    right = check.tflite

    def wrong(path):
        answer = right(path)
        far = 100 if path.name == FILES["float16"] else 0
        return lambda pixels: (answer(pixels)[0], answer(pixels)[1] - far * np.eye(48, dtype=np.float32)[0])

    monkeypatch.setattr(check, "tflite", wrong)


def spoil_features(monkeypatch) -> None:
    right = saved_model.answer

    def wrong(path):
        answer = right(path)
        return lambda pixels: (answer(pixels)[0], 1.01 * answer(pixels)[1])

    monkeypatch.setattr(saved_model, "answer", wrong)


def spoil_int8(monkeypatch) -> None:
    monkeypatch.setattr(quantise, "lines", lambda found, wanted: (0 * found[0], wanted[::-1].mean(axis=0)))


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("float32", spoil_head, "differs from the evaluated classifier by"),
        ("saved_model", spoil_saved_model, "differs from the evaluated classifier by"),
        ("float16", spoil_known, "knows 20 of 20 test pictures otherwise than the evaluated classifier"),
        ("saved_model", spoil_features, "has features that differ from those that were evaluated by"),
        ("float16", spoil_float16, "of 20 test pictures otherwise than the evaluated classifier"),
        ("int8", spoil_int8, "less than the evaluated classifier"),
    ],
)
def test_one_format_that_is_wrong_fails_the_stage_and_keeps_the_old_model(copied, name, spoil, message, monkeypatch):
    spoil(monkeypatch)
    before = (copied.paths.export / "model.json").read_bytes()
    with pytest.raises(ModelError, match=f"^{TITLES[name]} .*{message}"):
        copied.run("export")
    assert (copied.paths.export / "model.json").read_bytes() == before


def test_a_backbone_that_is_not_the_features_fails_the_stage(copied):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for part in copied.paths.features.glob("part-*"):  # what was evaluated is no longer what the backbone gives
        table = pq.read_table(part)
        values = table["vector"].combine_chunks().flatten().to_numpy()[::-1].copy()
        changed = pa.FixedSizeListArray.from_arrays(pa.array(values), 48)
        pq.write_table(table.set_column(1, table.schema.field("vector"), changed), part)
    with pytest.raises(ModelError, match=r"^TFLite ."):
        copied.run("export")


def test_onnx_without_its_packages_is_told_before_anything_is_made(copied, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else found(name))
    copied.configure(export={"formats": ["onnx"]})
    with pytest.raises(ModelError, match="needs the package tf2onnx") as told:
        copied.run("export")
    assert "uv pip install tf2onnx onnxruntime" in told.value.hint


def measure(pictures: int, lost: int, won: int, known_otherwise: int = 0, feature_error: float = 0.0) -> check.Measure:
    return check.Measure(
        pictures,
        right=pictures - lost,
        others=lost + won,
        lost=lost,
        won=won,
        known=pictures - known_otherwise,
        known_otherwise=known_otherwise,
        difference=0.5,
        feature_error=feature_error,
    )


def reference() -> check.Reference:
    """A classifier of three features, each of which speaks for its class."""
    features = np.random.default_rng(0).normal(1, 0.1, (200, 3)).astype(np.float32)
    bounds = {"min_confidence": 0.6, "max_distance": 3.0}
    return check.Reference(Head(np.eye(3, dtype=np.float32), np.zeros(3, np.float32)), Detector.fit(features), bounds)


def test_answers_features_and_what_is_known_are_all_compared():
    evaluated, classes = np.array([[3, 1, 1], [1, 3, 1], [1, 1, 1.2], [1, 1, 3]], np.float32), np.array([0, 1, 2, 0])
    pictures = check.Pictures(np.zeros((4, 1, 1, 3), np.uint8), classes, evaluated)
    same, bounds = reference(), {"min_confidence": 0.6, "max_distance": 100.0}
    easy = check.Reference(same.head, same.detector, bounds)

    def answer(features):
        return lambda pixels: (same.head.probabilities(features), features)

    found = check.measure(answer(evaluated), pictures, easy)
    assert found == check.Measure(
        4, right=3, others=0, lost=0, won=0, known=3, known_otherwise=0, difference=0, feature_error=0
    )
    other = evaluated.copy()
    other[1], other[2] = (3, 1, 1), (1, 1, 4)  # another answer, and one that is now sure
    found = check.measure(answer(other), pictures, easy)
    assert (found.right, found.others, found.lost, found.won) == (2, 1, 1, 0)
    assert (found.known, found.known_otherwise) == (4, 1)
    assert found.known_agreement == 0.75
    assert found.feature_error == pytest.approx(2.8 / np.sqrt(3.44))
    assert check.measure(answer(evaluated), pictures, same).known == 0  # none is near
    better = evaluated.copy()
    better[3] = evaluated[0]
    found_better = check.measure(answer(better), pictures, easy)
    assert (found_better.right, found_better.others, found_better.lost, found_better.won) == (4, 1, 0, 1)
    assert found_better.drop == -0.25
    both = check.measure(answer(evaluated), pictures, easy) + found
    assert (both.pictures, both.known, both.known_otherwise) == (8, 7, 1)
    assert both.feature_error == found.feature_error
    other[0] = np.nan
    assert np.isnan((found + check.measure(answer(other), pictures, easy)).feature_error)


def test_features_that_are_no_numbers_are_not_the_same():
    check.require_same("SavedModel", dataclasses.replace(measure(9, 0, 0), difference=0.0), 1e-3)
    for wrong in (0.002, float("nan")):
        found = dataclasses.replace(measure(9, 0, 0, feature_error=wrong), difference=0.0)
        with pytest.raises(ModelError, match="SavedModel has features that differ"):
            check.require_same("SavedModel", found, 1e-3)


def test_what_is_known_may_differ_on_as_many_pictures_as_chance_explains():
    check.require_agreement("float16", measure(433, 0, 0, known_otherwise=3), 0.002)
    with pytest.raises(ModelError, match=r"knows 4 of 433 test pictures otherwise .*, over 0\.20%"):
        check.require_agreement("float16", measure(433, 0, 0, known_otherwise=4), 0.002)


def test_a_loss_of_more_than_is_allowed_fails_whether_chance_may_bring_it_or_not():
    with pytest.raises(ModelError, match=r"8\.0% less than the evaluated classifier; at most 1\.0% is allowed"):
        check.require_accurate("int8", measure(500, lost=50, won=10), 0.01)
    with pytest.raises(ModelError, match=r"2\.5% less .* \(by chance as much with p = 0\.077\)"):
        check.require_accurate("int8", measure(200, lost=15, won=10) + measure(200, lost=10, won=5), 0.01)
    check.require_accurate("int8", measure(48, lost=4, won=0), 0.01)
    with pytest.raises(ModelError, match=r"10\.4% less .* p = 0\.031"):
        check.require_accurate("int8", measure(48, lost=5, won=0), 0.01)
    check.require_accurate("int8", measure(399, lost=9, won=3), 0.01)
    with pytest.raises(ModelError, match=r"1\.5% less"):
        check.require_accurate("int8", measure(400, lost=9, won=3), 0.01)
    check.require_accurate("int8", measure(500, lost=55, won=50), 0.01)
    with pytest.raises(ModelError, match=r"1\.2% less"):
        check.require_accurate("int8", measure(500, lost=56, won=50), 0.01)
    check.require_accurate("int8", measure(500, lost=50, won=10), 0.09)


def test_chance_is_that_of_a_fair_coin():
    assert measure(100, lost=5, won=0).chance == pytest.approx(1 / 32)
    assert measure(100, lost=0, won=0).chance == 1
    assert measure(100, lost=8, won=2).chance == pytest.approx((45 + 10 + 1) / 1024)


def test_one_picture_may_differ_and_two_of_few_may_not():
    check.require_agreement("float16", measure(9, lost=1, won=0), 0.002)
    check.require_agreement("float16", measure(200, lost=1, won=1), 0.002)
    with pytest.raises(ModelError, match="answers 2 of 100 test pictures otherwise"):
        check.require_agreement("float16", measure(100, lost=1, won=1), 0.002)


def test_formats_are_what_the_parameters_say():
    assert Params().formats == ["float32", "float16", "int8"]


@pytest.mark.parametrize(("classes", "aspect", "anew"), [(2, "stretch", 0), (3, "stretch", 1), (2, "crop", 1)])
def test_what_was_prepared_ahead_is_the_same_model_whatever_was_expected(copied, monkeypatch, classes, aspect, anew):
    picture_ = np.full((1, 32, 32, 3), 77, np.uint8)
    before = saved_model.answer(copied.paths.export / "saved_model")(picture_)
    module = graphs.tensorflow().saved_model.load(str(copied.paths.backbone / "saved_model"))
    shutil.rmtree(copied.paths.backbone / "saved_model")  # it is not needed any more
    prepare(copied.paths, module, aspect, classes)
    traced, trace = [], saved_model._prepared
    monkeypatch.setattr(saved_model, "_prepared", lambda *asked: traced.append(asked) or trace(*asked))
    copied.run("export")
    assert len(traced) == anew
    after = saved_model.answer(copied.paths.export / "saved_model")(picture_)
    assert [one.tolist() for one in after] == [one.tolist() for one in before]
