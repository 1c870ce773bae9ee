"""The flows where no server runs."""

import fcntl
import json
import socket
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


def test_stage_that_another_dvc_is_at_work_on_is_told_so(project: Project) -> None:
    hold = project.root / "hold_scrape"
    hold.touch()
    command = [sys.executable, "-m", "dvc", "repro", "scrape"]
    with subprocess.Popen(command, cwd=project.root, env=project.environment(), stdout=subprocess.PIPE) as first:
        try:
            assert first.stdout
            assert any(b"scrape: it went well" in line for line in first.stdout)
            outcome, _ = reproduce(project, "scrape")
        finally:
            hold.unlink()
            first.communicate(timeout=300)
    assert (outcome["status"], first.returncode) == ("failed", 0)
    assert outcome["error"] == (
        f"another run of DVC (PID {first.pid}) is at work on the same files "
        "(hint: wait until it has ended, then try again)"
    )


def test_port_that_is_taken_is_said_at_once(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = project.run("ui", "--prefect-port", str(port))
    assert refused.returncode == 2
    assert refused.stdout.startswith(
        f"error: Prefect cannot listen on 127.0.0.1:{port}: Address already in use\nhint: "
    )
    assert len(refused.stdout.splitlines()) == 2


@pytest.mark.parametrize("listens", [True, False])
def test_ui_that_is_running_is_told_with_its_address(project: Project, listens: bool) -> None:
    home = project.root / ".prefect"
    home.mkdir()
    if listens:
        (home / "api_url").write_text("http://127.0.0.1:4242/api\n", encoding="utf-8")
    with (home / "ui.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = project.run("ui")
    assert refused.returncode == 2
    where = ", at http://127.0.0.1:4242" if listens else " and about to be up"
    assert refused.stdout == (
        f"error: `make ui` of this project is running already{where}\n"
        "hint: use that one, or end it with Ctrl-C where it was started\n"
    )
    assert (home / "api_url").exists() == listens


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
