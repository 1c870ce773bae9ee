"""A scratch project per test, and one with the servers of `make ui` per module."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flow_projects import Project, Ui


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    ui = Ui(Project(tmp_path_factory.mktemp("with ui 🐈")))
    yield ui
    if ui.process.poll() is None:
        ui.stop()
