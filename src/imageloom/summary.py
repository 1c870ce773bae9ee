"""`imageloom summary`: how good the last model is, what it was made from, and what to do next."""

import argparse
from pathlib import Path
from typing import Any

from imageloom import console, params, results, tables
from imageloom.files import Paths

NEXT = (
    ("make serve", "drop pictures on a page, or ask over HTTP"),
    ("imageloom review", "look at the pictures that may be labelled wrongly, and decide"),
    ("make ui", "runs, results and the nightly recrawl"),
    ("dvc repro", "again, after a change: what it concerns and nothing else"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("-C", "--project", type=Path, default=Path(), metavar="DIR", help="folder of params.yaml")


def run(arguments: argparse.Namespace) -> int:
    """Prints the summary.

    Returns:
        0.

    Raises:
        ParamsError: This is no project.
        DataError: There is no result yet, or it is damaged.
    """
    paths = Paths(arguments.project.resolve())
    if not paths.params.exists() and not paths.reports.exists():
        raise params.missing(paths.params)
    for line in summary(results.metrics(paths), paths):
        console.say(line)
    return 0


def summary(metrics: dict[str, Any], paths: Paths) -> list[str]:
    """The lines, for what reports/metrics.json holds."""
    tested = sum(metrics["pictures"]["test"].values())
    lines = [
        "",
        f"accuracy   {_share(metrics, 'accuracy')}  on {tested:,} test pictures",
        f"macro-F1   {_share(metrics, 'macro_f1')}",
        f"baseline   {metrics['majority_baseline']:.3f}  always the commonest class",
        "",
        *_pictures(metrics["pictures"]),
        "",
        f"report     {_shown(paths.reports / 'index.html')}",
    ]
    logged = _mlflow_run(paths)
    if logged:
        lines.append(f"MLflow     {logged}")
    width = max(len(command) for command, _ in NEXT)
    lines += ["", "next", *(f"  {command.ljust(width)}  {purpose}" for command, purpose in NEXT)]
    return [*lines, "`source .venv/bin/activate` puts dvc and imageloom on the PATH"]


def _share(metrics: dict[str, Any], name: str) -> str:
    low, high = metrics[f"{name}_interval"]
    return f"{metrics[name]:.3f}  (95 % between {low:.3f} and {high:.3f})"


def _pictures(pictures: dict[str, dict[str, int]]) -> list[str]:
    """A table: a line per class, a column per side."""
    rows = [[name, *(f"{pictures[side][name]:,}" for side in tables.SIDES)] for name in pictures["train"]]
    return console.table([["pictures", *tables.SIDES], *rows], even=True)


def _mlflow_run(paths: Paths) -> str:
    entry = results.mlflow_run(paths)
    if entry.get("run_id"):
        return f"run {entry['run_id']}, model {entry.get('model_name')} version {entry.get('model_version')}"
    return f"not logged ({entry['error']}); `imageloom track` does it" if entry.get("error") else ""


def _shown(path: Path) -> str:
    """The path from here, where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
