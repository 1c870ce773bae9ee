"""Servers of the real commands in processes of their own, for tests of them and of what they show beside."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AFTERWARDS = "\nimport sys\nfrom imageloom import cli\nsys.exit(cli.main(sys.argv[1:]))"


@contextmanager
def started(*words: str, cwd: Path | None = None, before: str = "") -> Iterator[tuple[str, subprocess.Popen]]:
    """Starts a command that serves; gives its address and its process, which ends with the block.

    Args:
        words: The command's, after `imageloom`.
        cwd: Where it is started.
        before: Python that runs first, such as what gives it less patience than it has in earnest.
    """
    how = ["-c", before + _AFTERWARDS] if before else ["-m", "imageloom.cli"]
    server = subprocess.Popen(
        [sys.executable, *how, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", cwd=cwd
    )
    try:
        line = server.stdout.readline()
        address = re.search(r"http://[^\s,]+", line)
        assert address, line + server.stderr.read()
        yield address[0], server
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


@contextmanager
def serving(
    model: Path | str, *options: str, cwd: Path | None = None, before: str = ""
) -> Iterator[tuple[str, subprocess.Popen]]:
    """`imageloom serve` for a model's folder on a free port; gives its address and its process."""
    with started("serve", "--port", "0", "--model", str(model), *options, cwd=cwd, before=before) as (address, server):
        yield address, server
