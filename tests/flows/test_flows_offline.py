"""The flows where no server runs."""

import json
import subprocess
import sys

import pytest
from flow_projects import Project

REPRODUCE = """
import dataclasses, json, sys
from flows import dvc
logged = []
outcome = dvc.reproduce(sys.argv[1], False, logged.append)
print(json.dumps([dataclasses.asdict(outcome), logged]))
"""


def reproduce(project: Project, stage: str) -> tuple[dict, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", REPRODUCE, stage],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    outcome, logged = json.loads(done.stdout)
    return outcome, logged


@pytest.mark.slow
def test_flow_runs_without_a_server(project: Project) -> None:
    done = project.run("stages", "backbone")
    assert done.returncode == 0, done.stdout
    assert "backbone: it went well, 卡特彼勒" in done.stdout
    assert project.ran() == ["backbone"]
    assert (project.root / ".prefect" / "prefect.db").exists()


def test_stage_runs_once_and_is_then_up_to_date(project: Project) -> None:
    outcome, logged = reproduce(project, "backbone")
    assert (outcome["status"], outcome["lines"]) == ("ran", ["backbone: it went well, 卡特彼勒"])
    assert "backbone: it went well, 卡特彼勒" in logged
    outcome, _ = reproduce(project, "backbone")
    assert (outcome["status"], outcome["lines"], outcome["error"]) == ("up to date", [], "")


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda project: (project.root / "break_backbone").touch(), "no pictures of 卡特彼勒 (hint: add some)"),
        (lambda project: (project.root / "dvc.yaml").unlink(), "'dvc.yaml' does not exist"),
        (lambda project: (project.root / "stage.py").unlink(), "failed to reproduce 'backbone'"),
    ],
    ids=["by itself", "no dvc.yaml", "by Python"],
)
def test_failing_stage_is_failed_with_its_own_words(project: Project, damage, error: str) -> None:
    damage(project)
    outcome, _ = reproduce(project, "backbone")
    assert outcome["status"] == "failed"
    assert error in outcome["error"]
