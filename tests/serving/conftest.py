"""A server of the real command in a process of its own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


# The command, with less patience for slow senders than it has in earnest.
_IMPATIENT = """
import sys
from imageloom import cli
from imageloom.serving import channel
channel.SECONDS_TO_RECEIVE = float(sys.argv.pop(1))
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def serving_slowly_for(exported_model: Path):
    """Starts a server that waits so many seconds for a request to come in; gives its address."""

    @contextmanager
    def start(seconds: float) -> Iterator[str]:
        command = [
            sys.executable,
            "-c",
            _IMPATIENT,
            str(seconds),
            "serve",
            "--port",
            "0",
            "--model",
            str(exported_model),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as server:
            try:
                yield re.search(r"http://[^\s,]+", server.stdout.readline())[0]
            finally:
                server.terminate()
                server.communicate(timeout=60)

    return start
