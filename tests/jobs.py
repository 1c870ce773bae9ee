"""What tests have another process do: a module that it can import by this name, as it cannot the tests themselves."""

import os
import signal
from pathlib import Path

from imageloom.errors import DataError


def write(path: Path, text: str) -> None:
    """Writes the text and the number of the process that wrote it."""
    path.write_text(f"{text} {os.getpid()}")


def fail(path: str) -> None:
    """Fails as a stage does."""
    raise DataError(f"no {path}", "look elsewhere")


def die() -> None:
    """Ends the process as the system does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def stumble() -> None:
    """Raises what nobody foresaw."""
    raise ValueError("über")
