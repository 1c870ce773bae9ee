"""`imageloom predict --heatmap` shows what speaks for the answer."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imageloom import images


def imageloom(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "imageloom.cli", "predict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, **options)


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """A red left half beside a grey right one, under the same name in two folders."""
    pixels = np.full((64, 64, 3), 90, np.uint8)
    pixels[:, :32] = (230, 40, 40)
    for name in ("one", "other"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "in" / name / "红 🌹.png")
    return tmp_path / "in"


def test_what_speaks_for_the_answer_is_coloured_where_it_is(exported_model, halves, tmp_path):
    run = imageloom(halves / "one", "--json", "--heatmap", tmp_path / "why", "--model", exported_model)
    assert run.returncode == 0, run.stderr
    (answer,) = json.loads(run.stdout)
    assert answer["label"] == "红"
    shown = images.load(Path(answer["heatmap"]).read_bytes()).astype(int)
    plain = images.load((halves / "one" / "红 🌹.png").read_bytes(), 32).astype(int)
    assert shown.shape == (32, 32, 3)
    change = np.abs(shown - plain).sum(axis=2)
    assert change[:, :14].mean() > 100  # on the red half
    assert change[:, 18:].mean() < 30


def test_files_of_one_name_have_heat_maps_of_their_own(exported_model, halves, tmp_path):
    files = [halves / "one" / "红 🌹.png", halves / "other" / "红 🌹.png"]
    run = imageloom(*files, "--json", "--heatmap", tmp_path / "why", "--model", exported_model)
    written = [Path(one["heatmap"]).name for one in json.loads(run.stdout)]
    assert written == ["红 🌹.png.heatmap.jpg", "红 🌹-2.png.heatmap.jpg"]
    assert sorted(written) == sorted(path.name for path in (tmp_path / "why").iterdir())


def test_heat_maps_of_a_folder_keep_its_folders(exported_model, halves, tmp_path):
    run = imageloom(halves, "--csv", "--heatmap", tmp_path / "why", "--model", exported_model)
    assert run.stdout.splitlines()[0].startswith("file,heatmap,label,")
    assert {path.parent.name for path in (tmp_path / "why").glob("*/*.jpg")} == {"one", "other"}


def test_a_bad_picture_has_no_heat_map(exported_model, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no")
    run = imageloom(tmp_path / "bad.png", "--json", "--heatmap", tmp_path / "why", "--model", exported_model)
    assert json.loads(run.stdout)[0].keys() == {"file", "error"}
    assert not (tmp_path / "why").exists()


def test_a_folder_that_cannot_be_written_is_an_error(exported_model, halves, tmp_path):
    (tmp_path / "why").write_text("a file")
    run = imageloom(halves, "--heatmap", tmp_path / "why", "--model", exported_model)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert "Traceback" not in run.stderr
