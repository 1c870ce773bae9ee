"""Tells of each epoch while a training runs: one line of JSON to `imageloom track --follow`, a process of its own.

That process logs it to MLflow. To import MLflow takes seconds, and a store that does not answer must hold up nothing.
"""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from imageloom import params
from imageloom.files import Paths

_SECONDS_TO_END = 60


class Live:
    """Where epochs are told of, in a `with` block; nothing is told where params.yaml has no section `track`.

    Args:
        paths: Of the project.
    """

    def __init__(self, paths: Paths) -> None:
        self._root: Path | None = paths.root if "track" in params.load_all(paths.params) else None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with suppress(OSError):  # it has ended, and has said why
            if fault is None:
                self._process.stdin.write("done\n")
            self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def tell(self, training: str, row: dict[str, Any]) -> None:
        """Tells of an epoch.

        Args:
            training: The digest by which the training is known.
            row: Of its history.
        """
        if self._root is None:
            return
        if self._process is None:
            command = [sys.executable, "-m", "imageloom.cli", "track", "--follow", training, "-C", str(self._root)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
            )
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(row) + "\n")
                self._process.stdin.flush()
