"""An exported model gives the same answer however it is asked, and an unsound one is refused."""

import hashlib
import io
import json
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imageloom.errors import ImageError, ModelError
from imageloom.ood import Detector
from imageloom.predictor import Predictor

RED, GREEN, BLUE = (240, 20, 10), (20, 230, 10), (10, 20, 240)


def encoded(colour: tuple[int, int, int], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), colour).save(buffer, kind)
    return buffer.getvalue()


def change_card(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_format(folder: Path, **changes: object) -> None:
    formats = json.loads((folder / "model.json").read_text())["formats"]
    change_card(folder, formats={"float32": formats["float32"] | changes})


def replace(folder: Path, name: str, content: bytes) -> None:
    """Replaces a file and its SHA-256 in the card, as somebody would who means to."""
    (folder / name).write_bytes(content)
    digests = json.loads((folder / "model.json").read_text())["files"]
    change_card(folder, files=digests | {name: hashlib.sha256(content).hexdigest()})


def test_answer_names_the_class_and_ranks_all_of_them(exported_model):
    predictor = Predictor(exported_model)
    prediction = predictor.predict(encoded(RED))
    assert (prediction.label, prediction.name) == ("红", "red")
    assert prediction.probabilities.dtype == np.float32
    assert prediction.probabilities.shape == (3,)
    answer = prediction.to_dict()
    assert [one["label"] for one in answer["predictions"]] == ["红", "green", "blue"]
    assert sum(one["probability"] for one in answer["predictions"]) == pytest.approx(1, abs=1e-5)
    assert answer["model"] == json.loads((exported_model / "model.json").read_text())["version"]
    assert prediction.to_dict(top_k=1)["predictions"] == answer["predictions"][:1]
    assert list(answer) == ["label", "known", "predictions", "model"]
    assert answer["known"] is True


def test_probabilities_are_those_of_the_formula_behind_the_model(exported_model):
    logits = 6 * np.array(GREEN) / 255
    expected = np.exp(logits) / np.exp(logits).sum()
    assert Predictor(exported_model).predict(encoded(GREEN)).probabilities == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("colour", "known", "why"),
    [
        (RED, True, "sure and near"),
        ((120, 10, 5), True, "the same colour, darker"),
        ((250, 110, 90), False, "sure, and unlike the colours of training"),
        ((30, 2, 1), False, "like the colours of training, and unsure"),
        ((128, 128, 128), False, "neither"),
    ],
)
def test_known_is_what_is_sure_and_like_the_pictures_of_training(exported_model, colour, known, why):
    predictor = Predictor(exported_model)
    prediction = predictor.predict(encoded(colour))
    assert prediction.known is known, why
    bounds = predictor.card.content["formats"]["float32"]["known"]
    far, unsure = (
        prediction.distance > bounds["max_distance"],
        prediction.probabilities.max() < bounds["min_confidence"],
    )
    assert (far, unsure) == ("unlike" in why or why == "neither", "unsure" in why or why == "neither")
    features = np.array([colour], np.float32) / 255
    assert prediction.distance == pytest.approx(Detector.load(exported_model / "ood.npz").distances(features)[0], 1e-3)


def test_heat_map_is_where_the_colour_is(exported_model):
    pixels = np.full((32, 32, 3), BLUE, np.uint8)
    pixels[4:12, 20:30] = RED
    predictor = Predictor(exported_model)
    red, blue, best = (predictor.heatmap(pixels, index) for index in (0, 2, None))
    assert red.shape == (32, 32)
    assert (red > 0).sum() == 80
    assert (red[4:12, 20:30] > 0).all()
    assert np.array_equal(best, blue)
    logits = np.log(predictor.predict_pixels(pixels).probabilities)
    assert red.mean() == pytest.approx(logits[0] - logits.mean(), abs=1e-3)


def test_heat_map_is_by_occlusion_where_no_map_is_pooled(export_copy):
    change_format(export_copy, map=None)
    pixels = np.full((32, 32, 3), BLUE, np.uint8)
    pixels[5:9, 18:23] = RED
    evidence = Predictor(export_copy).heatmap(pixels, 0)
    assert evidence.shape == (7, 7)
    assert np.unravel_index(evidence.argmax(), (7, 7)) == (1, 4)


def test_without_features_the_distance_is_not_known_and_does_not_count(export_copy):
    change_format(export_copy, features=None, map=None)
    predictor = Predictor(export_copy)
    for colour, known in ((RED, True), ((250, 110, 90), True), ((128, 128, 128), False)):
        prediction = predictor.predict(encoded(colour))
        assert np.isnan(prediction.distance)
        assert prediction.known is known


def test_turned_picture_is_answered_as_its_upright_twin(exported_model):
    pixels = np.zeros((40, 90, 3), np.uint8)  # the square crop sees columns 25 to 65: which ones decides
    pixels[:, :30], pixels[:, 30:50], pixels[:, 50:] = RED, GREEN, BLUE
    upright = Image.fromarray(pixels)
    orientation = Image.Exif()
    orientation[0x0112] = 6  # to be turned clockwise by whoever shows it
    plain, turned = io.BytesIO(), io.BytesIO()
    upright.save(plain, "PNG")
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, "PNG", exif=orientation)
    predictor = Predictor(exported_model)
    assert predictor.predict(turned.getvalue()).to_dict() == predictor.predict(plain.getvalue()).to_dict()


def test_eight_threads_get_the_answers_that_one_gets(exported_model):
    predictor = Predictor(exported_model)
    generator = np.random.default_rng(0)
    pictures = [encoded(tuple(map(int, generator.integers(0, 256, 3)))) for _ in range(160)]
    alone = [predictor.predict(data).to_dict() for data in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: predictor.predict(data).to_dict(), pictures))
    assert together == alone
    assert len({answer["label"] for answer in alone}) == 3


def test_damaged_picture_is_an_image_error(exported_model):
    predictor = Predictor(exported_model)
    with pytest.raises(ImageError):
        predictor.predict(encoded(RED)[:60])
    with pytest.raises(ImageError):
        predictor.predict(b"<html>404</html>")


@pytest.mark.parametrize(("in_project", "advice"), [(True, "run `dvc repro` to"), (False, "run this in the project's")])
def test_missing_model_says_how_to_have_one(tmp_path, in_project, advice):
    if in_project:
        (tmp_path / "params.yaml").touch()
    with pytest.raises(ModelError, match=r"model\.json is missing") as caught:
        Predictor(tmp_path / "models" / "export")
    assert caught.value.hint.startswith(advice)
    assert caught.value.hint.endswith("or name the folder of an exported model")


@pytest.mark.parametrize("name", ["model.tflite", "labels.txt", "head.npz", "ood.npz"])
def test_altered_file_is_refused(export_copy, name):
    content = bytearray((export_copy / name).read_bytes())
    content[-2] ^= 1
    (export_copy / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} was altered") as caught:
        Predictor(export_copy)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["model.tflite", "labels.txt", "head.npz", "ood.npz"])
def test_missing_file_is_refused(export_copy, name):
    (export_copy / name).unlink()
    with pytest.raises(ModelError, match=f"cannot read .*{name}"):
        Predictor(export_copy)


def test_newer_format_is_told_from_a_broken_one(export_copy):
    change_card(export_copy, format=3, classes="told otherwise")
    with pytest.raises(ModelError, match="format 3, newer than the 2 that this version of imageloom reads") as caught:
        Predictor(export_copy)
    assert "update" in caught.value.hint
    change_card(export_copy, format=1)
    with pytest.raises(ModelError, match="format 1, older than the 2") as caught:
        Predictor(export_copy)
    assert "dvc repro" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "2"}, "no format number"),
        ({"format": True}, "no format number"),
        ({"classes": None}, "classes must be of the type array; found None"),
        ({"classes": [{"label": "x"}] * 3}, r"classes\[0\] lacks 'name'"),
        ({"classes": [{"name": "a", "label": "a"}, {"name": "b", "label": "b"}]}, "lists 3 labels that are not the 2"),
        ({"files": {}}, "files needs at least 1 entries"),
        ({"files": {"model.tflite": "0" * 64}}, "has no SHA-256 of labels.txt"),
        ({"input": {"size": 32, "aspect": "fit"}}, "aspect must be one of crop, pad, stretch; found 'fit'"),
        ({"input": {"size": 64, "aspect": "crop"}}, "side 32"),
        ({"formats": {"jpeg": {}}}, "the name 'jpeg' must be one of float32"),
        ({"formats": {"float32": {"file": "../model.tflite"}}}, "lacks 'head'"),
    ],
)
def test_description_that_does_not_hold_is_refused(export_copy, changes, message):
    change_card(export_copy, **changes)
    with pytest.raises(ModelError, match=message):
        Predictor(export_copy)


@pytest.mark.parametrize("text", ["{", '{"format": 2, "temperature": NaN}', "[" * 100_000])
def test_description_that_is_no_sound_json_is_refused(export_copy, text):
    (export_copy / "model.json").write_text(text)
    with pytest.raises(ModelError, match="is not JSON"):
        Predictor(export_copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "../model.tflite"}, "file must look like"),
        ({"known": {"min_confidence": 0.5}}, "known lacks 'max_distance'"),
        ({"features": 1000}, "has no tensor 1000"),
        ({"features": 0}, r"tensor 0 of .* has the shape \[1, 32, 32, 3\]"),
        ({"map": -1}, "map is out of range"),
        ({"map": 6}, r"tensor 6 of .* has the shape \[1, 3\]"),
    ],
)
def test_format_that_does_not_hold_is_refused(export_copy, changes, message):
    change_format(export_copy, **changes)
    with pytest.raises(ModelError, match=message):
        Predictor(export_copy)


def test_a_format_that_was_not_exported_is_named(exported_model):
    with pytest.raises(ModelError, match="holds no int8 model") as caught:
        Predictor(exported_model, "int8")
    assert "float32" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.tflite", b"", "is no TFLite model"),
        ("model.tflite", b"<html>404</html>", "is no TFLite model"),
        ("ood.npz", b"PK\x03\x04", r"ood\.npz is damaged"),
        ("labels.txt", "红\ngreen\n".encode(), "lists 2 labels that are not the 3"),
        ("labels.txt", "红\ngreen\nblue\n\n".encode(), "lists 4 labels that are not the 3"),
    ],
)
def test_files_that_are_not_what_they_should_be_are_refused(export_copy, name, content, message):
    replace(export_copy, name, content)
    with pytest.raises(ModelError, match=message):
        Predictor(export_copy)


def test_a_model_cut_short_is_refused_even_with_its_own_digest(export_copy):
    content = (export_copy / "model.tflite").read_bytes()
    replace(export_copy, "model.tflite", content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"model\.tflite is (damaged|not a usable TFLite model)"):
        Predictor(export_copy)


def test_a_detector_of_another_backbone_is_refused(export_copy):
    other = export_copy / "other.npz"
    Detector.fit(np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)).save(other)
    replace(export_copy, "ood.npz", other.read_bytes())
    with pytest.raises(ModelError, match="features are 8 numbers"):
        Predictor(export_copy)


def test_a_damaged_head_is_told_when_a_heat_map_needs_it(export_copy):
    replace(export_copy, "head.npz", b"no arrays")
    predictor = Predictor(export_copy)
    assert predictor.predict(encoded(RED)).label == "红"
    with pytest.raises(ModelError, match=r"head\.npz is damaged"):
        predictor.heatmap(predictor.load(encoded(RED)))


def test_labels_that_do_not_fit_the_outputs_are_refused(colour_tflite, write_export, tmp_path):
    folder = write_export(tmp_path / "two", colour_tflite, [("a", "a"), ("b", "b")])
    with pytest.raises(ModelError, match="3 outputs for 2 labels"):
        Predictor(folder)


def test_labels_may_hold_what_python_takes_for_line_ends(export_with_labels):
    labels = ["卡特彼勒", "two\u2028lines", "\x85 last"]
    assert Predictor(export_with_labels(labels)).labels == tuple(labels)


def test_importing_and_predicting_loads_no_heavy_library(exported_model):
    script = f"""
        import sys
        from pathlib import Path
        from imageloom.predictor import Predictor
        Predictor(Path({str(exported_model)!r})).predict({encoded(RED)!r})
        print(sorted({{"tensorflow", "pandas", "mlflow", "sklearn", "pyarrow", "pydantic"}} & set(sys.modules)))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_mlflow_loads_the_exported_folder_and_answers_the_same(exported_model, tmp_path):
    script = f"""
        import json, sys
        import mlflow.pyfunc
        import pandas as pd
        mlflow.pyfunc.save_model({str(tmp_path / "packed")!r}, loader_module="imageloom.predictor",
                                 data_path={str(exported_model)!r}, pip_requirements=["pillow"])
        model = mlflow.pyfunc.load_model({str(tmp_path / "packed")!r})
        answer = model.predict(pd.DataFrame({{"image": [{encoded(RED)!r}, {encoded(BLUE)!r}]}}, index=[7, 9]))
        print(json.dumps([list(answer.columns), list(answer.index), answer.values.tolist()]))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    columns, index, rows = json.loads(run.stdout.splitlines()[-1])
    assert columns == ["label", "known", "红", "green", "blue"]
    assert index == [7, 9]
    predictor = Predictor(exported_model)
    for row, colour in zip(rows, (RED, BLUE), strict=True):
        expected = predictor.predict(encoded(colour))
        assert row == [expected.label, True, *map(float, expected.probabilities)]
