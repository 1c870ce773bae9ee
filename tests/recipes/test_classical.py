"""Every classical method learns real digits, on pixels or features, and is exported and served as it was evaluated."""

import functools
import io
import json
import os
import pickle
import shutil
import sys
import urllib.request
import zipfile
from pathlib import Path

import digits
import numpy as np
import pytest
import skops.io
from blobs import blobs
from projects import Project
from servers import serving
from threadpoolctl import threadpool_info, threadpool_limits

from imageloom import cli, files, runtimes, track
from imageloom.errors import DataError, ModelError
from imageloom.estimator import Estimator
from imageloom.evaluate import outcome
from imageloom.predictor import EstimatorPredictor, _load_pyfunc, of_folder
from imageloom.recipes import classical, flat
from imageloom.recipes.classical import ClassicalParams, fit
from imageloom.recipes.head import Head

METHODS = ("tree", "knn", "svm", "forest", "xgboost", "kmeans")

CLASSES = [{"name": name, "label": label} for name, label in (("nil", "零 0"), ("three", "三"), ("six", "六 <b>6</b>"))]

QUICK = {"trees": 40, "rounds": [30]}


def configure(project: Project, **classical_params: object) -> None:
    sections = {"recipe": "classical", "classical": QUICK | classical_params}
    project.configure(classes=CLASSES, split={"method": "stratified"}, embed={"aspect": "stretch"}, train=sections)


@pytest.fixture(scope="module")
def written(tmp_path_factory, tiles_backbone) -> Project:
    """A project of 150 pictures, up to their split."""
    project = Project(tmp_path_factory.mktemp("digits") / "数字 one")
    configure(project)
    shutil.copytree(tiles_backbone, project.paths.backbone)
    for spec, number in zip(CLASSES, digits.DIGITS, strict=True):
        project.add(spec["name"], digits.pictures(number))
    project.run("embed", "clean", "split")
    return project


def about(project: Project) -> dict:
    return json.loads((project.paths.classifier / "classifier.json").read_text(encoding="utf-8"))


def shown(project: Project, said: outcome.Outcome) -> list[bytes]:
    return [(project.paths.raw / row["path"]).read_bytes() for row in said.rows]


# Each method once; half of them on pixels.
WAYS = {
    "tree": ("pixels", 0.85),
    "knn": ("pixels", 0.95),
    "svm": ("features", 0.95),
    "forest": ("features", 0.95),
    "xgboost": ("features", 0.85),
    "kmeans": ("pixels", 0.85),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_served_as_it_was_evaluated(written, method):
    on, least = WAYS[method]
    configure(written, method=method, on=on, size=16)
    written.run("train", "export")
    said = outcome.read(written.paths)
    assert said.right.mean() >= least
    assert about(written)["fitted"]["method"] == method
    model = of_folder(written.paths.export)
    assert isinstance(model, EstimatorPredictor)
    assert model.size == (16 if on == "pixels" else 32)
    answers = [model.predict(data) for data in shown(written, said)]
    assert np.allclose([answer.probabilities for answer in answers], said.probabilities, atol=1e-6)
    assert [answer.known for answer in answers] == said.known.tolist()
    assert np.allclose([answer.distance for answer in answers], said.distances, rtol=2e-3)
    assert {answer.label for answer in answers} == {spec["label"] for spec in CLASSES}


@pytest.fixture(scope="module")
def finished(written) -> Project:
    """An SVM on grey pixels, from training to export."""
    configure(written, method="svm", on="pixels", size=16)
    written.run("train", "evaluate", "export")
    return written


def test_a_report_is_written_and_shows_what_covering_parts_takes_away(finished):
    metrics = json.loads((finished.paths.reports / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] > 0.95
    page = (finished.paths.reports / "index.html").read_text(encoding="utf-8")
    assert '"evidence": ' in page
    assert "pixels, grey" in page


def test_heat_maps_come_from_covering_parts(finished):
    model, said = of_folder(finished.paths.export), outcome.read(finished.paths)
    assert not model.has_map
    unsure = shown(finished, said)[int(said.sure.argmin())]
    assert model.heatmap(model.load(unsure)).max() > 0.01


@pytest.mark.parametrize("named", ["", "model.skops"])
def test_the_server_answers(finished, named):
    said = outcome.read(finished.paths)
    with serving(finished.paths.export / named) as (address, _):
        for row, data in enumerate(shown(finished, said)[:3]):
            with urllib.request.urlopen(f"{address}/predict", data) as answer:
                told = json.load(answer)
            assert told["label"] == said.classes[said.predicted[row]]["label"]
            assert told["known"] == said.known[row]
            assert told["predictions"][0]["probability"] == pytest.approx(float(said.sure[row]), abs=1e-5)


def test_mlflow_opens_it_as_any_model_and_is_told_what_it_needs(finished):
    import pandas as pd

    said = outcome.read(finished.paths)
    logged = _load_pyfunc(str(finished.paths.export)).predict(pd.DataFrame({"image": shown(finished, said)[:3]}))
    assert logged["label"].tolist() == [said.classes[number]["label"] for number in said.predicted[:3]]
    needed = track._result(track.Params(), finished.paths, None, {}).needed
    assert {"scikit-learn", "skops", "ai-edge-litert"} <= set(needed)


def test_the_command_line_answers(finished, capsys):
    picture = finished.paths.raw / finished.rows[0]["path"]
    assert cli.main(["predict", str(picture), "--model", str(finished.paths.export), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["label"] == CLASSES[0]["label"]


def test_a_skops_file_alone_is_refused_with_a_hint(finished, tmp_path):
    shutil.copy(finished.paths.export / Estimator.FILE, tmp_path / "mine.skops")
    with pytest.raises(ModelError, match="alone does not say") as caught:
        runtimes.open_model(str(tmp_path / "mine.skops"))
    assert "folder" in caught.value.hint


def test_an_altered_file_is_refused(finished, tmp_path):
    folder = Path(shutil.copytree(finished.paths.export, tmp_path / "export"))
    for name in (Estimator.FILE, "backbone.tflite"):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(ModelError, match="was altered"):
            of_folder(folder)
        shutil.copy(finished.paths.export / name, folder / name)
    of_folder(folder)


def test_a_network_that_gives_other_features_is_refused(finished, tmp_path):
    folder = Path(shutil.copytree(finished.paths.export, tmp_path / "export"))
    flat.write(tmp_path, 16, grey=False)
    shutil.copy(tmp_path / "backbone.tflite", folder)
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    card["files"]["backbone.tflite"] = files.sha256(folder / "backbone.tflite")
    (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ModelError, match=r"gives 768 features, and .* takes 256"):
        of_folder(folder)


def test_labels_that_mean_nothing_are_not_learnt():
    train, validation = blobs(3, [60] * 3, 0.5), blobs(3, [60] * 3, 0.5, seed=1)
    random = np.random.default_rng(0)
    shuffled = classical.Data(train.features, random.permutation(train.classes))
    for data, learns in ((train, True), (shuffled, False)):
        fitted = fit(data, validation, 3, ClassicalParams(method="knn"))
        assert bool((fitted.fresh.argmax(axis=1) == validation.classes).mean() > 0.6) == learns


@pytest.mark.parametrize("method", METHODS)
def test_the_same_data_give_the_same_bytes_with_any_number_of_threads(method, tmp_path, monkeypatch):
    train, validation = blobs(3, [40, 30, 20], 1), blobs(3, [20] * 3, 1, seed=1)
    params = ClassicalParams(method=method, **QUICK)
    for name, threads in (("a", 1), ("b", 4)):
        monkeypatch.setattr(classical, "cores", lambda number=threads: number)
        fit(train, validation, 3, params).head.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    other = ClassicalParams(method=method, **QUICK | {"seed": 8})
    if method in ("forest", "kmeans"):  # of the others the seed changes nothing here
        fit(train, validation, 3, other).head.save(tmp_path / "c")
        assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_saved_answers_the_same(method, tmp_path):
    train, validation = blobs(2, [40, 30], 1), blobs(2, [20] * 2, 1, seed=1)
    head = fit(train, validation, 2, ClassicalParams(method=method, **QUICK)).head
    calibrated = head.tempered(2.5)
    calibrated.save(tmp_path / Estimator.FILE)
    again = Estimator.load(tmp_path / Estimator.FILE)
    answers = again.probabilities(validation.features)
    assert answers.dtype == np.float32
    assert np.array_equal(answers, calibrated.probabilities(validation.features))
    assert np.allclose(answers.sum(axis=1), 1)
    assert answers.max() < head.probabilities(validation.features).max()
    assert answers.min() > 0


@pytest.mark.parametrize("method", METHODS)
def test_the_history_tells_what_was_tried_and_the_lowest_loss_is_taken(method):
    train, validation = blobs(3, [40, 30, 20], 1), blobs(3, [20] * 3, 1, seed=1)
    fitted = fit(train, validation, 3, ClassicalParams(method=method, **QUICK))
    losses = [row["validation_loss"] for row in fitted.history]
    assert [row["chosen"] for row in fitted.history].index(True) == losses.index(min(losses))
    assert [row["step"] for row in fitted.history] == list(range(1, len(losses) + 1))
    value = classical._METHODS[method].value
    (row,) = [row for row in fitted.history if row["chosen"]]
    assert fitted.chosen[value] == row[value]


@pytest.mark.parametrize("method", ["svm", "knn", "kmeans"])  # trees ask of one feature at a time
def test_in_what_unit_a_feature_is_measured_does_not_matter(method):
    units = np.float32(2) ** np.arange(-10, 10, dtype=np.float32)
    sides = blobs(3, [40, 30, 20], 1), blobs(3, [20] * 3, 1, seed=1)
    params = ClassicalParams(method=method)
    plain = fit(*sides, 3, params).fresh
    found = fit(*(classical.Data(side.features * units, side.classes) for side in sides), 3, params).fresh
    assert np.allclose(found, plain, atol=1e-5)


def test_clusters_are_as_pure_as_the_groups_that_there_are():
    train, validation = blobs(3, [60] * 3, 0.1), blobs(3, [40] * 3, 0.1, seed=1)
    apart = fit(train, validation, 3, ClassicalParams(method="kmeans", clusters=[1])).chosen
    assert apart["validation_purity"] == apart["validation_nmi"] == 1
    mixed = fit(*(blobs(3, [60] * 3, 8, seed=seed) for seed in (2, 3)), 3, ClassicalParams(method="kmeans")).chosen
    assert mixed["validation_purity"] < 0.8
    assert mixed["validation_nmi"] < 0.5


def test_rare_classes_weigh_as_much_as_common_ones():
    train, test = blobs(2, [300, 6], 1.5), blobs(2, [200, 200], 1.5, seed=1)
    recall = {}
    for balanced in (True, False):
        params = ClassicalParams(method="svm", c=[0.1], balanced=balanced)
        recall[balanced] = (fit(train, test, 2, params).head.probabilities(test.features).argmax(1) == 1)[200:].mean()
    assert recall[True] > recall[False] + 0.1


@pytest.mark.parametrize(("method", "values"), [("knn", {"neighbours": [9, 17]}), ("kmeans", {"clusters": [3, 5]})])
def test_more_than_there_are_pictures_is_refused(method, values):
    train, validation = blobs(2, [3, 2], 0.5), blobs(2, [2, 2], 0.5, seed=1)
    with pytest.raises(DataError, match=rf"train\.classical\.{next(iter(values))} asks for \d training") as caught:
        fit(train, validation, 2, ClassicalParams(method=method, **values))
    assert "smaller" in caught.value.hint
    fit(train, validation, 2, ClassicalParams(method=method))  # of the usual values those that can be


def test_xgboost_that_is_not_installed_is_told_with_its_command(monkeypatch, written, capsys):
    monkeypatch.setitem(sys.modules, "xgboost", None)  # what Python does where there is none: the import fails
    configure(written, method="xgboost")
    assert cli.main(["train", "-C", str(written.paths.root)]) == 2
    told = capsys.readouterr().err
    assert "error: train.classical.method is xgboost, which is not installed" in told
    assert "hint: install it by `uv pip install 'imageloom[xgboost]'`" in told


def test_a_model_of_xgboost_says_what_it_lacks(monkeypatch, tmp_path):
    train, validation = blobs(2, [20, 20], 1), blobs(2, [5, 5], 1, seed=1)
    fit(train, validation, 2, ClassicalParams(method="xgboost", rounds=[5])).head.save(tmp_path / Estimator.FILE)
    for name in ("xgboost", "xgboost.core", "xgboost.sklearn"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelError, match=r"xgboost, which .*model\.skops needs, is not installed") as caught:
        Estimator.load(tmp_path / Estimator.FILE)
    assert caught.value.hint == "uv pip install xgboost"


# What others may give for a classifier.


@pytest.fixture
def saved(tmp_path) -> Path:
    train, validation = blobs(2, [40, 30], 1), blobs(2, [20] * 2, 1, seed=1)
    fit(train, validation, 2, ClassicalParams(method="tree", depths=[4])).head.save(tmp_path / Estimator.FILE)
    return tmp_path / Estimator.FILE


def parts(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def put_together(path: Path, found: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in found.items():
            archive.writestr(name, content)


class Flag:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_file_that_names_other_types_is_refused_unopened(saved, tmp_path):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import FunctionTransformer

    trace = tmp_path / "trace"
    for hostile, name in (
        (functools.partial(os.mkdir, str(trace)), "partial"),
        (os.mkdir, "mkdir"),
        ({"model": LogisticRegression(), "pictures": 5, "classes": 2, "temperature": 1.0}, "LogisticRegression"),
        ({"model": FunctionTransformer(), "pictures": 5, "classes": 2, "temperature": 1.0}, "FunctionTr"),
    ):
        saved.write_bytes(skops.io.dumps(hostile))
        with pytest.raises(ModelError, match=f"holds .*{name}.* which no classifier of imageloom does") as caught:
            Estimator.load(saved)
        assert "do not trust" in caught.value.hint
    assert not trace.exists()


def test_a_pickle_is_not_opened(saved, tmp_path):
    saved.write_bytes(pickle.dumps(Flag(tmp_path / "trace")))
    with pytest.raises(ModelError, match="is damaged"):
        Estimator.load(saved)
    assert not (tmp_path / "trace").exists()
    pickle.loads(saved.read_bytes())  # the trace would be left
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize("field", ["left_child", "feature"])
def test_a_tree_that_leads_out_of_memory_is_refused(saved, field):
    found = parts(saved)
    Estimator.load(saved)
    for name, content in found.items():
        if b"left_child" in content[:400]:
            nodes = np.load(io.BytesIO(content))
            assert nodes[field][0] >= 0
            nodes[field][0] = 10**8
            buffer = io.BytesIO()
            np.save(buffer, nodes)
            found[name] = buffer.getvalue()
    put_together(saved, found)
    with pytest.raises(ModelError, match="leads nowhere"):
        Estimator.load(saved)


@pytest.mark.parametrize("field", ["_dual_coef_", "_intercept_", "_n_support"])
def test_support_vectors_that_do_not_fit_together_are_refused(tmp_path, field):
    train, validation = blobs(3, [20] * 3, 1), blobs(3, [5] * 3, 1, seed=1)
    head = fit(train, validation, 3, ClassicalParams(method="svm", c=[1])).head
    head.save(tmp_path / "whole")
    Estimator.load(tmp_path / "whole")
    vectors = head.model[-1]
    setattr(vectors, field, getattr(vectors, field)[..., :-1])
    head.save(tmp_path / "cut")
    with pytest.raises(ModelError, match="do not fit together"):
        Estimator.load(tmp_path / "cut")


@pytest.mark.parametrize("change", [{"more": 1}, {"clusters": np.ones((3, 9))}, {"pictures": 0}, {"model": "none"}])
def test_a_file_that_holds_something_else_is_damaged(saved, change):
    held = vars(Estimator.load(saved))
    saved.write_bytes(skops.io.dumps({name: value for name, value in (held | change).items() if value is not None}))
    with pytest.raises(ModelError, match="is damaged"):
        Estimator.load(saved)


def test_a_file_that_may_grow_is_refused(saved):
    put_together(saved, parts(saved), zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="compressed"):
        Estimator.load(saved)


@pytest.mark.parametrize("length", [0, 10, 0.5, 0.99])
def test_a_file_cut_short_is_damaged(saved, length):
    content = saved.read_bytes()
    saved.write_bytes(content[: length if isinstance(length, int) else int(len(content) * length)])
    with pytest.raises(ModelError, match="is damaged"):
        Estimator.load(saved)


def test_a_file_of_another_version_of_scikit_learn_is_made_again(saved):
    found = parts(saved)
    from sklearn import __version__

    found["schema.json"] = found["schema.json"].replace(__version__.encode(), b"1.0.2")
    put_together(saved, found)
    with pytest.raises(ModelError, match=r"was made by scikit-learn 1\.0\.2") as caught:
        Estimator.load(saved)
    assert "dvc repro --force train" in caught.value.hint


def test_a_missing_file_names_its_stage(tmp_path):
    with pytest.raises(ModelError, match="no ") as caught:
        Estimator.load(tmp_path / Estimator.FILE)
    assert caught.value.hint == "run `dvc repro train` first"
    assert Head.FILE != Estimator.FILE


def test_one_picture_is_answered_on_one_thread():
    """More of them wait for each other longer than they work."""
    seen = []

    class Watched:
        n_features_in_ = 2

        def predict_proba(self, features: np.ndarray) -> np.ndarray:
            seen.append({library["num_threads"] for library in threadpool_info()})
            return np.full((len(features), 2), 0.5)

    with threadpool_limits(2):
        for pictures in (1, 2):
            Estimator(Watched(), 10, 2).probabilities(np.zeros((pictures, 2), np.float32))
    assert seen == [{1}, {2}]
