"""A small network from scratch learns real digits, goes on where it was killed, and is served as it was evaluated."""

import json
import shutil

import numpy as np
import pytest
import yaml
from digit_projects import copy_of, digit_project, train_killed_and_again, trained_by_a_process
from projects import Project

from imageloom import params, train
from imageloom.cli import main
from imageloom.errors import DataError, ImageloomError
from imageloom.evaluate import outcome
from imageloom.predictor import Predictor
from imageloom.recipes.cnn import CnnParams, _model, _require_room

SMALL = {"size": 16, "blocks": 2, "filters": 16, "batch_size": 16, "augment": {"flip": "none"}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiles_backbone) -> Project:
    """A project of 150 pictures, trained in a process of its own as it is to be killed in one."""
    project = digit_project(
        tmp_path_factory.mktemp("cnn") / "数字",
        tiles_backbone,
        train={"recipe": "cnn", "cnn": SMALL | {"epochs": 14, "grey": True}},
        export={"formats": ["float32", "int8"], "max_accuracy_drop": 0.1, "representative": 60},
    )
    trained_by_a_process(project)
    return project


def test_it_learns_and_every_format_answers_as_it_was_evaluated(trained):
    said = outcome.read(trained.paths)
    assert said.right.mean() >= 0.9
    trained.run("export")
    pictures = [(trained.paths.raw / row["path"]).read_bytes() for row in said.rows]
    model = Predictor(trained.paths.export)
    assert model.size == SMALL["size"]
    assert model.has_map
    answers = [model.predict(data) for data in pictures]
    assert np.allclose([answer.probabilities for answer in answers], said.probabilities, atol=1e-4)
    small = Predictor(trained.paths.export, "int8")
    same = [small.predict(data).name == answer.name for data, answer in zip(pictures, answers, strict=True)]
    assert np.mean(same) > 0.85
    assert (trained.paths.export / "saved_model" / "saved_model.pb").exists()


def test_the_history_has_a_row_for_each_epoch(trained):
    lines = (trained.paths.reports / "history.csv").read_text().splitlines()
    assert lines[0].startswith("step,learning_rate,train_loss,train_accuracy,validation_loss,validation_accuracy")
    assert len(lines) == 15
    about = json.loads((trained.paths.classifier / "classifier.json").read_text(encoding="utf-8"))
    assert about["recipe"] == "cnn"
    chosen = [line for line in lines if line.endswith("True")]
    assert [line.split(",")[0] for line in chosen] == [str(about["fitted"]["epoch"])]


def test_it_goes_on_where_it_was_killed_with_the_same_result(trained, tmp_path):
    copied = copy_of(trained, tmp_path / "copy")
    expected = {name: (copied.paths.classifier / name).read_bytes() for name in ("head.npz", "network/backbone.tflite")}
    shutil.rmtree(copied.paths.classifier)
    train_killed_and_again(copied, 3)
    assert {name: (copied.paths.classifier / name).read_bytes() for name in expected} == expected


def test_what_was_learnt_stays_until_all_is_written_and_when_another_recipe_is_run(trained, tmp_path, capsys):
    copied = copy_of(trained, tmp_path / "copy")
    sections = yaml.safe_load(copied.paths.params.read_text(encoding="utf-8"))
    sections["train"]["cnn"]["epochs"] = 1
    copied.configure(**sections)
    shutil.rmtree(copied.paths.reports)
    copied.paths.reports.write_bytes(b"")
    with pytest.raises(ImageloomError, match="reports is no folder"):
        copied.run("train")
    copied.paths.reports.unlink()
    copied.configure(**sections | {"train": {"recipe": "probe"}})
    copied.run("train")
    capsys.readouterr()
    copied.configure(**sections)
    copied.run("train")
    assert "goes on after epoch 1" in capsys.readouterr().out


@pytest.mark.parametrize("built", [{"size": 512, "blocks": 1, "units": 10**6}, {"filters": 10**6}], ids=str)
def test_memory_that_is_not_enough_is_told_whenever_it_is_found(trained, tmp_path, capsys, built):
    copied = copy_of(trained, tmp_path / "copy")
    sections = yaml.safe_load(copied.paths.params.read_text(encoding="utf-8"))
    copied.configure(**sections | {"train": {"recipe": "cnn", "cnn": SMALL | built}})
    assert main(["train", "-C", str(copied.paths.root)]) == 2
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert error == "error: there is not enough memory to train the network on 16 pictures at once"
    assert hint == "hint: lower train.cnn.batch_size, size, filters or units"


@pytest.mark.parametrize(("units", "normalise", "length"), [(0, True, 32), (24, False, 24)])
def test_what_it_is_built_of(units, normalise, length):
    params = CnnParams(**SMALL | {"units": units, "normalise": normalise, "grey": True})
    model, again = _model(params), _model(params)
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    features = model(images).numpy()
    assert features.shape == (2, length)
    assert np.array_equal(features, again(images).numpy())  # the seed decides where it begins
    brightness = images @ np.float32([[0.299], [0.587], [0.114]])
    assert np.allclose(features, model(np.repeat(brightness, 3, axis=3)).numpy(), atol=1e-4)  # it sees grey


def test_pictures_that_cannot_be_halved_so_often_are_refused():
    with pytest.raises(DataError, match="16 x 16 cannot be halved 5 times"):
        _require_room(CnnParams(size=16, blocks=5))
    _require_room(CnnParams(size=16, blocks=4))


def test_the_example_of_a_small_network_is_what_can_be_set(tmp_path):
    path = tmp_path / "params.yaml"
    told = "{grey: true, blocks: 1, kernel: 2, normalise: false, units: 128, dropout: 0.5, size: 32}"
    path.write_text(f"train: {{recipe: cnn, cnn: {told}}}\n")
    found = params.load("train", train.Params, path).cnn
    assert (found.filters, found.kernel, found.blocks, found.units) == (32, 2, 1, 128)
