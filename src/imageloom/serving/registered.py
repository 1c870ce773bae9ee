"""`python -m imageloom.serving.registered NAME@alias`: finds a model in MLflow's store, and says where as JSON.

A process of its own, so that the one that serves stays small and starts at once.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from imageloom import mlflow_store
from imageloom.errors import ImageloomError


def main(model: str) -> int:
    """Prints the exported folder and the run; or the error and its hint."""
    answer: dict[str, Any]
    os.nice(10)  # whoever is answered meanwhile comes first
    try:
        folder = mlflow_store.exported_folder(model, Path.cwd())
        answer = {"folder": str(folder), "run_id": mlflow_store.run_of(model)}
    except ImageloomError as fault:
        answer = {"error": fault.message, "hint": fault.hint}
    sys.stdout.write(json.dumps(answer, ensure_ascii=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
