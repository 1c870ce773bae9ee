"""Models open whatever their format and whoever made them, or say in two lines why they do not."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imageloom import runtimes
from imageloom.engine import Engine
from imageloom.errors import ModelError
from imageloom.predictor import Predictor
from imageloom.runtimes import open_model

RED, GREEN = (240, 20, 10), (20, 230, 10)


# The model of `exported_model` in whole numbers from end to end, as older converters and phones' chips want it.
INT8_MODEL = """
import sys
import numpy as np
import tensorflow as tf

@tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.float32)])
def colours(image):
    return tf.nn.softmax(tf.matmul(tf.reduce_mean(image, axis=[1, 2]), 6 * tf.eye(3)))

def pictures():
    for number in range(64):
        colour = np.random.default_rng(number).uniform(size=3).astype(np.float32)
        yield [np.tile(colour, (1, 32, 32, 1))]

converter = tf.lite.TFLiteConverter.from_concrete_functions([colours.get_concrete_function()])
converter.optimizations = [tf.lite.Optimize.DEFAULT]
converter.representative_dataset = pictures
converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
converter.inference_input_type = converter.inference_output_type = getattr(tf, sys.argv[2])
open(sys.argv[1], "wb").write(converter.convert())
"""


def picture(width: int = 60, height: int = 40, edges: int = 0) -> bytes:
    """Red, with that many green columns at the left and at the right."""
    pixels = np.full((height, width, 3), RED, np.uint8)
    if edges:
        pixels[:, :edges] = pixels[:, -edges:] = GREEN
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def foreign(exported_model: Path, tmp_path: Path) -> Path:
    """A .tflite file without a model.json, and its labels beside it."""
    (tmp_path / "labels.txt").write_text("红\ngreen\nblue\n", encoding="utf-8")
    return Path(shutil.copy(exported_model / "model.tflite", tmp_path / "others 🌹.tflite"))


def test_an_exported_folder_and_a_file_in_it_are_one_model(exported_model):
    expected = Predictor(exported_model).predict(picture()).to_dict()
    for where in (exported_model, exported_model / "model.tflite"):
        assert open_model(str(where)).predict(picture()).to_dict() == expected


def test_a_file_in_an_exported_folder_is_checked_as_the_folder_is(export_copy):
    (export_copy / "labels.txt").write_text("a\nb\nc\n")
    with pytest.raises(ModelError, match="was altered"):
        open_model(str(export_copy / "model.tflite"))


def test_what_an_exported_model_says_itself_cannot_be_overruled(exported_model, foreign):
    with pytest.raises(ModelError, match="says itself"):
        open_model(str(exported_model), labels=foreign.with_name("labels.txt"))
    with pytest.raises(ModelError, match="says itself"):
        open_model(str(exported_model), input_mean=127.5)


def test_aspect_can_be_overruled(exported_model):
    wide = picture(60, 20, edges=20)
    labels = {aspect: open_model(str(exported_model), aspect).predict(wide).label for aspect in ("crop", "stretch")}
    assert labels == {"crop": "红", "stretch": "green"}
    assert open_model(str(exported_model)).predict(wide).label == "红"  # as it was trained


def test_a_foreign_model_answers_by_its_labels_and_cannot_say_what_it_knows(exported_model, foreign):
    model = open_model(str(foreign), labels=foreign.with_name("labels.txt"))
    found, ours = model.predict(picture(40, 40)), Predictor(exported_model).predict(picture(40, 40))
    assert (found.label, found.known) == ("红", None)
    assert np.array_equal(found.probabilities, ours.probabilities)
    assert found.to_dict()["known"] is None
    assert found.to_dict()["model"] == model.version != ""


@pytest.mark.parametrize("content", ['{"format": "graph-model", "weightsManifest": []}', "[]", "{}"])
def test_a_model_json_of_others_does_not_make_a_model_ours(foreign, content):
    foreign.with_name("model.json").write_text(content)
    assert open_model(str(foreign), labels=foreign.with_name("labels.txt")).predict(picture(40, 40)).label == "红"


@pytest.mark.parametrize(("content", "told"), [('{"format": 99}', "newer"), ('{"format": 1', "is not JSON")])
def test_a_model_json_of_ours_that_cannot_be_read_is_told(export_copy, content, told):
    (export_copy / "model.json").write_text(content)
    with pytest.raises(ModelError, match=told):
        open_model(str(export_copy / "model.tflite"))


def test_outputs_that_are_no_numbers_are_refused(tiles_backbone, tmp_path):
    file = str(shutil.copy(tiles_backbone / "backbone.tflite", tmp_path / "float.tflite"))
    (tmp_path / "labels.txt").write_text("".join(f"{number}\n" for number in range(48)))
    model = open_model(file, None, tmp_path / "labels.txt", 0, 1e-36)  # the sums of such pixels overflow
    for answer in (lambda: model.predict(picture(32, 32)), lambda: model.heatmap(model.load(picture(32, 32)))):
        with pytest.raises(ModelError, match="infinite or no numbers"):
            answer()


def test_a_foreign_model_is_explained_by_covering_parts(foreign):
    model = open_model(str(foreign), labels=foreign.with_name("labels.txt"))
    pixels = np.full((32, 32, 3), 90, np.uint8)
    pixels[:, :16] = (230, 40, 40)
    evidence = model.heatmap(pixels)
    assert evidence[:, :3].min() > 0.01
    assert evidence[:, 4:].max() < 0.01


def test_where_nobody_says_how_wide_pictures_are_cropped_and_others_squashed(foreign):
    model = open_model(str(foreign), labels=foreign.with_name("labels.txt"))
    assert model.predict(picture(60, 20, edges=20)).label == "红"  # 3 : 1, its middle
    squashed = open_model(str(foreign), "stretch", foreign.with_name("labels.txt"))
    cropped = open_model(str(foreign), "crop", foreign.with_name("labels.txt"))
    nearly_square = picture(56, 40, edges=8)
    answers = [one.predict(nearly_square).probabilities for one in (model, squashed, cropped)]
    assert np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_mean_and_standard_deviation_are_what_is_asked_for(tiles_backbone, tmp_path):
    file = str(shutil.copy(tiles_backbone / "backbone.tflite", tmp_path / "float.tflite"))
    (tmp_path / "labels.txt").write_text("".join(f"{number}\n" for number in range(48)))
    plain = open_model(file, labels=tmp_path / "labels.txt").predict(picture(32, 32))
    pixels = open_model(file, labels=tmp_path / "labels.txt").load(picture(32, 32))
    assert np.array_equal(plain.probabilities, Engine(Path(file))(pixels))  # 0 and 255: TF-Hub's common signature
    shifted = open_model(file, None, tmp_path / "labels.txt", 127.5, 127.5).predict(picture(32, 32))
    expected = np.tile((np.array(RED) - 127.5) / 127.5, 16)
    expected = np.exp(expected) / np.exp(expected).sum()  # what is not between 0 and 1 is a logit
    assert shifted.probabilities == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ModelError, match="/ 0"):
        open_model(file, None, tmp_path / "labels.txt", 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_models_of_whole_numbers_answer_as_those_of_fractions(exported_model, tmp_path, kind):
    (tmp_path / "labels.txt").write_text("红\ngreen\nblue", encoding="utf-8")
    file = str(tmp_path / "whole.tflite")
    subprocess.run([sys.executable, "-c", INT8_MODEL, file, kind], check=True, capture_output=True)
    assert Engine(Path(file)).input_dtype == kind
    found = open_model(file, "crop", tmp_path / "labels.txt").predict(picture(40, 40, edges=5))
    right = Predictor(exported_model).predict(picture(40, 40, edges=5))
    assert found.probabilities == pytest.approx(right.probabilities, abs=0.03)
    assert 0.5 < right.probabilities.max() < 0.99  # where rounding can be seen


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["text", "nothing inside"])
def test_a_damaged_saved_model_is_told(tmp_path, damage):
    (tmp_path / "saved_model.pb").write_bytes(b"<html>" if damage == "text" else b"")
    with pytest.raises(ModelError, match="no usable SavedModel") as told:
        open_model(str(tmp_path))
    assert "\n" not in told.value.message


@pytest.mark.parametrize(
    ("labels", "message"),
    [(None, "does not hold its labels"), ("a\nb\n", "3 outputs, and there are 2 labels"), (b"\xff\n", "not UTF-8")],
)
def test_labels_that_are_missing_or_do_not_fit_are_told(foreign, labels, message):
    path = None
    if labels is not None:
        path = foreign.with_name("mine.txt")
        path.write_bytes(labels if isinstance(labels, bytes) else labels.encode())
    with pytest.raises(ModelError, match=message) as told:
        open_model(str(foreign), labels=path)
    assert told.value.hint
    if labels is None:  # whoever opens it: only one command takes them
        assert "imageloom predict --labels" in told.value.hint


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "missing"])
def test_damaged_files_are_told(foreign, damage):
    data = foreign.read_bytes()
    damaged = {"empty": b"", "cut": data[: len(data) // 2], "text": b"<html>" * 100, "missing": None}[damage]
    foreign.unlink() if damaged is None else foreign.write_bytes(damaged)
    with pytest.raises(ModelError) as told:
        open_model(str(foreign), labels=foreign.with_name("labels.txt"))
    assert "\n" not in told.value.message


@pytest.mark.parametrize("name", ["nowhere", "labels.txt"])
def test_what_is_no_model_is_told(foreign, name):
    with pytest.raises(ModelError) as told:
        open_model(str(foreign.with_name(name)))
    assert told.value.hint


def test_onnx_without_onnxruntime_says_what_to_install(foreign, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    onnx = foreign.with_suffix(".onnx")
    onnx.write_bytes(b"x")
    with pytest.raises(ModelError, match="onnxruntime") as told:
        open_model(str(onnx), labels=foreign.with_name("labels.txt"))
    assert "onnxruntime" in told.value.hint


def test_a_tflite_model_needs_neither_tensorflow_nor_mlflow(exported_model, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    program = (
        "import sys\nfrom imageloom.cli import main\ncode = main(sys.argv[1:])\n"
        "heavy = {'tensorflow', 'mlflow', 'sklearn', 'pandas', 'aiohttp', 'pydantic', 'matplotlib', 'rich'}\n"
        "sys.exit(code or (str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0))"
    )
    command = [sys.executable, "-c", program, "predict", str(tmp_path / "a.png"), "--model", str(exported_model)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_command_line_passes_everything_on(foreign, tmp_path):
    (tmp_path / "a.png").write_bytes(picture(60, 20, edges=20))
    words = ["--labels", foreign.with_name("labels.txt"), "--input_mean", "0", "--input_std", "1", "--json"]
    for aspect, label in (("crop", "红"), ("stretch", "green")):
        command = ["predict", tmp_path / "a.png", "--model", foreign, "--aspect", aspect, *words]
        command = [sys.executable, "-m", "imageloom.cli", *map(str, command)]
        run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        assert json.loads(run.stdout)[0]["label"] == label, run.stderr
        assert json.loads(run.stdout)[0]["known"] is None


def test_every_format_that_litert_does_not_run_alone_has_its_own_predictor():
    assert set(runtimes._RUN_BY) == {"saved_model", "onnx", "skops"}
