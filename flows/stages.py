"""One Prefect flow per stage: reproduces it through DVC, streams its log, and publishes what came of it.

`python -m flows.stages train` runs one.
"""

import argparse
import json
import sys
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.flows import Flow
from prefect.states import Completed, Failed

from flows import PROJECT, dvc, server
from imageloom.cli import STAGES

LINES_SHOWN = 30


def stage_flow(stage: str) -> Flow[..., State]:
    """The flow of one stage; it ends Failed, with the stage's own words, when DVC does."""

    def reproduce(force: bool = False) -> State:
        logger = get_run_logger()
        outcome = dvc.reproduce(stage, force, logger.info)
        create_markdown_artifact(
            report(outcome),
            key=f"imageloom-{stage}",
            description=f"{stage}: {outcome.status} in {outcome.seconds:.1f} s",
        )
        if outcome.failed:
            return Failed(message=f"stage {stage}: {outcome.error}")
        return Completed(message=f"{outcome.status} in {outcome.seconds:.1f} s")

    reproduce.__doc__ = f"Reproduces the stage {stage} through DVC; `force` runs it even when nothing has changed."
    return flow(name=stage, flow_run_name=stage, persist_result=False, validate_parameters=False)(reproduce)


FLOWS = {stage: stage_flow(stage) for stage in STAGES}


def run_all(stages: list[str]) -> State:
    """Runs the flows of `stages` in order and ends with the first that fails.

    Returns:
        Its state, or Completed.
    """
    for stage in stages:
        state: State = FLOWS[stage](return_state=True)
        if not state.is_completed():
            return Failed(message=state.message or f"stage {stage} ended {state.name}")
    return Completed(message=f"{len(stages)} stages are up to date")


def report(outcome: dvc.Outcome) -> str:
    """The stage's result as Markdown."""
    parts = [f"# {outcome.stage}", f"**{outcome.status}** in {outcome.seconds:.1f} s"]
    if outcome.failed:
        parts.append(f"> {outcome.error}")
    table = {"evaluate": _metrics, "scrape": _crawled}.get(outcome.stage)
    if table is not None and not outcome.failed:
        parts += table()
    if outcome.lines:
        # A fence that the lines cannot close, whatever a page's title or a class is called.
        parts.append("\n".join(["~~~~~~text", *outcome.lines[-LINES_SHOWN:], "~~~~~~"]))
    return "\n\n".join(parts) + "\n"


def _metrics() -> list[str]:
    """Tables of reports/metrics.json."""
    try:
        metrics: dict[str, Any] = json.loads((PROJECT / "reports" / "metrics.json").read_text(encoding="utf-8"))
        whole = [
            [words, f"{metrics[key]:.3f}", "{:.3f} to {:.3f}".format(*metrics[f"{key}_interval"])]
            for key, words in (("accuracy", "accuracy"), ("macro_f1", "macro-F1"))
        ]
        whole.append(["always the commonest class", f"{metrics['majority_baseline']:.3f}", ""])
        columns = ("precision", "recall", "f1")
        classes = [
            [name, *(f"{scores[column]:.3f}" for column in columns), f"{scores['support']:,}"]
            for name, scores in metrics["classes"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError):  # another project's stage may write other metrics, or none
        return []
    return [_table(["", "value", "95 % interval"], whole), _table(["class", *columns, "test pictures"], classes)]


def _crawled() -> list[str]:
    """How many addresses there are of each class and status, and what has changed since the last crawl."""
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(PROJECT / "data" / "raw" / "manifest.parquet", columns=["class", "status"])
    except OSError:
        return []
    counts = rows.group_by(["class", "status"]).aggregate([([], "count_all")]).to_pylist()
    lines = sorted([row["class"], row["status"], f"{row['count_all']:,}"] for row in counts)
    return [_table(["class", "status", "addresses"], lines), *_changed()]


def _changed() -> list[str]:
    """The table of reports/scrape/diff.json."""
    try:
        diff = json.loads((PROJECT / "reports" / "scrape" / "diff.json").read_text(encoding="utf-8"))
        columns = list(diff["total"])
        rows = [
            [row["class"], row["host"], *(f"{row[column]:,}" for column in columns)]
            for row in diff["by_class_and_host"]
        ]
        unread = ", ".join(f"{row['class']} ({row['source']})" for row in diff.get("unread", ()))
    except (OSError, ValueError, KeyError, TypeError):
        return []
    note = f" (not listed whole, and not counted where not listed: {unread})" if unread else ""
    return [f"Since the last crawl{note}:", _table(["class", "host", *columns], rows)]


def _table(header: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def main(arguments: list[str] | None = None) -> int:
    """Runs one stage's flow.

    Returns:
        0 when it is up to date, 2 when it failed, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.stages", description="Runs one stage's flow.")
    parser.add_argument("stage", choices=list(STAGES))
    parser.add_argument("--force", action="store_true", help="run it even when nothing has changed")
    parsed = parser.parse_args(arguments)
    return server.run(FLOWS[parsed.stage], force=parsed.force)


if __name__ == "__main__":
    sys.exit(main())
