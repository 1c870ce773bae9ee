"""`imageloom predict` answers for people and for programs, and one bad file spoils nothing but its own answer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from imageloom import console
from imageloom.predictor import Predictor

RED, GREEN = (240, 20, 10), (20, 230, 10)


def imageloom(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "imageloom.cli", "predict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, **options)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "my pictures"
    (folder / "sub").mkdir(parents=True)
    Image.new("RGB", (60, 40), RED).save(folder / "a rose 🌹.jpg")
    Image.new("RGB", (40, 60), GREEN).save(folder / "sub" / "叶.PNG")
    (folder / "sub" / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def test_json_is_what_the_predictor_says(exported_model, pictures):
    path = pictures / "a rose 🌹.jpg"
    run = imageloom(path, "--json", "--model", exported_model)
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout) == [
        {"file": str(path), **Predictor(exported_model).predict(path.read_bytes()).to_dict()}
    ]
    assert "红" in run.stdout


def test_text_shows_labels_bars_and_percentages_in_one_column(exported_model, pictures):
    run = imageloom(pictures / "a rose 🌹.jpg", "--model", exported_model)
    title, *rows = run.stdout.splitlines()
    assert title.endswith("a rose 🌹.jpg: 红")
    assert [row.split()[0] for row in rows] == ["红", "green", "blue"]
    assert all(row.endswith("%") for row in rows)
    assert rows[0].count("█") > rows[1].count("█")
    assert len({console.columns(row) for row in rows}) == 1  # 红 takes two columns


def test_top_limits_the_classes(exported_model, pictures):
    run = imageloom(pictures / "a rose 🌹.jpg", "--json", "--top", 2, "--model", exported_model)
    assert len(json.loads(run.stdout)[0]["predictions"]) == 2
    assert imageloom(pictures, "--top", 0, "--model", exported_model).returncode == 2


def test_folder_is_searched_for_pictures_only(exported_model, pictures):
    run = imageloom(pictures, "--json", "--model", exported_model)
    assert run.returncode == 0, run.stderr
    assert [Path(one["file"]).name for one in json.loads(run.stdout)] == ["a rose 🌹.jpg", "叶.PNG"]


@pytest.mark.parametrize("bad", ["sub/notes.txt", "missing.jpg", "pipe"])
def test_bad_file_gets_an_error_line_and_the_others_their_answers(exported_model, pictures, bad):
    os.mkfifo(pictures / "pipe")
    files = [pictures / bad, pictures / "sub" / "叶.PNG"]
    run = imageloom(*files, "--json", "--model", exported_model, timeout=60)
    assert run.returncode == 2
    assert run.stderr.startswith(f"error: {files[0]}: ")
    assert run.stderr.count("\n") == 1
    first, second = json.loads(run.stdout)
    assert first.keys() == {"file", "error"}
    assert second["label"] == "green"
    text = imageloom(*files, "--model", exported_model, timeout=60)
    assert (text.returncode, text.stderr) == (2, run.stderr)
    assert "叶.PNG: green" in text.stdout


def test_folder_without_pictures_is_an_error(exported_model, tmp_path):
    (tmp_path / "empty").mkdir()
    run = imageloom(tmp_path / "empty", "--model", exported_model)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: no picture in ")


def test_altered_model_is_refused_before_anything_is_printed(export_copy, pictures):
    (export_copy / "model.tflite").write_bytes(b"x")
    run = imageloom(pictures, "--json", "--model", export_copy)
    assert (run.returncode, run.stdout) == (2, "")
    assert "was altered" in run.stderr
    assert "\nhint: " in run.stderr
    assert "Traceback" not in run.stderr


def test_labels_and_names_cannot_move_the_cursor(export_with_labels, pictures):
    model = export_with_labels(["\x1b[2J", "b", "c"])
    evil = shutil.copy(pictures / "a rose 🌹.jpg", pictures / "new\nline.jpg")
    run = imageloom(evil, "--model", model)
    assert "\x1b" not in run.stdout
    assert len(run.stdout.splitlines()) == 4


def test_name_that_is_not_unicode_and_output_that_is_ascii_work(exported_model, pictures):
    name = os.fsencode(pictures) + b"/\xff.jpg"
    shutil.copy(pictures / "a rose 🌹.jpg", name)
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for environment in (os.environ, ascii_only):
        run = imageloom(pictures, "--json", "--model", exported_model, env=environment)
        assert run.returncode == 0, run.stderr
        answers = json.loads(run.stdout)
        assert os.fsencode(answers[-1]["file"]) == name
        assert answers[-1]["label"] == "红"
        assert imageloom(pictures, "--model", exported_model, env=environment).returncode == 0


COST = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""

# What every answer needs: the reader of pictures, and LiteRT.
LIBRARIES = "import numpy, PIL.Image, ai_edge_litert.interpreter"


def cost(*words: object) -> tuple[float, int]:
    """What a command takes: seconds of a processor, the least of three times, and kilobytes."""
    command = [sys.executable, "-c", COST, sys.executable, *map(str, words)]
    lines = [subprocess.run(command, capture_output=True, check=True).stdout.split() for _ in range(3)]
    return min(float(seconds) for seconds, _ in lines), max(int(kilobytes) for _, kilobytes in lines)


def test_one_picture_takes_little_beside_its_libraries_and_150_megabytes(exported_model, pictures):
    libraries, _ = cost("-c", LIBRARIES)
    answer = ("-m", "imageloom.cli", "predict", pictures / "a rose 🌹.jpg", "--model", exported_model)
    seconds, kilobytes = cost(*answer)
    assert seconds < 2.5 * libraries  # with pandas 3.7
    assert kilobytes < 150_000
