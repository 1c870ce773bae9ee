"""A project with something in every queue, and its page."""

from collections.abc import Iterator
from pathlib import Path

import browsers
import pytest
from desks import Desk, full, reviewing
from playwright.sync_api import Browser


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A project of one's own."""
    return full(tmp_path / "项目 desk")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A project that a test must leave as it is."""
    return full(tmp_path_factory.mktemp("shared") / "项目 desk")


@pytest.fixture(scope="module")
def address(shared: Desk) -> Iterator[str]:
    """Where `shared` is reviewed."""
    with reviewing(shared.paths.root) as (url, _):
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.chromium() as found:
        yield found
