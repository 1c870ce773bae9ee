"""`imageloom serve` in a process of its own."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving_model(model: Path, *options: str, cwd: Path | None = None) -> Iterator[tuple[str, subprocess.Popen]]:
    """Serves a model on a free port while the block runs; gives the address and the process."""
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
        server.communicate(timeout=20)
