"""A model that is named by an alias of MLflow's registry is served, and the next one when the alias moves."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_serve_http import RED, ask

pytestmark = pytest.mark.slow

# Logs two exported folders as versions 1 and 2, as the stage `track` does, and prints their runs.
LOG = """
import json, sys
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.create_experiment("cells", artifact_location="mlruns")
mlflow.set_experiment("cells")
runs = []
for folder in sys.argv[1:]:
    with mlflow.start_run() as run:
        mlflow.pyfunc.log_model(
            name="model", loader_module="imageloom.predictor", data_path=folder, registered_model_name="cells",
            pip_requirements=[],
        )
        runs.append(run.info.run_id)
mlflow.MlflowClient().set_registered_model_alias("cells", "champion", "1")
print(json.dumps(runs))
"""

MOVE = """
import sys
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.MlflowClient().set_registered_model_alias("cells", "champion", sys.argv[1])
"""

VERSIONS = ("1" * 12, "2" * 12)


def run(script: str, root: Path, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=True).stdout


@pytest.fixture
def registry(exported_model, empty_mlflow, tmp_path, monkeypatch) -> tuple[Path, list[str]]:
    """A project with two registered versions, of which the first is the champion; and the runs of both."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "my project 🐈"
    root.mkdir()
    shutil.copy(empty_mlflow, root / "mlflow.db")
    for version in VERSIONS:
        folder = Path(shutil.copytree(exported_model, tmp_path / version / "export"))
        card = json.loads((folder / "model.json").read_text(encoding="utf-8")) | {"version": version}
        (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")
    runs = run(LOG, root, *(tmp_path / version / "export" for version in VERSIONS))
    return root, json.loads(runs.splitlines()[-1])


def test_served_champion_follows_its_alias(serving, registry):
    root, runs = registry
    with serving("mlflow:models/cells@champion", "--watch", "0.1", cwd=root) as (address, server):
        told = json.loads(ask(address, "/model")[1])
        assert (told["version"], told["mlflow"]["run_id"]) == (VERSIONS[0], runs[0])
        assert told["source"] == "mlflow:models/cells@champion"
        loaded = Path(f"/proc/{server.pid}/maps")
        run(MOVE, root, 2)
        ends = time.monotonic() + 300
        while json.loads(ask(address, "/predict", RED)[1])["model"] != VERSIONS[1]:
            assert time.monotonic() < ends
            time.sleep(0.1)
        assert json.loads(ask(address, "/model")[1])["mlflow"]["run_id"] == runs[1]
        if loaded.exists():
            assert "sqlalchemy" not in loaded.read_text()  # MLflow stays in a process of its own
        run(MOVE, root, 2)  # the store has changed, the model has not
        time.sleep(8)
        assert json.loads(ask(address, "/model")[1])["reloads"] == 1
        server.send_signal(signal.SIGTERM)
        output, errors = server.communicate(timeout=180)
    assert errors == ""
    assert output.count("answers now") == 1


def test_alias_that_names_nothing_is_an_error_with_a_hint(registry):
    root, _ = registry
    command = [sys.executable, "-m", "imageloom.cli", "serve", "--port", "0", "--model", "mlflow:models/cells@nobody"]
    ended = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=False, timeout=180)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: cannot open mlflow:models/cells@nobody")
    assert "\nhint: " in ended.stderr
