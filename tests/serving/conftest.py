"""A server of the real command in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import servers


@pytest.fixture(scope="session")
def serving():
    """Starts `imageloom serve` for a model folder on a free port; gives its address and its process."""
    return servers.serving


@pytest.fixture(scope="session")
def address(exported_model: Path) -> Iterator[str]:
    """Where the model of `exported_model` is served."""
    with servers.serving(exported_model, "--threads", "2") as (url, _):
        yield url
