"""What happens on a full disk: a small one is mounted for it, where no other process sees it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from skips import skip_or_fail


def assert_told_and_untouched(script: str, folder: Path, *words: str) -> None:
    """Runs a shell script in which a command meets a full disk, and checks that it said so and left all as it was.

    Args:
        script: Mounts its disk by `mount -t tmpfs ... || exit 77`, and writes into the folder `$noted` what was there
            (`before`, `after`) and the command's exit code (`code`). `$0` is Python.
        folder: Where it runs; `$noted` is made in it.
        words: The script's `$1` and so on.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems have no mounts of one process's own")
    noted = folder / "noted"
    noted.mkdir()
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    command = [*unshare, "sh", "-c", script, sys.executable, *words]
    environment = {**os.environ, "noted": str(noted)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        skip_or_fail("may not mount a tmpfs")
    assert (noted / "code").read_text().strip() == "2", done.stderr
    assert "No space left" in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert (noted / "after").read_text() == (noted / "before").read_text() != ""
