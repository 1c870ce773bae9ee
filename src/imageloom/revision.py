"""Which version of the code ran, as git tells."""

import subprocess
from pathlib import Path


def tags(root: Path) -> dict[str, str]:
    """Tags of a run: git's revision of the code, and whether it had changes; none outside a repository."""
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return {}
    # What the pipeline itself writes into git is a result, not a change to what made it.
    changed = _git(
        root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)dvc.lock", ":(exclude)reports"
    )
    return {
        "mlflow.source.git.commit": commit,  # the name under which MLflow's page shows it
        "git.branch": _git(root, "rev-parse", "--abbrev-ref", "HEAD") or "",
        "git.uncommitted_changes": "yes" if changed else "no",
    }


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
