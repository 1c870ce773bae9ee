"""Results reach a real MLflow store, and a store that is away costs nothing."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from projects import picture

from imageloom import cli, mlflow_epochs, mlflow_store, runtimes, tables, track
from imageloom.errors import DataError, ModelError
from imageloom.files import Paths, write_json
from imageloom.predictor import Predictor

CLASSES = ("red", "green", "blue")

PARAMS = """
classes:
  - { name: red, label: 红 }
  - { name: green }
  - { name: blue }
scrape: { sources: [ { kind: folder, path: "%s" } ] }
split: { seed: 7 }
"""


CLEANING = {"decisions": {"all": 7, "relabel": 4, "drop": 3}, "accuracy": {"as_they_came": 0.8, "cleaned": 0.85}}


def scores(accuracy: float) -> dict[str, Any]:
    per_class = {"precision": 0.5, "recall": 0.6, "f1": 0.55, "support": 2}
    return {
        "accuracy": accuracy,
        "accuracy_interval": [0.8, 0.9],
        "macro_f1": 0.7,
        "macro_f1_interval": [0.6, 0.8],
        "majority_baseline": 0.4,
        "log_loss": 0.3,
        "pictures": {side: dict.fromkeys(CLASSES, 2) for side in tables.SIDES},
        "classes": dict.fromkeys(CLASSES, per_class),
    }


@pytest.fixture
def paths(exported_model: Path, empty_mlflow: Path, tmp_path: Path) -> Paths:
    """A project after the stage `export`, in a folder with a space and an emoji; its store is there and empty."""
    paths = Paths(tmp_path / "my project 🐈")
    paths.root.mkdir()
    shutil.copy(empty_mlflow, paths.root / "mlflow.db")
    rows = []
    for number, (name, side) in enumerate((name, side) for name in CLASSES for side in tables.SIDES for _ in range(2)):
        target = paths.raw / name / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(picture("warm", number))
        row = {"id": f"{number:064x}", "class": name, "path": f"{name}/{number}.png", "group": "g", "side": side}
        rows.append(row)
    tables.write(paths.split, rows, tables.SPLIT)
    shutil.copytree(exported_model, paths.export)
    write_json(paths.reports / "metrics.json", scores(0.85))
    write_json(paths.reports / "clean" / "metrics.json", CLEANING)
    (paths.reports / "clean" / "index.html").write_text("<html>", encoding="utf-8")
    (paths.reports / "index.html").write_text("<html>", encoding="utf-8")
    (paths.reports / "confusion.csv").write_text("actual,predicted\n", encoding="utf-8")
    (paths.reports / "figures").mkdir()
    (paths.reports / "figures" / "confusion.png").write_bytes(picture("warm", 1))
    paths.params.write_text(PARAMS % ("x" * 7000), encoding="utf-8")
    return paths


@pytest.fixture
def logged(paths: Paths) -> dict[str, Any]:
    return log(paths)


def log(paths: Paths, **settings: str) -> dict[str, Any]:
    track.run(track.Params(**settings), paths)
    return json.loads((paths.reports / "mlflow_run.json").read_text(encoding="utf-8"))


def client(paths: Paths) -> Any:
    import mlflow

    uri = f"sqlite:///{paths.root / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient()


def test_run_holds_parameters_metrics_and_files(paths: Paths, logged: dict[str, Any]) -> None:
    assert logged["tracking_uri"] == "sqlite:///mlflow.db"
    assert (logged["experiment"], logged["model_name"], logged["model_version"]) == ("imageloom", "imageloom", "1")
    run = client(paths).get_run(logged["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["split.seed"] == "7"
    assert "红" in run.data.params["classes"]
    assert len(run.data.params["scrape.sources"]) == track.MAX_VALUE
    assert run.data.params["data.pictures"] == "18"
    assert len(run.data.params["data.digest"]) == 64
    metrics = run.data.metrics
    assert (metrics["accuracy"], metrics["accuracy_low"], metrics["accuracy_high"]) == (0.85, 0.8, 0.9)
    assert (metrics["f1/green"], metrics["pictures_train/blue"]) == (0.55, 2)
    assert (metrics["decisions/all"], metrics["decisions/drop"], metrics["cleaning/accuracy_cleaned"]) == (7, 3, 0.85)
    files = {item.path for item in client(paths).list_artifacts(logged["run_id"], "reports")}
    folders = {"reports/figures", "reports/clean"}
    assert files == {"reports/index.html", "reports/metrics.json", "reports/confusion.csv"} | folders
    assert {item.path for item in client(paths).list_artifacts(logged["run_id"], "reports/clean")} == {
        "reports/clean/index.html",
        "reports/clean/metrics.json",
    }
    assert [item.path for item in client(paths).list_artifacts(logged["run_id"], "reports/figures")] == [
        "reports/figures/confusion.png"
    ]
    assert (paths.root / "mlruns").is_dir()


def test_epochs_are_logged_while_training_runs_and_the_result_into_the_same_run(paths: Paths, capsys: Any) -> None:
    place = mlflow_epochs.Place("sqlite:///mlflow.db", "imageloom", paths.root)
    told = [json.dumps(dict.fromkeys(mlflow_epochs.LOGGED, 1 / step) | {"step": step}) for step in (1, 2)]
    mlflow_epochs.follow("abc", told[:1], place)
    store = client(paths)
    experiment = store.get_experiment_by_name("imageloom").experiment_id
    assert [run.info.status for run in store.search_runs([experiment])] == ["KILLED"]
    mlflow_epochs.follow("abc", [told[1], "done\n"], place)
    assert [run.info.status for run in store.search_runs([experiment])] == ["RUNNING"]
    write_json(paths.classifier / "classifier.json", {"training": "abc"})
    first = log(paths)
    run = store.get_run(first["run_id"])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "0.850 " + Predictor(paths.export).version
    losses = store.get_metric_history(first["run_id"], "epoch/validation_loss")
    assert {one.step: one.value for one in losses} == {1: 1.0, 2: 0.5}
    mlflow_epochs.follow("abc", [*told, "done\n"], place)  # the same once more, by force
    assert log(paths)["run_id"] == first["run_id"]
    assert [run.info.run_id for run in store.search_runs([experiment])] == [first["run_id"]]
    mlflow_epochs.follow("abc", told, mlflow_epochs.Place("sqlite:///no/folder/mlflow.db", "imageloom", paths.root))
    assert "epochs are not logged while training runs" in capsys.readouterr().err


def test_model_loads_and_predicts_from_bytes_as_the_predictor_does(paths: Paths, logged: dict[str, Any]) -> None:
    import mlflow
    import pandas as pd

    client(paths)
    model = mlflow.pyfunc.load_model(f"models:/{logged['model_name']}/{logged['model_version']}")
    pictures = [picture("warm", 100), picture("cold", 101)]
    answers = model.predict(pd.DataFrame({"image": pictures}))
    predictor = Predictor(paths.export)
    assert list(answers.columns) == ["label", "known", "红", "green", "blue"]
    for data, (_, row) in zip(pictures, answers.iterrows(), strict=True):
        expected = predictor.predict(data)
        assert (row["label"], row["known"]) == (expected.label, expected.known)
        assert list(row.iloc[2:]) == pytest.approx([float(share) for share in expected.probabilities])
    assert isinstance(model.input_example["image"].iloc[0], bytes)
    assert list(model.predict(model.input_example)["label"]) == [
        predictor.predict(model.input_example["image"].iloc[0]).label
    ]
    assert [column.name for column in model.metadata.signature.inputs] == ["image"]


def test_same_result_is_one_run_and_a_new_result_another(paths: Paths, logged: dict[str, Any]) -> None:
    assert log(paths) == logged
    write_json(paths.reports / "metrics.json", scores(0.86))
    other = log(paths)
    assert other["run_id"] != logged["run_id"]
    assert other["model_version"] == "2"
    experiment = client(paths).get_experiment_by_name("imageloom").experiment_id
    assert len(client(paths).search_runs([experiment])) == 2


def test_store_that_cannot_be_written_warns_and_is_made_up_for(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    (paths.root / "mlflow.db").write_bytes(b"this is no database" * 100)
    entry = log(paths)
    assert entry["run_id"] is None
    assert "not a database" in entry["error"]
    said = capsys.readouterr()
    assert said.err.startswith("warning: the result was not logged: sqlite:///mlflow.db cannot be written: ")
    assert "`imageloom track`" in said.err
    (paths.root / "mlflow.db").unlink()
    entry = log(paths)
    assert entry["run_id"]
    assert "error" not in entry


@pytest.mark.parametrize("answering", [False, True], ids=["refuses", "hangs"])
def test_dead_server_warns_soon_and_keeps_the_password(
    paths: Paths, answering: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answering:
            server.listen()
        port = server.getsockname()[1]
        started = time.monotonic()
        entry = log(paths, tracking_uri=f"http://me:s3cret@127.0.0.1:{port}/")
        assert time.monotonic() - started < 100  # of the minutes for which MLflow would try by itself
    assert entry["run_id"] is None
    assert entry["tracking_uri"] == f"http://127.0.0.1:{port}/"
    assert "s3cret" not in json.dumps(entry) + capsys.readouterr().err


def test_command_says_one_line_and_notes_the_revision(paths: Paths) -> None:
    git: Callable[..., str] = lambda *words: subprocess.run(  # noqa: E731
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
        cwd=paths.root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    git("init", "-q")
    git("add", "params.yaml", "reports/metrics.json")
    git("commit", "-qm", "x")
    # What the stages wrote is no change to what made it.
    write_json(paths.reports / "metrics.json", scores(0.9))
    done = subprocess.run(
        [sys.executable, "-m", "imageloom.cli", "track", "-C", str(paths.root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("track: logged as run ")
    run_id = json.loads((paths.reports / "mlflow_run.json").read_text(encoding="utf-8"))["run_id"]
    tags = client(paths).get_run(run_id).data.tags
    assert tags["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert tags["git.uncommitted_changes"] == "no"


def test_an_experiment_is_logged_elsewhere_under_a_name_and_with_what_it_cost(paths: Paths) -> None:
    store = paths.root.parent / "the user's" / "mlflow.db"
    store.parent.mkdir()
    (paths.root / "mlflow.db").rename(store)
    words = ["track", "-C", str(paths.root), "--experiment", "trials", "--name", "卡 a", "--tracking-uri"]
    words += [f"sqlite:///{store}", "--cost"]
    assert cli.main([*words, "training_seconds=12.5"]) == 0
    runs = mlflow_store.runs("trials", store.parent)
    assert [run.name for run in runs] == ["卡 a"]
    metrics = runs[0].metrics
    assert metrics["training_seconds"] == 12.5
    assert metrics["model_megabytes"] == pytest.approx((paths.export / "model.tflite").stat().st_size / 1e6)
    assert 0 < metrics["milliseconds_per_picture"] < 60_000
    assert (store.parent / "mlruns").is_dir()
    assert not (paths.root / "mlflow.db").exists()
    # The same result is one run; what it cost is of the last time.
    assert cli.main([*words, "training_seconds=9"]) == 0
    runs = mlflow_store.runs("trials", store.parent)
    assert [run.metrics["training_seconds"] for run in runs] == [9]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--cost", "fast"], "error: --cost fast: not a name and a number"),
        (["--tracking-uri", "mlruns"], "error: --tracking-uri: "),
        (["--experiment", ""], "error: --experiment: "),
    ],
)
def test_options_that_cannot_be_logged_are_refused(words: list[str], error: str, paths: Paths, capsys) -> None:
    (paths.root / "mlflow.db").unlink()
    assert cli.main(["track", "-C", str(paths.root), *words]) == 2
    assert capsys.readouterr().err.startswith(error)
    assert not (paths.root / "mlflow.db").exists()


def test_missing_result_is_an_error_and_not_a_warning(paths: Paths) -> None:
    shutil.rmtree(paths.export)
    with pytest.raises(ModelError):
        log(paths)
    (paths.reports / "metrics.json").unlink()
    with pytest.raises(DataError):
        log(paths)


def test_digest_of_the_data_ignores_order_and_notices_a_changed_class() -> None:
    rows = [("a", "cat"), ("b", "dog")]
    assert track.data_digest(rows) == track.data_digest(reversed(rows))
    assert track.data_digest(rows) != track.data_digest([("a", "dog"), ("b", "dog")])
    assert track.data_digest(rows) != track.data_digest(rows[:1])


def test_class_names_that_mlflow_refuses_stay_distinct() -> None:
    content = scores(0.5)
    content["classes"] = {"c+": {"f1": 0.1}, "c-#": {"f1": 0.2}, "c_": {"f1": 0.3}, "卡特彼勒": {"f1": 0.4}}
    content["pictures"] = {}
    metrics = track._metrics(content)
    assert sorted(value for name, value in metrics.items() if name.startswith("f1/")) == [0.1, 0.2, 0.3, 0.4]
    assert metrics["f1/卡特彼勒"] == 0.4


@pytest.mark.parametrize("uri", ["mlruns", "file:///tmp/x", ""])
def test_path_is_refused_as_a_tracking_uri(uri: str) -> None:
    with pytest.raises(ValueError, match="must be an address"):
        track.Params(tracking_uri=uri)


def test_a_registered_model_is_opened_by_its_alias_and_its_version(
    paths: Paths, logged: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client(paths).set_registered_model_alias("imageloom", "champion", logged["model_version"])
    monkeypatch.chdir(paths.root)
    expected = Predictor(paths.export).predict(picture("warm", 5)).to_dict()
    for name in ("mlflow:models/imageloom@champion", "models:/imageloom@champion", "mlflow:models/imageloom/1"):
        assert runtimes.open_model(name).predict(picture("warm", 5)).to_dict() == expected
    for name in ("mlflow:models/imageloom@challenger", "mlflow:models/imageloom/7", "mlflow:models/other@champion"):
        with pytest.raises(ModelError, match="cannot open") as told:
            runtimes.open_model(name)
        assert "\n" not in told.value.message


def test_a_registered_model_without_a_store_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it when it is told where its store is
    with pytest.raises(ModelError, match="no MLflow store at"):
        runtimes.open_model("mlflow:models/imageloom@champion")
    assert not list(tmp_path.iterdir())
