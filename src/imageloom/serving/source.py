"""Where a served model comes from, and whether it has changed there."""

import json
import subprocess
import sys
import time
from pathlib import Path

from imageloom import card, files
from imageloom.errors import ModelError

REGISTERED = ("mlflow:models/", "models:/")

# How often a store that is not a file is asked again, in seconds; asking takes a process of its own for seconds.
SECONDS_BETWEEN_QUESTIONS = 300.0

# MLflow takes three seconds and 200 MB to import, and stays out of the process that answers.
_ASK = (sys.executable, "-m", "imageloom.serving.registered")


class Source:
    """What the user named as the model.

    Args:
        name: An exported folder, a model's file, a SavedModel's folder, or `mlflow:models/NAME@alias`.
    """

    def __init__(self, name: str) -> None:
        self._registered = next((name.removeprefix(way) for way in REGISTERED if name.startswith(way)), None)
        self._name = name
        self._store = _database() if self.is_registered else None

    @property
    def is_registered(self) -> bool:
        """Whether it is a model of MLflow's registry, which is named by an alias and not by its files."""
        return self._registered is not None

    def locate(self) -> tuple[str, str | None]:
        """Where the model stands now, fetched if need be, and the MLflow run it came from.

        Raises:
            ModelError: The store does not answer, or has no such model.
        """
        if self._registered is None:
            return self._name, None
        asked = subprocess.run([*_ASK, self._registered], capture_output=True, encoding="utf-8", check=False)
        try:
            answer = json.loads(asked.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            raise ModelError(f"cannot ask MLflow for {self._registered}", asked.stderr.strip()[-300:]) from None
        if "error" in answer:
            raise ModelError(answer["error"], answer["hint"])
        return answer["folder"], answer["run_id"]

    def stamp(self) -> tuple[object, ...]:
        """Something that is another when the model may be another; cheap to ask for."""
        if self._registered is not None:
            if self._store is None:
                return (int(time.monotonic() / SECONDS_BETWEEN_QUESTIONS),)
            return tuple(files.stamp(Path(f"{self._store}{suffix}")) for suffix in ("", "-wal"))
        path = Path(self._name)
        beside = path.resolve().parent
        folder = path if path.is_dir() else beside if (beside / card.CARD_FILE).is_file() else None
        try:
            watched = sorted(folder.rglob("*")) if folder else [path]
        except OSError:  # it is being replaced
            return ()
        return tuple((str(one), *files.stamp(one)) for one in watched)


def _database() -> Path | None:
    from imageloom import mlflow_store  # reads params.yaml, which other models need not

    return mlflow_store.database(Path.cwd())
