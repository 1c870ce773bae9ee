"""The flows from the command line, where no server runs."""

import pytest
from flow_projects import Project

from imageloom.cli import STAGES

pytestmark = pytest.mark.slow


def test_pipeline_runs_every_stage_without_a_server(project: Project) -> None:
    done = project.run("pipeline")
    assert done.returncode == 0, done.stdout
    assert project.ran() == list(STAGES)
    for stage in STAGES:
        assert f"{stage}: it went well, 卡特彼勒" in done.stdout
    assert (project.root / ".prefect" / "prefect.db").exists()


def test_failing_stage_fails_the_pipeline_with_its_own_words(project: Project) -> None:
    (project.root / "break_scrape").touch()
    done = project.run("pipeline")
    assert done.returncode == 2
    assert done.stdout.count("error: stage scrape: no pictures of 卡特彼勒 (hint: add some)") == 1
    assert project.ran() == ["backbone"]
    assert "Traceback" not in done.stdout
