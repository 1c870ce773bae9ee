"""`make baselines` on the demo, with the real stages."""

import re
import sys

import pytest

from imageloom import mlflow_store

pytestmark = pytest.mark.slow


def test_a_recipe_is_compared_beside_the_project(demo, tmp_path):
    clone = demo.copy(tmp_path / "clone")
    before = clone.outs(), clone.run("git", "status", "--porcelain"), clone.run("dvc", "status")
    said = clone.run(sys.executable, "-m", "flows.baselines", "head")
    (clone.root / "reports" / "baselines.png").unlink()
    (clone.root / "reports" / "baselines.md").unlink()
    assert (clone.outs(), clone.run("git", "status", "--porcelain"), clone.run("dvc", "status")) == before
    assert not re.search(r"scrape|clean:|split:|Traceback", said)
    [run] = mlflow_store.runs("imageloom baselines", clone.root)
    assert run.params["train.recipe"] == "head"
    assert run.metrics["accuracy"] >= 0.82
    assert 1 < run.metrics["training_seconds"] < 1000
    assert 1 < run.metrics["milliseconds_per_picture"] < 5000
    assert 8 < run.metrics["model_megabytes"] < 11
    low, high = run.metrics["accuracy_low"], run.metrics["accuracy_high"]
    assert re.search(rf"^head +{run.metrics['accuracy']:.3f} +{low:.3f} to {high:.3f}", said, re.MULTILINE)
    assert "head" in clone.run("dvc", "exp", "list", "--name-only")
