"""The demo, run once for all end-to-end tests."""

import pytest
from clones import Clone


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the whole demo has run; not to be changed."""
    clone = Clone.make(tmp_path_factory.mktemp("demo") / "imageloom")
    clone.log = clone.run("dvc", "repro")
    return clone
