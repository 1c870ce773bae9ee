"""Next month: a schedule fires, the gallery has new pictures, and a second run can be compared with the first."""

import json
import shutil
import sys
import urllib.request

import pytest
from flow_projects import Ui, until

from imageloom.cli import STAGES
from imageloom.sources.demo_gallery import DemoGallery

pytestmark = pytest.mark.slow

FINAL = ("Completed", "Failed", "Crashed", "Cancelled")
RUNS = """
import json, mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
runs = mlflow.search_runs(experiment_names=["imageloom"], order_by=["start_time"], output_format="list")
print(json.dumps([{"metrics": run.data.metrics, "params": run.data.params} for run in runs]))
print(json.dumps([version.version for version in mlflow.MlflowClient().search_model_versions("name='imageloom'")]))
"""


def test_a_schedule_fires_recrawls_and_logs_a_run_that_can_be_compared(demo, tmp_path):
    clone = demo.copy(tmp_path / "clone")
    for made in ("mlflow.db", "mlruns", "data/raw", "data/features"):
        path = clone.root / made
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with DemoGallery(limit=100, port=0) as gallery:
        source = {
            "kind": "gallery",
            "start": f"{gallery.address}/{{class}}/",
            "item": ".item img",
            "next": "a[rel=next]",
        }
        scrape = {"allow_hosts": ["127.0.0.1"], "sources": [source]}
        clone.configure(scrape=scrape, export={"formats": []})  # those that always are; more take their time twice
        ui = Ui(clone)
        try:
            clone.run(sys.executable, "-m", "flows.pipeline")
            assert all([run["state_name"] for run in ui.runs(stage)] == ["Completed"] for stage in STAGES)
            gallery.limit += 15
            ui.fire_soon()
            until(lambda: [run for run in ui.runs("recrawl") if run["state_name"] in FINAL], 400)
            (fired,) = ui.runs("recrawl")
            assert fired["auto_scheduled"]
            assert fired["state_name"] == "Completed"
            runs, versions = mlflow_runs(clone)
            page = urllib.request.urlopen(f"http://127.0.0.1:{ui.mlflow_port}/", timeout=60)
            assert page.status == 200
            page.close()
        finally:
            ui.stop()
    assert "30 new images embedded, 200 had" in published(ui, clone)
    first, second = runs
    assert first["metrics"].keys() == second["metrics"].keys()
    assert first["params"].keys() == second["params"].keys()
    changed = {name for name, value in first["params"].items() if second["params"][name] != value}
    assert changed == {"data.digest", "data.pictures", "model.version"}
    assert {"accuracy", "macro_f1", "majority_baseline"} <= first["metrics"].keys()
    assert sorted(map(int, versions)) == [1, 2]


def mlflow_runs(clone):
    lines = clone.run(sys.executable, "-W", "ignore", "-c", RUNS).strip().splitlines()
    return json.loads(lines[-2]), json.loads(lines[-1])


def published(ui, clone) -> str:
    """What the last crawl's embedding said, from the log of the process that serves the schedule."""
    return "".join(path.read_text(errors="replace") for path in (clone.root / ".prefect" / "logs").glob("*"))
