"""The demo, run once for all end-to-end tests."""

import shutil

import pytest
import yaml
from clones import Clone
from once import folder_of_the_run, one_at_a_time
from ports import free_port


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the whole demo has run; not to be changed.

    Each process that runs tests has a copy of its own: commands that only look also lock files, and write some.
    """
    root = folder_of_the_run(tmp_path_factory) / "demo as made"
    log = root.with_name("demo.log")  # written last: what is without it was not finished
    with one_at_a_time(root):
        if not log.exists():
            shutil.rmtree(root, ignore_errors=True)
            log.write_text(Clone.make(root, free_port()).run("dvc", "repro"), encoding="utf-8")
        clone = Clone(root).copy(tmp_path_factory.mktemp("demo") / "imageloom")
    clone.log = log.read_text(encoding="utf-8")
    return clone


@pytest.fixture(scope="session")
def demo_port(demo: Clone) -> int:
    """Where every clone serves the demo's gallery: the addresses of its pictures are the same in all."""
    params = yaml.safe_load((demo.root / "params.yaml").read_text(encoding="utf-8"))
    return int(params["scrape"]["sources"][0]["port"])
