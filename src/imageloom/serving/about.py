"""What `GET /model` tells: which model answers, what it was made from, and how good it is.

What the project's files say counts only where the folder that is served is the one that `dvc.lock` describes; else the
figures would be another model's.
"""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from imageloom import results
from imageloom.errors import DataError
from imageloom.files import Paths
from imageloom.serving.service import Slot

_LOCK = "dvc.lock"
_DATA = ("data/raw", "data/clean", "data/split")
_SECONDS_OF_GIT = 5

# Of reports/mlflow_run.json; where MLflow's store is, and as whom it is asked, is nobody's business.
_RUN = ("run_id", "experiment", "model_name", "model_version")


class About:
    """Looks it up once for each version.

    Args:
        slot: The model.
        name: What it is called.
    """

    def __init__(self, slot: Slot, name: str) -> None:
        self._slot, self._name = slot, name
        self._known: tuple[str, dict[str, Any]] = ("", {})

    def content(self) -> dict[str, Any]:
        """The answer."""
        model = self._slot.current
        version, project = self._known
        if version != model.version:
            project = _project(self._slot.folder)
            self._known = model.version, project
        card = getattr(model, "card", None)  # classifiers that others made have none
        told = card.content if card else {}
        run = {"run_id": self._slot.run_id} if self._slot.run_id else project.get("mlflow")
        return {
            "name": self._name,
            "version": model.version,
            "source": self._slot.source,
            "recipe": told.get("recipe"),
            "backbone": told.get("backbone"),
            "input": {"size": model.size, "aspect": model.aspect},
            "classes": [{"name": name, "label": label} for name, label in zip(model.names, model.labels, strict=True)],
            "formats": told.get("formats"),
            "revision": project.get("revision"),
            "mlflow": run,
            "metrics": project.get("metrics"),
            "data": project.get("data"),
            "reloads": self._slot.reloads,
            "refused": self._slot.fault or None,
        }


def _project(folder: Path) -> dict[str, Any]:
    """What the project that the folder is part of says of it; nothing where it is part of none."""
    paths = Paths(folder.absolute().parent.parent)
    if folder.absolute() != paths.export:
        return {}
    outs = _outs(paths.root / _LOCK)
    digest = outs.get("models/export")
    if digest is None or digest != folder_digest(folder):
        return {}
    content: dict[str, Any] = {"revision": {"dvc": digest, "git": _commit(paths.root)}}
    run = results.mlflow_run(paths)
    if run.get("run_id"):
        content["mlflow"] = {key: run.get(key) for key in _RUN}
    try:
        metrics = results.metrics(paths)
    except DataError:
        metrics = {}
    content["metrics"] = metrics or None
    content["data"] = {"pictures": metrics.get("pictures"), "dvc": {key: outs[key] for key in _DATA if key in outs}}
    return content


def _outs(lock: Path) -> dict[str, str]:
    """Digest of every folder and file that DVC's lock file lists as written by a stage."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has it: ten times as fast
    try:
        content = yaml.load(lock.read_bytes(), Loader=loader)
        return {out["path"]: out["md5"] for stage in content["stages"].values() for out in stage.get("outs", ())}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return {}


def folder_digest(folder: Path) -> str:
    """A folder's digest as DVC writes it down: the MD5 of the JSON list of its files' MD5s, sorted by their paths."""
    files = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        files.append({"md5": digest, "relpath": path.relative_to(folder).as_posix()})
    files.sort(key=lambda entry: entry["relpath"])
    text = json.dumps(files, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _commit(root: Path) -> str | None:
    """The commit in which the lock file stands as it is; None where it was changed since, or git cannot tell."""
    changed = _git(root, "status", "--porcelain", "--", _LOCK)
    return _git(root, "rev-parse", "HEAD") or None if changed == "" else None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        run = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            encoding="utf-8",
            timeout=_SECONDS_OF_GIT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()
