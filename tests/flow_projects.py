"""A DVC project whose stages are real but light, and what `make ui` starts, on free ports."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ports import free_port

from imageloom.cli import STAGES

REPOSITORY = Path(__file__).resolve().parents[1]

# A stage: says a line, fails when the file break_<stage> is there, lasts while the file hold_<stage> is there. `scrape`
# "crawls" the lines `class sha256` of web.txt; when the file dead_source is there it keeps them and fails all the same.
STAGE = """
import json, pathlib, sys, time
import pyarrow as pa, pyarrow.parquet as pq

stage = sys.argv[1]
print(f"{stage}: it went well, 卡特彼勒", flush=True)
while pathlib.Path(f"hold_{stage}").exists():
    time.sleep(0.1)
if pathlib.Path(f"break_{stage}").exists():
    sys.exit("error: no pictures of 卡特彼勒\\nhint: add some")
out = pathlib.Path("out", f"{stage}.txt")
out.parent.mkdir(exist_ok=True)
web = pathlib.Path("web.txt").read_text(encoding="utf-8")
out.write_text(web if stage != "backbone" else "weights", encoding="utf-8")
if stage == "scrape":
    pathlib.Path("data/raw").mkdir(parents=True, exist_ok=True)
    names, shas = zip(*[line.split() for line in web.splitlines()])
    table = pa.table({"class": names, "sha256": shas, "status": ["ok"] * len(shas), "used": [True] * len(shas)})
    pq.write_table(table, "data/raw/manifest.parquet")
    if pathlib.Path("dead_source").exists():
        sys.exit("error: one source cannot be read")
if stage == "evaluate":
    pathlib.Path("reports").mkdir(exist_ok=True)
    scores = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 1234}
    metrics = {"accuracy": 0.875, "accuracy_interval": [0.85, 0.9], "macro_f1": 0.8, "macro_f1_interval": [0.7, 0.9],
               "majority_baseline": 0.625, "classes": {"a|b": scores}}
    pathlib.Path("reports/metrics.json").write_text(json.dumps(metrics))
"""


class Project:
    """A scratch project with this repository's flows."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(REPOSITORY / "flows", root / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "stage.py").write_text(STAGE, encoding="utf-8")
        (root / "params.yaml").write_text("classes: []\n", encoding="utf-8")
        (root / "web.txt").write_text("cat aa\n", encoding="utf-8")
        lines = ["stages:"]
        previous = ""
        for stage in STAGES:
            lines += [f"  {stage}:", f"    cmd: {sys.executable} stage.py {stage}", f"    outs: [out/{stage}.txt]"]
            if stage not in ("backbone", "scrape"):
                lines.append(f"    deps: [out/{previous}.txt]")
            previous = stage
        (root / "dvc.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for words in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
            subprocess.run(words, cwd=root, check=True)
        (root / ".dvc" / "config").write_text(
            "[core]\n    analytics = false\n    check_update = false\n", encoding="utf-8"
        )

    def environment(self) -> dict[str, str]:
        """The surroundings of a user who has set nothing of Prefect's."""
        return {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_"))}

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m flows.<module>` to its end; standard error is in `stdout`."""
        return subprocess.run(
            [sys.executable, "-m", f"flows.{module}", *arguments],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )

    def ran(self) -> list[str]:
        """The stages that have an output."""
        return [stage for stage in STAGES if (self.root / "out" / f"{stage}.txt").exists()]


class Ui:
    """What `make ui` runs, started and stopped as a person does."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.port, self.mlflow_port = free_port(), free_port()
        self.start()

    def start(self) -> None:
        ports = ["--prefect-port", str(self.port), "--mlflow-port", str(self.mlflow_port)]
        with (self.project.root / "ui.txt").open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.ui", *ports],
                cwd=self.project.root,
                env=self.project.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        until(lambda: "Ctrl-C ends them" in self.said() or self.process.poll() is not None, 300)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return (self.project.root / "ui.txt").read_text(encoding="utf-8")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(300)

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Asks Prefect's API."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        for tries_left in reversed(range(20)):
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    content = response.read()
                return json.loads(content) if content else None
            except urllib.error.HTTPError as fault:  # Prefect's own client tries again too when SQLite is busy
                if fault.code != 503 or not tries_left:
                    raise
                time.sleep(1)
        raise AssertionError("not reached")

    def deployment(self) -> dict[str, Any]:
        return self.api("GET", "deployments/name/recrawl/nightly")

    def set_schedule(self, schedule: dict[str, Any]) -> None:
        """Changes the deployment's one schedule, as Prefect's page does."""
        deployment = self.deployment()
        (present,) = deployment["schedules"]
        path = f"deployments/{deployment['id']}/schedules/{present['id']}"
        self.api("PATCH", path, {"schedule": schedule, "active": True})

    def fire_soon(self) -> datetime:
        """Has the schedule fire once, at the time it gives: Prefect looks every 10 s for what is due."""
        start = datetime.now(UTC) + timedelta(seconds=20)
        self.set_schedule({"interval": 86400, "anchor_date": start.isoformat(), "timezone": "UTC"})
        return start

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """The flow's runs, those that lie ahead left out, latest first."""
        asked = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC"}
        runs = self.api("POST", "flow_runs/filter", asked)
        return [run for run in runs if run["state_type"] != "SCHEDULED"]

    def run_now(self) -> str:
        """What the button Run does; gives the run's id."""
        return self.api("POST", f"deployments/{self.deployment()['id']}/create_flow_run", {})["id"]

    def state(self, run: str) -> str:
        return self.api("GET", f"flow_runs/{run}")["state_name"]


def until(true: Callable[[], Any], seconds: float) -> Any:
    """Waits for something to be true, and gives it."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)
    return value
