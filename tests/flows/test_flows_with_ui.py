"""The flows with the servers of `make ui`: runs and artifacts, schedules that fire, and one recrawl at a time."""

import json
import os
import signal
import subprocess
import urllib.request
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from flow_projects import Project, Ui, until
from ports import free_port

from imageloom.cli import STAGES

pytestmark = pytest.mark.slow

FINAL = ("Completed", "Failed", "Crashed", "Cancelled")


def artifacts(ui: Ui) -> dict[str, str]:
    """The newest artifact of each key."""
    found = ui.api("POST", "artifacts/latest/filter", {})
    return {artifact["key"]: artifact["data"] for artifact in found}


def trainings(ui: Ui) -> int:
    """How many times the stage `train` had work to do."""
    return sum(run["state"]["message"].startswith("ran in ") for run in ui.runs("train"))


def recrawled(ui: Ui) -> str:
    """What the latest recrawl ended with."""
    return ui.runs("recrawl")[0]["state"]["message"]


def test_pages_answer_where_it_says(ui: Ui) -> None:
    for port in (ui.port, ui.mlflow_port):
        address = f"http://127.0.0.1:{port}"
        assert address in ui.said()
        with urllib.request.urlopen(address, timeout=60) as response:
            assert response.status == 200
            assert b"<html" in response.read().lower()
    assert f"http://127.0.0.1:{ui.mlflow_port}/#/experiments?workflowType=machine_learning  " in ui.said()


def test_schedule_is_nightly_at_first(ui: Ui) -> None:
    (present,) = ui.deployment()["schedules"]
    assert present["schedule"]["cron"] == "0 3 * * *"
    assert present["active"]


def test_pipeline_shows_a_run_per_stage_with_its_artifact(ui: Ui) -> None:
    done = ui.project.run("pipeline")
    assert done.returncode == 0, done.stdout
    assert "temporary server" not in done.stdout
    (parent,) = ui.runs("pipeline")
    assert parent["state_name"] == "Completed"
    published = artifacts(ui)
    for stage in STAGES:
        assert [run["state_name"] for run in ui.runs(stage)] == ["Completed"]
        assert f"{stage}: it went well, 卡特彼勒" in published[f"imageloom-{stage}"]
        assert "dvc.lock" not in published[f"imageloom-{stage}"]
    assert "| accuracy | 0.875 | 0.850 to 0.900 |" in published["imageloom-evaluate"]
    assert "| a\\|b | 0.900 | 0.800 | 0.850 | 1,234 |" in published["imageloom-evaluate"]
    assert "| cat | ok | 1 |" in published["imageloom-scrape"]


def test_recrawl_brings_everything_up_to_date_with_new_pictures(ui: Ui) -> None:
    trained = trainings(ui)
    (ui.project.root / "web.txt").write_text("cat aa\ncat bb\n", encoding="utf-8")
    broken = ui.project.root / "break_embed"
    broken.touch()
    failed = ui.project.run("recrawl")
    broken.unlink()
    assert failed.returncode == 2
    assert "error: stage embed: no pictures of 卡特彼勒 (hint: add some)" in failed.stdout
    assert ui.runs("recrawl")[0]["state_name"] == "Failed"
    assert trainings(ui) == trained

    # Nothing is new by now, yet the model does not know what the night before brought.
    done = ui.project.run("recrawl")
    assert done.returncode == 0, done.stdout
    assert trainings(ui) == trained + 1
    assert (ui.project.root / "out" / "track.txt").read_text(encoding="utf-8") == "cat aa\ncat bb\n"


def test_night_on_which_one_source_failed_is_made_up_for_on_the_next(ui: Ui) -> None:
    root, web = ui.project.root, "cat aa\ncat bb\ncat cc\n"
    trained = trainings(ui)
    (root / "web.txt").write_text(web, encoding="utf-8")
    (root / "dead_source").touch()
    failed = ui.project.run("recrawl")
    (root / "dead_source").unlink()
    assert failed.returncode == 2
    assert recrawled(ui) == "stage scrape: one source cannot be read"
    assert trainings(ui) == trained

    done = ui.project.run("recrawl")
    assert done.returncode == 0, done.stdout
    assert recrawled(ui) == "nothing new among 3 pictures; 8 stages are up to date"
    assert trainings(ui) == trained + 1
    assert (root / "out" / "track.txt").read_text(encoding="utf-8") == web


def test_schedule_set_by_api_fires_and_its_run_completes(ui: Ui) -> None:
    before = {run["id"] for run in ui.runs("recrawl")}
    start = ui.fire_soon()
    until(lambda: [run for run in ui.runs("recrawl") if run["id"] not in before and run["state_name"] in FINAL], 400)
    (fired,) = [run for run in ui.runs("recrawl") if run["id"] not in before]
    assert fired["auto_scheduled"]
    assert fired["state_name"] == "Completed"
    assert abs(datetime.fromisoformat(fired["expected_start_time"]) - start) < timedelta(seconds=2)


def test_two_recrawls_never_run_at_once_and_nothing_new_trains_nothing(ui: Ui) -> None:
    if not (ui.project.root / "data" / "raw" / "manifest.parquet").exists():  # where this test runs alone
        ui.project.run("recrawl")
    trained = trainings(ui)
    hold = ui.project.root / "hold_scrape"
    hold.touch()
    first = ui.run_now()
    until(lambda: ui.state(first) == "Running", 180)
    second = ui.run_now()
    until(lambda: ui.state(second) in FINAL, 180)
    assert ui.state(second) == "Cancelled"
    assert ui.state(first) == "Running"
    hold.unlink()
    until(lambda: ui.state(first) in FINAL, 600)
    state = ui.api("GET", f"flow_runs/{first}")["state"]
    assert state["name"] == "Completed"
    assert state["message"].startswith("nothing new among ")
    assert trainings(ui) == trained


def test_ctrl_c_ends_everything_and_a_changed_schedule_survives(ui: Ui) -> None:
    ui.set_schedule({"cron": "30 4 * * 1", "timezone": "Europe/Berlin"})
    ui.api("POST", f"deployments/{ui.deployment()['id']}/pause_deployment")
    hold = ui.project.root / "hold_scrape"
    hold.touch()
    first = ui.run_now()
    until(lambda: stage_under_way(ui.project), 180)
    experiment = new_experiment(ui, "imageloom")
    assert ui.stop() == 130
    assert "Traceback" not in ui.said()
    assert children_of(ui.project) == []
    hold.unlink()

    ui.start()
    (kept,) = ui.deployment()["schedules"]
    assert (kept["schedule"]["cron"], kept["schedule"]["timezone"]) == ("30 4 * * 1", "Europe/Berlin")
    assert kept["active"]
    assert ui.deployment()["paused"]
    assert ui.state(first) == "Cancelled"
    assert ui.runs("scrape")[0]["state_name"] == "Cancelled"
    page = f"http://127.0.0.1:{ui.mlflow_port}/#/experiments/{experiment}/runs?workflowType=machine_learning"
    assert f"{page}  results" in ui.said()


def test_killed_recrawl_does_not_hold_up_the_next(ui: Ui) -> None:
    hold = ui.project.root / "hold_scrape"
    hold.touch()
    first = ui.run_now()
    until(lambda: stage_under_way(ui.project), 180)
    ui.process.kill()
    ui.process.wait()
    until(lambda: not kill_all(children_of(ui.project)), 180)  # what is killed may be started anew by what is not yet
    hold.unlink()

    ui.start()
    assert ui.state(first) == "Crashed"
    second = ui.run_now()
    until(lambda: ui.state(second) in FINAL, 600)
    assert ui.state(second) == "Completed"


def test_a_second_ui_is_refused_at_once_and_the_first_stays_known(ui: Ui) -> None:
    known = (ui.project.root / ".prefect" / "api_url").read_text(encoding="utf-8")
    for port in (ui.port, free_port()):
        second = ui.project.run("ui", "--prefect-port", str(port), "--mlflow-port", str(free_port()))
        assert second.returncode == 2
        assert second.stdout == (
            f"error: `make ui` of this project is running already, at http://127.0.0.1:{ui.port}\n"
            "hint: use that one, or end it with Ctrl-C where it was started\n"
        )
        assert (ui.project.root / ".prefect" / "api_url").read_text(encoding="utf-8") == known


def new_experiment(ui: Ui, name: str) -> str:
    """Makes an experiment in MLflow, and gives its id."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{ui.mlflow_port}/api/2.0/mlflow/experiments/create",
        data=json.dumps({"name": name}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return str(json.load(response)["experiment_id"])


def stage_under_way(project: Project) -> bool:
    """Whether a process runs stage.py, started by DVC, started by Prefect."""
    commands = [Path(f"/proc/{child}/cmdline") for child in children_of(project)]
    return any(b"stage.py" in command.read_bytes() for command in commands if command.exists())


def kill_all(processes: list[int]) -> list[int]:
    """Kills them, and gives them back."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return processes


def children_of(project: Project) -> list[int]:
    """The processes that work in the project's folder, `flows.ui` itself left out."""
    found = []
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines()[1:]:
        number, _, command = line.strip().partition(" ")
        try:
            folder = str(Path(f"/proc/{number}/cwd").readlink())
        except OSError:
            continue
        if folder == str(project.root) and "flows.ui" not in command:
            found.append(int(number))
    return found
