"""A server of the real command in a process of its own, for tests of it and of what it shows beside."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(model: Path, *options: str, cwd: Path | None = None) -> Iterator[tuple[str, subprocess.Popen]]:
    """Starts `imageloom serve` for a model folder on a free port; gives its address and its process."""
    command = [sys.executable, "-m", "imageloom.cli", "serve", "--port", "0", "--model", str(model), *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", cwd=cwd)
    try:
        line = server.stdout.readline()
        address = re.search(r"http://[^\s,]+", line)
        assert address, line + server.stderr.read()
        yield address[0], server
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
