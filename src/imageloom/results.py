"""What the stages wrote under reports/ about the last model, for those that only pass it on."""

import json
from typing import Any

from imageloom import files
from imageloom.errors import DataError
from imageloom.files import Paths

# What every reader of reports/metrics.json may count on.
METRICS = {
    "accuracy",
    "accuracy_interval",
    "macro_f1",
    "macro_f1_interval",
    "majority_baseline",
    "pictures",
    "classes",
}


def metrics(paths: Paths) -> dict[str, Any]:
    """What the stage `evaluate` measured.

    Raises:
        DataError: There is no reports/metrics.json, or it is damaged.
    """
    path = paths.reports / "metrics.json"
    content = files.read_json(path, "evaluate")
    if not content.keys() >= METRICS:
        raise DataError(
            f"{path} is not what the stage evaluate writes", "run `dvc repro --force evaluate` to make it again"
        )
    return content


def cleaning(paths: Paths) -> dict[str, Any]:
    """What the stage `clean` came to: counts, `decisions` by kind, and `accuracy` before and after where it is known.

    Raises:
        DataError: There is no reports/clean/metrics.json, or it is damaged.
    """
    return files.read_json(paths.reports / "clean" / "metrics.json", "clean")


def mlflow_run(paths: Paths) -> dict[str, Any]:
    """What the stage `track` wrote; empty where it has not run, or was not finished."""
    try:
        content = json.loads((paths.reports / "mlflow_run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
