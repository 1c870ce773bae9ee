"""What takes long to make is made once, by whichever of the processes that run the tests needs it first."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Keeps other processes out of the block for the same path, until it is left or the process ends."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """A file or folder, made unless it is there.

    Args:
        path: Where it is to be.
        make: Makes it at the path that it is given, from which it is then moved: nothing half-made is taken for it.
    """
    with one_at_a_time(path):
        if not path.exists():
            temporary = path.with_name(f"{path.name}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            make(temporary)
            temporary.replace(path)
    return path


def run_python(*words: str | Path) -> None:
    """Runs the interpreter of the tests with these words in a process of its own."""
    subprocess.run([sys.executable, *map(str, words)], check=True, capture_output=True)


def folder_of_the_run(factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
