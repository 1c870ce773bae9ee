"""The whole demo, as a person meets it: crawled, trained, measured, exported, logged, served."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from clones import Clone
from justhtml import JustHTML

from imageloom import tables

pytestmark = pytest.mark.slow

PURE = ("backbone", "embed", "clean", "split", "train", "evaluate", "export")


def test_it_is_as_good_as_it_must_be(demo):
    metrics = json.loads((demo.root / "reports/metrics.json").read_text())
    assert metrics["accuracy"] >= 0.85
    assert metrics["macro_f1"] >= 0.81
    assert metrics["accuracy"] > metrics["majority_baseline"] + 0.1
    total = {name: sum(side[name] for side in metrics["pictures"].values()) for name in ("functional", "defective")}
    assert total == {"functional": 1508, "defective": 715}


def test_the_report_says_how_many_pictures_were_where_and_what_their_licence_is(demo):
    page = (demo.root / "reports/index.html").read_text()
    metrics = json.loads((demo.root / "reports/metrics.json").read_text())
    for name in ("functional", "defective"):
        counts = "".join(f"<td>{metrics['pictures'][side][name]:,}</td>" for side in tables.SIDES)
        assert counts in page
    assert "CC BY-NC-SA 4.0" in page
    assert "BSD-3-Clause" in page
    assert "CC BY-NC-SA 4.0</td>" in page.partition("Attribution")[2]  # beside the authors
    assert re.search(r'<td class="words">(mono|poly)', page)  # apart, as the parameters ask


def test_the_report_of_the_demo_is_light_and_keeps_to_the_standard(demo):
    path = demo.root / "reports/index.html"
    assert path.stat().st_size < 5_000_000
    JustHTML(path.read_text(encoding="utf-8"), strict=True)


def test_the_log_is_free_of_noise(demo):
    for line in demo.log.splitlines():
        assert not re.search(r"warning|deprecat|oneDNN|cuda|XNNPACK|Traceback", line, re.IGNORECASE), line


def test_dvc_is_not_told_of_its_own_crawl(demo):
    assert "addresses in" in demo.log
    assert "dvc commit" not in demo.log


def test_the_summary_says_how_good_it_is_and_what_comes_next(demo):
    said = demo.run("imageloom", "summary")
    metrics = json.loads((demo.root / "reports/metrics.json").read_text())
    assert f"{metrics['accuracy'] * 100:.1f}" in said or f"{metrics['accuracy']:.3f}" in said
    for part in ("reports/index.html", "make serve", "make ui", "dvc repro"):
        assert part in said


def test_a_second_time_there_is_nothing_to_do(demo):
    assert "Running stage" not in demo.run("dvc", "repro")


def test_another_clone_makes_the_same_bytes(demo, demo_port, tmp_path):
    other = Clone.make(tmp_path / "另一个 clone", demo_port)
    other.run("dvc", "repro", "evaluate", "export")
    ours, theirs = demo.outs(), other.outs()
    for out in theirs:
        if out.startswith(PURE):
            assert theirs[out] == ours[out], out
    assert {out.split(":")[0] for out in theirs} >= set(PURE)


@pytest.mark.parametrize(
    ("path", "edit", "runs"),
    [
        ("src/imageloom/evaluate/metrics.py", "\n\ndef more() -> int:\n    return 1\n", {"evaluate"}),
        ("src/imageloom/split.py", "\n# a remark\n", {"split"}),
        ("src/imageloom/serving/app.py", "\n# a remark\n", set()),
        ("src/imageloom/predict.py", "\n# a remark\n", set()),
        ("src/imageloom/scrape.py", "\n# a remark\n", set()),
        ("flows/pipeline.py", "\n# a remark\n", set()),
    ],
)
def test_an_edit_runs_what_uses_it_and_no_more(demo, tmp_path, path, edit, runs):
    clone = demo.copy(tmp_path / "clone")
    with (clone.root / path).open("a") as file:
        file.write(edit)
    log = clone.run("dvc", "repro")
    # The outcome is the same to the byte, so what follows has nothing to do.
    assert set(re.findall(r"Running stage '(\w+)'", log)) == runs


def test_a_function_that_changes_the_outcome_runs_all_that_follows(demo, tmp_path):
    clone = demo.copy(tmp_path / "clone")
    path = clone.root / "src/imageloom/split.py"
    text = path.read_text()
    assert text.count('f"{seed}:{root}"') == 1
    path.write_text(text.replace('f"{seed}:{root}"', 'f"{root}:{seed}"'))
    log = clone.run("dvc", "repro", "evaluate")
    assert re.findall(r"Running stage '(\w+)'", log) == ["split", "train", "evaluate"]


def test_a_stage_that_fails_takes_nothing_away(demo, tmp_path):
    clone = demo.copy(tmp_path / "clone")
    model = (clone.root / "models/export/model.tflite").read_bytes()
    clone.configure(export={"tolerance": 1e-15})
    said = clone.run("dvc", "repro", code=255)
    assert "error: " in said
    assert (clone.root / "models/export/model.tflite").read_bytes() == model
    assert "accuracy" in clone.run("imageloom", "summary")


@pytest.mark.parametrize("stage", ["embed", "clean", "split", "train", "evaluate", "track"])
def test_only_backbone_and_export_import_tensorflow(demo, tmp_path, stage):
    clone = demo.copy(tmp_path / "clone")
    code = (
        f"import sys; from imageloom.cli import main; assert main(['{stage}']) == 0; print('tensorflow' in sys.modules)"
    )
    assert clone.run(sys.executable, "-c", code).splitlines()[-1] == "False"


@pytest.fixture(scope="module")
def server(demo):
    """The demo's model, served; gives the address."""
    process = demo.start("imageloom", "serve", "--port", "0", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    address = None
    for line in process.stdout:
        if found := re.search(r"http://[\d.]+:\d+", line):
            address = found[0]
            break
    assert address
    yield address
    process.terminate()
    process.communicate(timeout=60)


def test_the_same_answer_from_server_command_line_and_saved_model(demo, server):
    import tensorflow as tf

    from imageloom import images

    card = json.loads((demo.root / "models/export/model.json").read_text())
    model = tf.saved_model.load(str(demo.root / "models/export/saved_model")).signatures["serving_default"]
    for path in sorted((demo.root / "data/raw/defective").iterdir())[:5]:
        curl = ["curl", "--silent", "--data-binary", f"@{path}", f"{server}/predict"]
        served = json.loads(subprocess.run(curl, check=True, capture_output=True).stdout)
        printed = json.loads(demo.run("imageloom", "predict", str(path), "--json"))[0]
        pixels = images.load(path.read_bytes(), card["input"]["size"], card["input"]["aspect"])
        probabilities = model(images=tf.constant(pixels[np.newaxis]))["probabilities"].numpy()[0]
        expected = {spec["name"]: share for spec, share in zip(card["classes"], probabilities, strict=True)}
        for answer in (served, printed):
            shares = {entry["name"]: entry["probability"] for entry in answer["predictions"]}
            assert shares == pytest.approx(expected, abs=1e-3)
            assert answer["label"] == max(expected, key=expected.get)


def test_server_knows_no_tensorflow_and_answers_at_once(demo):
    code = (
        "import sys; from pathlib import Path; from imageloom.predictor import Predictor; import imageloom.serving.app;"
        "Predictor(Path('models/export')); print([m for m in ('tensorflow', 'sklearn', 'pandas') if m in sys.modules])"
    )
    assert demo.run(sys.executable, "-c", code).strip() == "[]"


def test_logged_model_predicts_from_bytes_what_the_command_line_does(demo):
    run = json.loads((demo.root / "reports/mlflow_run.json").read_text())
    assert run["run_id"]
    path = next((demo.root / "data/raw/functional").iterdir())
    code = f"""
import mlflow, pandas
mlflow.set_tracking_uri("sqlite:///mlflow.db")
model = mlflow.pyfunc.load_model("models:/imageloom/1")
print(model.predict(pandas.DataFrame({{"image": [open({str(path)!r}, "rb").read()]}})).to_json(orient="records"))
print(sorted(mlflow.get_run({run["run_id"]!r}).data.metrics))
print([entry.path for entry in mlflow.MlflowClient().list_artifacts({run["run_id"]!r})])
"""
    answer, metrics, artifacts = demo.run(sys.executable, "-W", "ignore", "-c", code).strip().splitlines()[-3:]
    printed = json.loads(demo.run("imageloom", "predict", str(path), "--json"))[0]
    assert json.loads(answer)[0]["label"] == printed["label"]
    for entry in printed["predictions"]:
        assert json.loads(answer)[0][entry["label"]] == pytest.approx(entry["probability"], abs=1e-3)
    assert "accuracy" in metrics
    assert "index.html" in artifacts or "report" in artifacts


def test_growth_of_a_folder_embeds_only_what_is_new_and_moves_nothing(demo, tmp_path):
    clone = demo.copy(tmp_path / "clone")
    for made in ("data/raw", "data/features"):
        shutil.rmtree(clone.root / made)
    clone.configure(scrape={"sources": [{"kind": "folder"}]})
    pictures = {name: sorted((demo.root / "data/raw" / name).iterdir()) for name in ("functional", "defective")}

    def put(first: int, last: int) -> None:
        for name, paths in pictures.items():
            for path in paths[first:last]:
                target = clone.root / "data/pictures" / name / f"Foto {path.stem} 🌞.png"
                target.parent.mkdir(exist_ok=True)
                shutil.copy(path, target)

    def sides() -> dict[str, str]:
        rows = tables.read(clone.root / "data/split/split.parquet", tables.SPLIT, "split").to_pylist()
        return {row["id"]: row["side"] for row in rows}

    put(0, 100)
    clone.run("dvc", "repro", "evaluate")
    before = sides()
    put(100, 110)
    log = clone.run("dvc", "repro", "evaluate")
    assert "20 new images embedded, 200 had their features already" in log
    after = sides()
    assert len(after) == 220
    assert {name: after[name] for name in before} == before


def test_pictures_can_be_lost_nowhere_on_the_way(demo):
    stored = {path.name for path in (demo.root / "data/raw").glob("*/*.png")}
    split = tables.read(demo.root / "data/split/split.parquet", tables.SPLIT, "split")
    assert {Path(path).name for path in split["path"].to_pylist()} == stored
    assert len(stored) == 2223


def test_parameters_that_git_shows_are_those_that_ran(demo):
    lock = yaml.safe_load((demo.root / "dvc.lock").read_text())
    shipped = yaml.safe_load((demo.root / "params.yaml").read_text())
    assert lock["stages"]["split"]["params"]["params.yaml"]["split"] == shipped["split"]


def test_the_page_is_there(server):
    with urllib.request.urlopen(f"{server}/", timeout=60) as answer:
        assert b"imageloom" in answer.read()
