"""The demo, run once for all end-to-end tests."""

import pytest
from clones import Clone
from flow_projects import free_port


@pytest.fixture(scope="session")
def demo_port() -> int:
    """Where every clone serves the demo's gallery: the addresses of its pictures are the same in all."""
    return free_port()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, demo_port: int) -> Clone:
    """A clone in which the whole demo has run; not to be changed."""
    clone = Clone.make(tmp_path_factory.mktemp("demo") / "imageloom", demo_port)
    clone.log = clone.run("dvc", "repro")
    return clone
