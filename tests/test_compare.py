"""Two models on the same pictures: one verdict, its doubt, and a code that programs can act on."""

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imageloom import files, tables
from imageloom.compare import EXIT_CODES, Comparison, Seen
from imageloom.files import Paths
from imageloom.trained_on import TrainedOn

COLOURS = {"red": (240, 20, 10), "green": (20, 230, 10), "blue": (10, 20, 240)}
EACH = 8


def imageloom(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "imageloom.cli", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, **options)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures in a folder per class, each of its own shade."""
    for name, colour in COLOURS.items():
        for number in range(EACH):
            path = tmp_path / "held out" / name / f"{number} 🌹.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40 + number, 40), colour).save(path)
    return tmp_path / "held out"


@pytest.fixture
def worse_model(colour_tflite: bytes, write_export, tmp_path: Path) -> Path:
    """The model of `exported_model`, but for green and blue, which it takes for each other."""
    return write_export(tmp_path / "worse", colour_tflite, [("red", "红"), ("blue", "blue"), ("green", "green")])


def test_the_code_says_better_same_or_worse(exported_model, worse_model, data):
    for a, b, verdict in (
        (worse_model, exported_model, "better"),
        (exported_model, exported_model, "same"),
        (exported_model, worse_model, "worse"),
    ):
        run = imageloom(a, b, "--data", data, "--json")
        assert (run.returncode, run.stderr) == (EXIT_CODES[verdict], "")
        assert json.loads(run.stdout)["verdict"] == verdict
    assert len({*EXIT_CODES.values(), 1, 2}) == 5  # of which 1 and 2 mean that something went wrong


def test_json_tells_the_difference_and_every_picture_that_changed(exported_model, worse_model, data):
    answer = json.loads(imageloom(exported_model, worse_model, "--data", data, "--json").stdout)
    assert (answer["pictures"], answer["won"], answer["lost"]) == (3 * EACH, 0, 2 * EACH)
    assert answer["accuracy_a"] == 1
    assert answer["accuracy_b"] == pytest.approx(1 / 3)
    assert answer["difference"] == pytest.approx(-2 / 3)
    low, high = answer["interval"]
    assert low < -2 / 3 < high < 0
    assert answer["classes"]["red"] == {"pictures": EACH, "accuracy_a": 1, "accuracy_b": 1, "won": 0, "lost": 0}
    assert answer["classes"]["green"]["lost"] == EACH
    changed = answer["changed"]
    assert len(changed) == 2 * EACH
    assert changed[0] == {"file": str(data / "blue" / "0 🌹.png"), "actual": "blue", "a": "blue", "b": "green"}


def test_text_has_both_models_the_doubt_and_what_changed(exported_model, worse_model, data):
    run = imageloom(exported_model, worse_model, "--data", data)
    assert run.returncode == EXIT_CODES["worse"]
    lines = run.stdout.splitlines()
    assert lines[0].startswith(f"A  1.000  {exported_model} (")
    assert lines[1].startswith(f"B  0.333  {worse_model} (")
    assert "95 % between -0." in run.stdout
    assert "McNemar" in run.stdout
    assert "another answer of B for 16 pictures (the first 10; all with --json)" in run.stdout
    assert lines[-1] == "B is worse"


def test_the_test_side_of_the_project_is_what_is_compared_on(exported_model, worse_model, data, tmp_path):
    paths = Paths(tmp_path / "project")
    rows = []
    for number, file in enumerate(sorted(data.rglob("*.png"))):
        side = "train" if file.parent.name == "green" else "test"
        target = paths.raw / file.parent.name / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
        place = target.relative_to(paths.raw).as_posix()
        rows.append({"id": f"{number:064x}", "class": file.parent.name, "path": place, "group": "g", "side": side})
    tables.write(paths.split, rows, tables.SPLIT)
    answer = json.loads(imageloom(exported_model, worse_model, "-C", paths.root, "--json").stdout)
    assert set(answer["classes"]) == {"red", "blue"}
    assert answer["pictures"] == 2 * EACH


def test_pictures_that_cannot_be_read_are_left_out_aloud(exported_model, data):
    (data / "red" / "0 🌹.png").write_bytes(b"not a picture")
    run = imageloom(exported_model, exported_model, "--data", data, "--json")
    assert run.stderr == "warning: left out as unreadable: 1 picture\n"
    assert json.loads(run.stdout)["pictures"] == 3 * EACH - 1


def test_folders_and_files_of_any_spelling_are_compared_on(colour_tflite, write_export, worse_model, data, tmp_path):
    red, green = "ro\u0301t", "green"
    (data / "red").rename(data / red)  # as a Mac writes it
    os.rename(data / green / "0 🌹.png", os.fsencode(data / green) + b"/\xff.png")  # noqa: PTH104
    names = [(unicodedata.normalize("NFC", red), "红"), (green, green), ("blue", "blue")]
    model = write_export(tmp_path / "accents", colour_tflite, names)
    run = imageloom(model, worse_model, "--data", data, "--json")
    assert (run.returncode, run.stderr) == (EXIT_CODES["worse"], "")
    answer = json.loads(run.stdout)
    assert answer["classes"][names[0][0]]["won"] == answer["classes"][names[0][0]]["lost"] == 0
    assert "\udcff.png" in {Path(one["file"]).name for one in answer["changed"]}


@pytest.fixture
def memorised(data: Path) -> list[str]:
    """The ids of the green pictures."""
    return [files.sha256(path) for path in sorted((data / "green").iterdir())]


def test_pictures_of_training_are_left_out_aloud_whichever_model_knows_them(
    exported_model, worse_model, write_export, colour_tflite, memorised, data, tmp_path
):
    classes = [("red", "红"), ("green", "green"), ("blue", "blue")]
    knowing = write_export(tmp_path / "knowing", colour_tflite, classes, memorised)
    for a, b, letter, where in ((knowing, worse_model, "A", "a"), (worse_model, knowing, "B", "b")):
        run = imageloom(a, b, "--data", data, "--json")
        assert run.stderr == f"warning: {letter} was trained on 8 of the 24 pictures: they are left out\n"
        answer = json.loads(run.stdout)
        assert (answer["pictures"], set(answer["classes"])) == (2 * EACH, {"red", "blue"})
        assert [answer[one]["trained_on"] for one in "ab"] == [EACH * (one == where) for one in "ab"]
    answer = json.loads(imageloom(exported_model, worse_model, "--data", data, "--json").stdout)
    assert (answer["pictures"], answer["a"]["trained_on"]) == (3 * EACH, 0)


def test_pictures_of_training_alone_give_no_verdict(
    exported_model, write_export, colour_tflite, memorised, data, tmp_path
):
    knowing = write_export(tmp_path / "knowing", colour_tflite, [(name, name) for name in COLOURS], memorised)
    for name in ("red", "blue"):
        shutil.rmtree(data / name)
    run = imageloom(exported_model, knowing, "--data", data)
    assert (run.returncode, run.stdout) == (2, "")
    assert "error: there is no picture on which neither model was trained\nhint: " in run.stderr


def test_a_model_that_does_not_say_what_it_was_trained_on_is_told_of(exported_model, data, tmp_path):
    older = Path(shutil.copytree(exported_model, tmp_path / "older"))
    content = json.loads((older / "model.json").read_text(encoding="utf-8"))
    del content["trained_on"]
    (older / "model.json").write_text(json.dumps(content), encoding="utf-8")
    run = imageloom(exported_model, older, "--data", data, "--json")
    assert run.stderr == "warning: B does not say on which pictures it was trained: see that these are others\n"
    answer = json.loads(run.stdout)
    assert (answer["pictures"], answer["a"]["trained_on"], answer["b"]["trained_on"]) == (3 * EACH, 0, None)


def test_a_list_of_training_pictures_that_was_altered_is_refused(exported_model, data, tmp_path):
    altered = Path(shutil.copytree(exported_model, tmp_path / "altered"))
    TrainedOn.of(["ab" * 32]).save(altered / "trained_on.npz")
    run = imageloom(exported_model, altered, "--data", data)
    assert (run.returncode, run.stdout) == (2, "")
    assert "trained_on.npz was altered" in run.stderr


def test_classes_that_a_model_does_not_know_are_named(exported_model, data):
    (data / "green").rename(data / "purple")
    run = imageloom(exported_model, exported_model, "--data", data)
    assert (
        run.stderr.splitlines()[0]
        == f"warning: A does not know the class 'purple', and is wrong on its {EACH} pictures"
    )
    for name in ("red", "blue"):
        (data / name).rename(data / f"other {name}")
    run = imageloom(exported_model, exported_model, "--data", data)
    assert (run.returncode, run.stdout) == (2, "")
    assert "A knows none of the classes" in run.stderr


@pytest.mark.parametrize("folder", ["red", "rouge", "红"])
def test_folders_may_be_named_by_either_model_or_by_label_and_the_order_of_models_is_all_one(
    exported_model, write_export, colour_tflite, data, tmp_path, folder
):
    other = write_export(tmp_path / "other", colour_tflite, [("rouge", "红"), ("green", "green"), ("blue", "blue")])
    (data / "red").rename(data / folder)
    for a, b in ((exported_model, other), (other, exported_model)):
        run = imageloom(a, b, "--data", data, "--json")
        assert (run.returncode, run.stderr) == (EXIT_CODES["same"], "")
        answer = json.loads(run.stdout)
        assert (answer["accuracy_a"], answer["accuracy_b"], answer["changed"]) == (1, 1, [])


def test_a_class_without_a_folder_is_one_answer_of_both_models(
    exported_model, write_export, colour_tflite, data, tmp_path
):
    other = write_export(tmp_path / "other", colour_tflite, [("rouge", "红"), ("green", "green"), ("blue", "blue")])
    (data / "red").rename(data / "purple")
    for a, b in ((exported_model, other), (other, exported_model)):
        run = imageloom(a, b, "--data", data, "--json")
        assert run.stderr.count("does not know the class 'purple'") == 2
        assert json.loads(run.stdout)["changed"] == []


@pytest.mark.parametrize("missing", ["data", "model", "split"])
def test_what_is_missing_is_an_error_and_no_verdict(exported_model, tmp_path, missing):
    options = {"data": ["--data", tmp_path], "model": ["--data", tmp_path], "split": ["-C", tmp_path]}[missing]
    run = imageloom(exported_model, tmp_path if missing == "model" else exported_model, *options)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: ")
    assert "\nhint: " in run.stderr


def test_statistics_are_those_of_the_published_example():
    """Airway hyper-responsiveness before and after transplantation: Fagerland, Lydersen and Laake 2013 and 2014."""
    result = Comparison(pictures=21, right_a=2, right_b=8, won=7, lost=1)
    assert result.p == pytest.approx(0.0391, abs=5e-5)
    assert result.interval == pytest.approx((0.013, 0.508), abs=1e-3)
    assert result.difference == pytest.approx(0.286, abs=1e-3)
    assert result.verdict == "better"
    assert Comparison(pictures=21, right_a=8, right_b=2, won=1, lost=7).verdict == "worse"


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (5, 0), (3, 3), (30, 20), (0, 1)])
def test_few_changes_are_no_difference(won, lost):
    result = Comparison(1000, 800 + lost, 800 + won, won, lost)
    assert result.verdict == "same"
    assert 0 < result.p <= 1


def test_the_interval_alone_makes_no_verdict():
    for won, lost in ((15, 6), (6, 15)):
        result = Comparison(21, lost, won, won, lost)
        low, high = result.interval
        assert low > 0 or high < 0
        assert result.p == pytest.approx(0.05248, abs=5e-6)
        assert result.verdict == "same"


def test_many_changes_are_tested_as_fast_as_few():
    result = Comparison(1_000_000, 500_000, 500_800, won=200_800, lost=200_000)
    assert result.p == pytest.approx(0.2064, abs=1e-3)  # z = 800 / sqrt(400,800)


def draw(chances: list[float], number: int, seed: int) -> Comparison:
    """Pictures drawn with the chances of both right, B alone, A alone, neither."""
    answers = {0: ("x", "x"), 1: ("y", "x"), 2: ("x", "y"), 3: ("y", "y")}
    drawn = np.random.default_rng(seed).choice(4, number, p=chances)
    return Comparison.of(Seen("", "x", *answers[int(which)]) for which in drawn)


def test_verdict_errs_as_rarely_as_it_says_and_finds_what_is_there():
    chance = [draw([0.7, 0.1, 0.1, 0.1], 400, seed).verdict for seed in range(1000)]
    assert sum(verdict != "same" for verdict in chance) <= 65  # 50, and three standard deviations less some shyness
    real = [draw([0.7, 0.2, 0.08, 0.02], 400, seed).verdict for seed in range(200)]
    assert real.count("better") > 180
    assert real.count("worse") == 0


def test_interval_holds_the_true_difference_95_times_of_100():
    intervals = [draw([0.7, 0.14, 0.08, 0.08], 200, seed).interval for seed in range(1000)]
    assert 930 <= sum(low <= 0.06 <= high for low, high in intervals) <= 975
