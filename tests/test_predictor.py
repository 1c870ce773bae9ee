"""An exported model gives the same answer however it is asked, and an unsound one is refused."""

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
from imageloom.predictor import Predictor

RED, GREEN, BLUE = (240, 20, 10), (20, 230, 10), (10, 20, 240)


def encoded(colour: tuple[int, int, int], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), colour).save(buffer, kind)
    return buffer.getvalue()


def change_card(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


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


def test_probabilities_are_those_of_the_formula_behind_the_model(exported_model):
    logits = 6 * np.array(GREEN) / 255
    expected = np.exp(logits) / np.exp(logits).sum()
    assert Predictor(exported_model).predict(encoded(GREEN)).probabilities == pytest.approx(expected, abs=1e-5)


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
    assert caught.value.hint.endswith("or name the model's folder with --model")


@pytest.mark.parametrize("name", ["model.tflite", "labels.txt"])
def test_altered_file_is_refused(export_copy, name):
    content = bytearray((export_copy / name).read_bytes())
    content[-2] ^= 1
    (export_copy / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} was altered") as caught:
        Predictor(export_copy)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["model.tflite", "labels.txt"])
def test_missing_file_is_refused(export_copy, name):
    (export_copy / name).unlink()
    with pytest.raises(ModelError, match=f"cannot read .*{name}"):
        Predictor(export_copy)


def test_newer_format_is_told_from_a_broken_one(export_copy):
    change_card(export_copy, format=2)
    with pytest.raises(ModelError, match="format 2; this version of imageloom reads up to 1") as caught:
        Predictor(export_copy)
    assert "update" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "1"}, "no format number"),
        ({"classes": None}, "no 'classes'"),
        ({"classes": [{"label": "x"}] * 3}, "every class needs a name"),
        ({"classes": [{"name": "a"}, {"name": "b"}]}, "lists 3 labels that are not the 2"),
        ({"files": {}}, "no SHA-256"),
        ({"input": {"size": 32, "aspect": "fit"}}, "aspect among crop, pad, stretch"),
        ({"input": {"size": 64, "aspect": "crop"}}, "side 32"),
    ],
)
def test_description_that_does_not_hold_is_refused(export_copy, changes, message):
    change_card(export_copy, **changes)
    with pytest.raises(ModelError, match=message):
        Predictor(export_copy)


def test_description_that_is_not_json_is_refused(export_copy):
    (export_copy / "model.json").write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        Predictor(export_copy)


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
    assert columns == ["label", "红", "green", "blue"]
    assert index == [7, 9]
    predictor = Predictor(exported_model)
    for row, colour in zip(rows, (RED, BLUE), strict=True):
        expected = predictor.predict(encoded(colour))
        assert row == [expected.label, *map(float, expected.probabilities)]
