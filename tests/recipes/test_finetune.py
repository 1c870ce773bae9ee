"""A backbone of three layers is trained further: better than before, the same again after a kill, by two as by one."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from digit_projects import command, copy_of, digit_project, train_killed_and_again, trained_by_a_process
from once import made_once, run_python
from ports import free_port
from projects import Project
from servers import serving

from imageloom import backbone_files, graphs, network
from imageloom.errors import DataError, ModelError
from imageloom.evaluate import outcome
from imageloom.predictor import Predictor
from imageloom.recipes.augment import AugmentParams, _places, augmented
from imageloom.recipes.epochs import _has_stopped
from imageloom.recipes.finetune import by_layer
from imageloom.recipes.head import class_numbers
from imageloom.recipes.pixels import Batches

BOTH = ("variables", "trainable_variables")
CALM = {"flip": "none", "crop": 0, "contrast": 0.1, "brightness": 0, "colour": 0}
QUICK = {"epochs": 4, "batch_size": 16, "learning_rate": 0.005, "augment": CALM}

# A network of three convolutions with batch normalisation, begun by chance: what it could know, it has yet to learn.
NETWORK = """
import sys
from pathlib import Path
from imageloom import backbone_files, graphs
graphs.tensorflow()
from tf_keras import Input, Model, initializers, layers

flow = images = Input((32, 32, 3))
for number, filters in enumerate((8, 12, 16)):
    begin = initializers.HeNormal(seed=number)
    flow = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, kernel_initializer=begin)(flow)
    flow = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(flow))
model = Model(images, layers.GlobalAveragePooling2D()(flow))
folder = Path(sys.argv[1])
graphs.save(graphs.reusable(model), folder / "saved_model")
backbone_files.complete(folder, backbone_files.About("three layers", 32, "last", "CC0-1.0", "none"))
"""


@pytest.fixture(scope="module")
def backbone(request) -> Path:
    """models/backbone/ of NETWORK, kept between runs."""
    code = NETWORK.encode() + b"".join(Path(module.__file__).read_bytes() for module in (backbone_files, graphs))
    name = f"three-layers-{hashlib.sha256(code).hexdigest()[:12]}"
    path = Path(request.config.cache.mkdir("imageloom")) / name
    return made_once(path, partial(run_python, "-c", NETWORK))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, backbone, empty_mlflow) -> Project:
    """Trained by a process of its own, with a store of MLflow beside it."""
    project = digit_project(
        tmp_path_factory.mktemp("finetune") / "数字 🔢",
        backbone,
        32,
        train={"recipe": "finetune", "finetune": QUICK},
        export={"formats": ["float32", "int8"], "max_accuracy_drop": 0.2, "representative": 60},
        track={},
    )
    shutil.copy(empty_mlflow, project.paths.root / "mlflow.db")
    assert trained_by_a_process(project).stderr == ""
    return project


@pytest.fixture
def copied(trained, tmp_path) -> Project:
    """As it was before it was trained, and without MLflow."""
    project = copy_of(trained, tmp_path / "copy")
    settings = project_sections(project)
    del settings["track"]
    project.configure(**settings)
    shutil.rmtree(project.paths.classifier)
    return project


def project_sections(project: Project) -> dict:
    return yaml.safe_load(project.paths.params.read_text(encoding="utf-8"))


def history(project: Project) -> list[list[str]]:
    return [line.split(",") for line in (project.paths.reports / "history.csv").read_text().splitlines()]


def validation_losses(project: Project) -> list[float]:
    return [float(row[4]) for row in history(project)[1:]]


def made(project: Project) -> dict[str, bytes]:
    """All that the training has written, but for the graph, whose functions TensorFlow numbers as they come."""
    folder = project.paths.classifier
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "saved_model.pb")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_it_learns_and_says_of_each_epoch_what_it_learnt(trained):
    rows = history(trained)
    both = [f"{side}_{what}" for side in ("train", "validation") for what in ("loss", "accuracy")]
    assert rows[0] == ["step", "learning_rate", *both, "chosen"]
    assert [int(row[0]) for row in rows[1:]] == list(range(QUICK["epochs"] + 1))  # 0 is the probe that it begins with
    assert float(rows[-1][2]) < float(rows[2][2])
    assert outcome.read(trained.paths).right.mean() >= 0.8
    before, after = (one.features for one in (network.pretrained(trained.paths), network.of(trained.paths)))
    name = after.ids()[0]
    assert not np.allclose(before.read([name]), after.read([name]), rtol=0.05)


def test_it_tells_what_network_it_was_and_by_which_weights(trained):
    before, after = (one.about for one in (network.pretrained(trained.paths), network.of(trained.paths)))
    assert before["weights"] == "none"
    assert {key for key in before if before[key] != after[key]} == {"sha256"}


def test_every_format_and_the_server_answer_as_it_was_evaluated(trained):
    said = outcome.read(trained.paths)
    trained.run("evaluate", "export")
    pictures = [(trained.paths.raw / row["path"]).read_bytes() for row in said.rows]
    model = Predictor(trained.paths.export)
    answers = np.array([model.predict(data).probabilities for data in pictures])
    assert np.allclose(answers, said.probabilities, atol=1e-4)
    small = Predictor(trained.paths.export, "int8")
    assert np.mean([small.predict(data).probabilities.argmax() for data in pictures] == said.predicted) > 0.8
    with serving(trained.paths.export) as (address, _):
        answer = httpx.post(f"{address}/classify", files={"upload": ("手.png", pictures[0])}).json()
    assert said.classes[said.predicted[0]]["label"] in json.dumps(answer, ensure_ascii=False)


def test_epochs_stand_in_mlflow_before_the_result_does(trained):
    with sqlite3.connect(trained.paths.root / "mlflow.db") as store:
        losses = dict(store.execute("select step, value from metrics where key = 'epoch/validation_loss'").fetchall())
        runs = store.execute("select status from runs").fetchall()
    told = {int(row[0]): float(row[4]) for row in history(trained)[1:]}
    assert losses == pytest.approx(told)
    assert runs == [("RUNNING",)]


def test_a_training_that_was_killed_goes_on_with_the_same_bytes(copied, trained):
    train_killed_and_again(copied, 1)
    assert made(copied) == made(trained)


def test_only_the_last_layers_learn_where_no_more_are_asked(copied):
    settings = project_sections(copied)
    settings["train"]["finetune"] |= {"layers": 1, "epochs": 1, "strategy": "mirrored"}
    copied.configure(**settings)
    copied.run("train")
    before, after = (variables(one.saved_model) for one in (network.pretrained(copied.paths), network.of(copied.paths)))
    changed = [not np.array_equal(old, new) for old, new in zip(before, after, strict=True)]
    assert changed == [False] * 6 + [True] * 3


def variables(saved_model: Path, which: str = "trainable_variables") -> list[np.ndarray]:
    module = graphs.tensorflow().saved_model.load(str(saved_model))
    return [one.numpy() for one in getattr(module, which)]


def test_it_takes_means_and_deviations_of_its_own_pictures_unless_told_not_to(copied, trained):
    settings = project_sections(copied)
    settings["train"]["finetune"] |= {"update_statistics": False, "epochs": 8, "learning_rate": 0.001}
    copied.configure(**settings)
    copied.run("train")
    folders = [network.pretrained(copied.paths), network.of(trained.paths), network.of(copied.paths)]
    pretrained, own, kept = ([variables(one.saved_model, name) for name in BOTH] for one in folders)
    assert len(pretrained[0]) > len(pretrained[1])  # three times a mean and a deviation stand among all
    moved = [not np.array_equal(old, new) for old, new in zip(pretrained[0], own[0], strict=True)]
    assert all(moved)
    moved = [not np.array_equal(old, new) for old, new in zip(pretrained[0], kept[0], strict=True)]
    assert sum(moved) == len(pretrained[1]), history(copied)


def test_statistics_of_several_workers_are_refused(copied, capsys):
    from imageloom.cli import main

    settings = project_sections(copied)
    settings["train"]["finetune"]["strategy"] = "multi_worker"
    copied.configure(**settings)
    assert main(["train", "-C", str(copied.paths.root)]) == 2
    assert "needs update_statistics: false" in capsys.readouterr().err


def test_a_network_that_no_epoch_makes_better_stays_as_it_is(copied):
    settings = project_sections(copied)
    settings["train"]["finetune"] |= {"learning_rate": 1.0, "schedule": "constant", "epochs": 2, "patience": 1}
    copied.configure(**settings)
    copied.run("train")
    networks = network.pretrained(copied.paths), network.of(copied.paths)
    before, after = (variables(one.saved_model, "variables") for one in networks)
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    _, begun, *worse = history(copied)
    assert [(row[0], row[-1]) for row in (begun, *worse)] == [("0", "True"), ("1", "False"), ("2", "False")]
    assert min(float(row[4]) for row in worse) > float(begun[4])
    validation = [row for row in pq.read_table(copied.paths.split).to_pylist() if row["side"] == "validation"]
    said = outcome.read(copied.paths)
    answers = said.head.probabilities(network.of(copied.paths).features.read([row["id"] for row in validation]))
    right = answers.argmax(axis=1) == class_numbers(said.about, validation)
    assert right.mean() == pytest.approx(float(begun[5]))


def test_a_loss_beyond_all_numbers_stops_it_and_keeps_what_was_good(copied):
    settings = project_sections(copied)
    settings["train"]["finetune"] |= {"learning_rate": 1e30, "schedule": "constant"}
    copied.configure(**settings)
    with pytest.raises(DataError, match="no longer a number in epoch") as raised:
        copied.run("train")
    assert "lower train.finetune.learning_rate, which is 1e+30" in raised.value.hint
    assert not copied.paths.classifier.exists()


def test_a_network_without_variables_is_refused(copied, tiles_backbone):
    shutil.rmtree(copied.paths.backbone)
    shutil.copytree(tiles_backbone, copied.paths.backbone)
    shutil.rmtree(copied.paths.features)
    copied.run("embed")
    with pytest.raises(ModelError, match="has nothing that could be trained further"):
        copied.run("train")


def test_two_workers_learn_what_one_does(copied):
    settings = project_sections(copied)
    # Chance falls otherwise on two parts than on one whole, so nothing is left to it.
    calm = {"epochs": 2, "dropout": 0, "augment": CALM | {"contrast": 0}, "update_statistics": False}
    settings["train"]["finetune"] |= calm
    copied.configure(**settings)
    copied.run("train")
    alone = validation_losses(copied)
    settings["train"]["finetune"]["strategy"] = "multi_worker"
    copied.configure(**settings)
    workers = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    processes = []
    for index in range(2):
        told = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(told)}
        processes.append(
            subprocess.Popen(
                command(copied), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
            )
        )
    try:
        said = [process.communicate(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], said
    assert "this worker has done its part" in said[1][0]
    assert validation_losses(copied) == pytest.approx(alone, rel=0.001)


def test_who_the_workers_are_must_be_told(copied, monkeypatch, capsys):
    from imageloom.cli import main

    monkeypatch.delenv("TF_CONFIG", raising=False)
    settings = project_sections(copied)
    settings["train"]["finetune"] |= {"strategy": "multi_worker", "update_statistics": False}
    copied.configure(**settings)
    assert main(["train", "-C", str(copied.paths.root)]) == 2
    assert "TF_CONFIG does not say who the workers are" in capsys.readouterr().err


def test_layers_begin_with_their_kernels():
    class Variable:
        def __init__(self, *shape: int) -> None:
            self.shape = shape

    kernel, gamma, beta, dense, bias = Variable(3, 3, 8, 16), Variable(16), Variable(16), Variable(16, 4), Variable(4)
    assert by_layer([kernel, gamma, beta, dense, bias]) == [[kernel, gamma, beta], [dense, bias]]


def test_it_ends_when_validation_gets_no_better():
    losses = [{"validation_loss": loss} for loss in (0.5, 0.4, 0.45, 0.41)]
    assert not _has_stopped(losses, 3)
    assert _has_stopped(losses, 2)
    assert not _has_stopped(losses, 0)


def test_pictures_are_altered_as_asked_and_the_same_for_the_same_seed():
    tf = graphs.tensorflow()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)

    def look(number: int, **params: object) -> np.ndarray:
        settings = AugmentParams(**{"flip": "none", "crop": 0, "contrast": 0, "brightness": 0, "colour": 0} | params)
        return np.asarray(augmented(tf.constant(pixels), tf.constant([7, number], tf.int64), settings))

    plain = pixels / np.float32(255)
    assert np.allclose(look(1), plain, atol=1e-6)
    mirrored = look(1, flip="horizontal")
    turned = [np.allclose(new, old[:, ::-1], atol=1e-5) for new, old in zip(mirrored, plain, strict=True)]
    kept = [np.allclose(new, old, atol=1e-5) for new, old in zip(mirrored, plain, strict=True)]
    assert 0 < sum(turned) < 8
    assert sum(turned) + sum(kept) == 8
    moved = look(1, crop=0.25)
    assert set(np.unique(np.round(moved * 255))) <= set(range(256))
    assert np.abs(moved * 255 - np.round(moved * 255)).max() < 1e-2  # by whole pixels: nothing is blurred
    wild = {"rotation": 20, "zoom": 0.2, "contrast": 0.5, "brightness": 0.3, "colour": 0.2}
    assert np.array_equal(look(1, **wild), look(1, **wild))
    assert not np.array_equal(look(1, **wild), look(2, **wild))
    assert look(1, **wild).min() >= 0
    assert look(1, **wild).max() <= 1


STILL = {"flip": "none", "crop": 0, "contrast": 0, "brightness": 0, "colour": 0}


def altered(pixels: np.ndarray, **params: object) -> np.ndarray:
    """As one batch, and only as is asked."""
    tf = graphs.tensorflow()
    seed = tf.constant([7, 0], tf.int64)
    return np.asarray(augmented(tf.constant(pixels), seed, AugmentParams(**STILL | params)))


@pytest.mark.parametrize("crop", [0, 0.001])  # of 16 pixels none is cut off, but they are moved as if some were
def test_flips_are_of_each_side_by_itself(crop):
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    pixels = np.repeat(picture[None], 64, axis=0)
    looks = [picture, picture[:, ::-1], picture[::-1], picture[::-1, ::-1]]
    for flip, expected in (("none", 1), ("horizontal", 2), ("both", 4)):
        found = np.round(altered(pixels, flip=flip, crop=crop) * 255)
        counts = [int((found == look).all(axis=(1, 2, 3)).sum()) for look in looks]
        assert sum(counts) == 64
        assert [count > 5 for count in counts] == [True] * expected + [False] * (4 - expected)


def test_each_shade_has_a_number_of_its_own():
    pixels = np.full((400, 4, 4, 3), 102, np.uint8)
    pixels[:, 2:] = 153  # light and dark, three fifths and two
    contrast = np.ptp(altered(pixels, contrast=0.5), axis=(1, 2))[:, 0] / 0.2 - 1
    brightness = altered(pixels, brightness=0.3).mean(axis=(1, 2))[:, 0] - 0.5
    red, green, blue = (altered(pixels, colour=0.2).mean(axis=(1, 2)) / 0.5 - 1).T
    numbers = np.array([contrast / 0.5, brightness / 0.3, red / 0.2, green / 0.2, blue / 0.2])  # [5, 400] in [-1, 1)
    assert numbers.min(axis=1) == pytest.approx([-1] * 5, abs=0.05)
    assert numbers.max(axis=1) == pytest.approx([1] * 5, abs=0.05)
    assert np.abs(np.corrcoef(numbers) - np.eye(5)).max() < 0.25


def test_a_turned_picture_keeps_its_shape_and_its_centre():
    tf = graphs.tensorflow()
    params = AugmentParams(**STILL | {"flip": "both", "rotation": 90, "zoom": 0.5})
    random = np.random.default_rng(0).uniform(-1, 1, (11, 50)).astype(np.float32)
    places = np.asarray(_places(tf.constant(random), 33, params)).astype(float)
    turns = places[:, [[0, 1], [3, 4]]]  # [50, 2, 2], of which A^T A is the scale's square: no angle is changed
    scale = 1 + 0.5 * random[4]
    assert np.allclose(turns.transpose(0, 2, 1) @ turns, scale[:, None, None] ** 2 * np.eye(2), atol=1e-5)
    assert np.allclose(turns @ [16, 16] + places[:, [2, 5]], 16, atol=1e-4)
    angles = np.degrees(np.arctan2(turns[:, 1, 0], turns[:, 0, 0])) % 180  # mirrored ones are half a turn further
    assert np.allclose(angles, 90 * random[2] % 180, atol=1e-3)


def test_each_epoch_sees_every_picture_once_in_an_order_of_its_own():
    batches = Batches(np.empty((10, 1, 1, 3), np.uint8), np.zeros(10, int), np.ones(10, np.float32), 4, 7)
    assert batches.each == 3
    epochs = [[batches.rows(3 * epoch + step).tolist() for step in range(3)] for epoch in range(3)]
    orders = [[row for rows in steps for row in rows] for steps in epochs]
    assert [sorted(order) for order in orders] == [list(range(10))] * 3
    assert len(set(map(tuple, orders))) == 3
    assert {len(rows) for steps in epochs for rows in steps} == {3, 4}
    assert batches.rows(4).tolist() == epochs[1][1]  # again the same
