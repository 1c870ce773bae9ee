"""`imageloom make` on a small real network: every stage and every output, as a person runs it."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from projects import picture

from imageloom import tables
from imageloom.cli import main
from imageloom.files import Paths
from imageloom.make import project
from imageloom.runtimes import open_model

pytestmark = pytest.mark.slow

EACH = {"warm ☀ 暖": "warm", "cold": "cold"}


class Made:
    """A folder of pictures, and where the command puts things.

    Args:
        root: Its folder.
        module: The network's folder.
    """

    def __init__(self, root: Path, module: Path) -> None:
        self.root, self.pictures = root, root / "my pictures"
        self.model = root / "out" / "model"
        self.words = ["make", "--image_dir", str(self.pictures), "--tfhub_module", str(module), "--image_size", "32"]
        self.words += ["--cache_dir", str(root / "cache")]
        self.outputs = ["--saved_model_dir", str(self.model), "--tflite_output_file", str(self.model / "m.tflite")]
        self.outputs += ["--labels_output_file", str(root / "out" / "labels.txt")]
        self.said = self.warned = ""

    def add(self, name: str, numbers: range, hue: str) -> None:
        (self.pictures / name).mkdir(parents=True, exist_ok=True)
        others = 10_000 * list(EACH).index(name)  # a warm and a cold one of one seed are one picture in two tints
        for number in numbers:
            (self.pictures / name / f"{number} 图.png").write_bytes(picture(hue, others + number))

    def digests(self) -> dict[str, str]:
        out = self.root / "out"
        found = (path for path in sorted(out.rglob("*")) if path.is_file())
        return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}

    def project(self) -> Paths:
        links = (self.root / "cache" / "folders").glob("*/data/pictures")
        projects = [Paths(link.parents[1]) for link in links if link.samefile(self.pictures)]
        [found] = [paths for paths in projects if paths.split.exists()]
        return found

    def sides(self) -> dict[str, str]:
        rows = tables.read(self.project().split, tables.SPLIT, "split").to_pylist()
        return {row["id"]: row["side"] for row in rows}


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiles_module) -> Made:
    """What the command made, as a process of its own in a folder that has nothing to do with it."""
    made = Made(tmp_path_factory.mktemp("make"), tiles_module)
    for name, hue in EACH.items():
        made.add(name, range(30), hue)
    shutil.copy(made.pictures / "cold" / "0 图.png", made.pictures / "cold" / "again.png")
    (made.pictures / "cold" / "readme.txt").write_text("no picture")
    made.model.mkdir(parents=True)
    (made.model / "mine.txt").write_text("mine")
    command = [sys.executable, "-m", "imageloom.cli", *made.words, *made.outputs, "--assert_accuracy_at_least", "0.9"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=made.root)
    assert done.returncode == 0, done.stderr
    made.said, made.warned = done.stdout, done.stderr
    return made


def test_the_files_that_were_asked_for_name_what_is_on_pictures(made, tmp_path):
    labels = (made.root / "out" / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert labels == ["cold", "warm ☀ 暖"]
    fresh = []
    for name, hue in EACH.items():
        fresh.append(tmp_path / f"{name}.png")
        fresh[-1].write_bytes(picture(hue, 1000))
    phone = open_model(str(made.model / "m.tflite"))
    assert [phone.predict(path.read_bytes()).label for path in fresh] == list(EACH)
    command = [sys.executable, "-m", "imageloom.cli", "predict", "--json", "--model", str(made.model)]
    done = subprocess.run([*command, *map(str, fresh)], capture_output=True, check=True)  # imports TensorFlow
    assert [answer["label"] for answer in json.loads(done.stdout)] == list(EACH)


def test_nothing_else_is_touched(made):
    assert (made.model / "mine.txt").read_text() == "mine"
    entries = {path.name for path in made.model.iterdir()}
    assert entries == {"saved_model.pb", "variables", "assets", "m.tflite", "mine.txt"}
    assert {path.name for path in made.root.iterdir()} == {"my pictures", "out", "cache"}
    assert len(list(made.pictures.rglob("*.*"))) == 62


def test_it_says_how_right_it_is_on_pictures_that_are_held_out_and_what_was_left_out(made):
    sides = made.sides()
    assert len(sides) == 60  # the copy is counted once
    [line] = [line for line in made.said.splitlines() if "held out" in line]
    assert f"right on {list(sides.values()).count('test')} pictures" in line
    assert "always answering 'cold' would be 50.0%" in line
    assert made.warned.splitlines() == [
        "warning: not used: 1 file, such as 'cold/readme.txt': not a picture in a known format"
    ]


def test_held_out_are_as_many_of_each_class_as_was_asked(made):
    rows = tables.read(made.project().split, tables.SPLIT, "split").to_pylist()
    for name in EACH:
        sides = [row["side"] for row in rows if row["class"] == name]
        assert {side: sides.count(side) for side in set(sides)} == {"test": 6, "validation": 3, "train": 21}


def test_the_second_time_only_new_pictures_cost_something_and_the_same_gives_the_same_bytes(made, capfd):
    before, sides = made.digests(), made.sides()
    assert main([*made.words, *made.outputs]) == 0
    said = capfd.readouterr().out
    assert "0 new images embedded, 60 had their features already" in said
    assert "backbone:" not in said
    assert made.digests() == before
    made.add("cold", range(500, 505), "cold")
    assert main([*made.words, "--labels_output_file", str(made.root / "out" / "labels.txt")]) == 0
    assert "5 new images embedded, 60 had" in capfd.readouterr().out
    assert {name: side for name, side in made.sides().items() if name in sides} == sides


def test_old_flags_train_by_epochs_and_leave_what_tensorboard_draws(made, capfd):
    summaries = made.root / "summaries"
    assert main([*made.words, "--train_epochs", "4", "--summaries_dir", str(summaries)]) == 0
    said = capfd.readouterr().out
    assert "--train_epochs: trained with the recipe head" in said
    assert "head on" in said
    assert len((summaries / "history.csv").read_text().splitlines()) == 5
    for side in ("train", "validation"):
        [path] = (summaries / side).iterdir()
        content = path.read_bytes()
        assert content.count(b"epoch_loss") == content.count(b"epoch_accuracy") == 4
        lengths, place = [], 0
        while place < len(content):  # TFRecord: length, its checksum, so many bytes, their checksum
            lengths.append(int.from_bytes(content[place : place + 8], "little"))
            place += 16 + lengths[-1]
        assert len(lengths) == 5


def test_an_export_for_our_own_programs_is_whole(made, capfd):
    target = made.root / "export"
    assert main([*made.words, "--export_dir", str(target)]) == 0
    card = json.loads((target / "model.json").read_text(encoding="utf-8"))
    assert [spec["name"] for spec in card["classes"]] == ["cold", "warm ☀ 暖"]
    capfd.readouterr()
    assert main(["predict", "--json", "--model", str(target), str(made.pictures / "cold" / "3 图.png")]) == 0
    [answer] = json.loads(capfd.readouterr().out)
    assert answer["label"] == "cold"


def test_pictures_of_which_nothing_can_be_learnt_pass_no_assertion(made, tiles_module, tmp_path, capfd):
    twin = Made(tmp_path, tiles_module)
    twin.words[-1] = made.words[-1]  # the network is there
    for number, name in enumerate(EACH):
        twin.add(name, range(100 * number, 100 * number + 30), "plain")
    assert main([*twin.words, *twin.outputs, "--assert_accuracy_at_least", "0.9"]) == 2
    captured = capfd.readouterr()
    assert "error: the accuracy is 0." in captured.err
    assert "and 0.9 or more is asked" in captured.err
    assert not (tmp_path / "out").exists()


def test_two_at_once_on_the_same_pictures_are_kept_apart(made, capfd):
    section = {"module": made.words[4], "image_size": 32}
    with project.opened(made.root / "cache", made.pictures.resolve(), section):
        assert main([*made.words, *made.outputs]) == 2
    assert "another `imageloom make` is at work on these pictures" in capfd.readouterr().err


@contextmanager
def cut_short(path: Path) -> Iterator[None]:
    """Leaves 100 bytes of a file, and brings back the rest."""
    content = path.read_bytes()
    path.write_bytes(content[:100])
    try:
        yield
    finally:
        path.write_bytes(content)


def test_a_damaged_cache_says_what_to_remove(made, capfd):
    [part, *_] = sorted(made.project().features.glob("part-*.parquet"))
    with cut_short(part):
        assert main([*made.words, *made.outputs]) == 2
    error = capfd.readouterr().err
    assert f"hint: remove {made.project().root} and {made.root / 'cache' / 'networks'}" in error
    assert "dvc" not in error


def test_a_damaged_network_in_the_cache_is_told_of(made, capfd):
    [graph] = (made.root / "cache" / "networks").glob("*/models/backbone/saved_model/saved_model.pb")
    with cut_short(graph):
        assert main([*made.words, *made.outputs]) == 2
    error = capfd.readouterr().err
    assert "saved_model cannot be read: it is missing or damaged" in error
    assert str(graph.parents[3]) in error.splitlines()[-1]
    assert "Traceback" not in error


def test_a_network_that_does_not_fit_is_told_by_its_flag(made, tmp_path, capfd):
    words = [*made.words, *made.outputs]
    words[words.index("--image_size") + 1] = "64"
    before = made.digests()
    assert main(words) == 2
    error = capfd.readouterr().err
    assert "does not take pictures of 64 x 64" in error
    assert "set --image_size to the module's own" in error
    assert made.digests() == before


def test_a_packaged_network_needs_no_saved_model_in_between(tmp_path, capfd):
    """Its graph is written without TensorFlow, and what is exported is made of the network itself."""
    made = Made(tmp_path, Path("mobilenet_v2_100_224"))
    for name, hue in EACH.items():
        made.add(name, range(12), hue)
    assert main([*made.words, *made.outputs, "--image_size", "64", "--features", "pyramid"]) == 0
    assert not (tmp_path / "cache" / "networks").exists() or not list((tmp_path / "cache").glob("networks/*/models"))
    picture_ = picture("cold", 10_500)
    answers = [open_model(str(model)).predict(picture_) for model in (made.model / "m.tflite", made.model)]
    assert [answer.label for answer in answers] == ["cold", "cold"]
    assert answers[0].probabilities == pytest.approx(answers[1].probabilities, abs=1e-3)


def test_a_network_that_is_trained_takes_the_place_of_the_graph_alone(tmp_path, capfd):
    """The same folder first without and then with training of the network, whose SavedModel is needed for it."""
    made = Made(tmp_path, Path("mobilenet_v2_100_224"))
    for name, hue in EACH.items():
        made.add(name, range(12), hue)
    words = [*made.words, "--image_size", "64"]
    labels = ["--labels_output_file", str(tmp_path / "labels.txt")]
    assert main([*words, *labels]) == 0
    assert main([*words, *labels, "--do_fine_tuning", "--train_epochs", "1"]) == 0
    assert (made.project().backbone / "saved_model").is_dir()
    assert main([*words, *labels]) == 0
    assert not (made.project().backbone / "saved_model").exists()
