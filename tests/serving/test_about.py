"""What is told of a model is told of that model: figures and revisions only where the folder is what dvc.lock says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_serve_http import ask
from test_slot import renamed

from imageloom.serving.about import About, folder_digest
from imageloom.serving.slot import ModelSlot

METRICS = {
    "accuracy": 0.9,
    "accuracy_interval": [0.8, 0.95],
    "macro_f1": 0.9,
    "macro_f1_interval": [0.8, 0.95],
    "majority_baseline": 0.4,
    "pictures": {"test": {"red": 10}},
    "classes": {},
}


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), "-c", "user.name=me", "-c", "user.email=me@example.com", *arguments]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip()


@pytest.fixture
def project(exported_model, tmp_path) -> Path:
    """A project whose dvc.lock was written by DVC itself, committed."""
    root = tmp_path / "project"
    shutil.copytree(exported_model, root / "models" / "export")
    (root / "reports").mkdir()
    (root / "reports" / "metrics.json").write_text(json.dumps(METRICS), encoding="utf-8")
    run = {"run_id": "abc", "model_name": "imageloom", "tracking_uri": "https://user:secret@mlflow.example"}
    (root / "reports" / "mlflow_run.json").write_text(json.dumps(run), encoding="utf-8")
    out = {"path": "models/export", "md5": folder_digest(root / "models" / "export")}
    (root / "dvc.lock").write_text(json.dumps({"stages": {"export": {"outs": [out]}}}), encoding="utf-8")
    git(root, "init", "-q")
    git(root, "add", "dvc.lock")
    git(root, "commit", "-qm", "trained")
    return root


def told(project: Path) -> dict:
    return About(ModelSlot(str(project / "models" / "export")), "imageloom").content()


def test_revision_run_and_figures_are_those_of_the_model(project):
    content = told(project)
    assert content["revision"] == {
        "dvc": folder_digest(project / "models" / "export"),
        "git": git(project, "rev-parse", "HEAD"),
    }
    assert content["mlflow"]["run_id"] == "abc"
    assert content["metrics"]["accuracy"] == 0.9
    assert content["data"]["pictures"] == {"test": {"red": 10}}
    assert "secret" not in json.dumps(content)
    assert str(project) not in json.dumps({**content, "source": ""})


def test_digest_is_the_one_that_dvc_writes(project):
    stage = {"cmd": "true", "outs": ["models/export"]}
    (project / "dvc.yaml").write_text(json.dumps({"stages": {"export": stage}}), encoding="utf-8")
    (project / "dvc.lock").unlink()
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=project, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "commit", "--quiet", "--force", "export"], cwd=project, check=True)
    text = (project / "dvc.lock").read_text(encoding="utf-8")
    assert f"md5: {folder_digest(project / 'models' / 'export')}" in text


def test_figures_of_another_model_are_not_told(project):
    (project / "models" / "export" / "extra.txt").write_text("trained since", encoding="utf-8")
    content = told(project)
    assert [content[key] for key in ("revision", "mlflow", "metrics", "data")] == [None] * 4
    assert content["classes"][0] == {"name": "red", "label": "红"}


def test_commit_that_does_not_hold_the_model_is_not_told(project):
    lock = project / "dvc.lock"
    lock.write_text(lock.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert told(project)["revision"]["git"] is None


@pytest.mark.parametrize("lock", ["", "stages: 7", "{", "stages: {a: {outs: [7]}}"])
def test_damaged_lock_tells_nothing(project, lock):
    (project / "dvc.lock").write_text(lock, encoding="utf-8")
    assert told(project)["revision"] is None


def test_what_the_project_says_is_read_once_for_each_version(project):
    slot = ModelSlot(str(project / "models" / "export"))
    about = About(slot, "imageloom")
    before = about.content()
    shutil.rmtree(project / ".git")
    shutil.rmtree(project / "reports")
    (project / "dvc.lock").unlink()
    assert about.content() == before
    renamed(project / "models" / "export", "0123456789ab")
    assert slot.reload(), slot.fault
    assert about.content()["revision"] is None


def test_server_tells_it(address, exported_model):
    content = json.loads(ask(address, "/model")[1])
    assert content["version"] == json.loads((exported_model / "model.json").read_text(encoding="utf-8"))["version"]
    assert content["input"] == {"size": 32, "aspect": "crop"}
    assert content["recipe"] == "probe"
    assert content["metrics"] is None
