"""Stage `clean`: marks the pictures that should not be trained on, and says why; it deletes none.

Exact duplicates (the same bytes at several addresses) become one row with a count of copies. Checks look for what is
wrong, and what people decided in `imageloom review` (data/review/decisions.csv) goes before what they say.
`imageloom clean --dry-run` prints what would come of it and writes nothing.
"""

import argparse
import json
from collections import Counter
from dataclasses import astuple
from typing import Any

from pydantic import Field

from imageloom import console, decisions, files, tables
from imageloom.clean import checks, effect, outcome, pictures, report
from imageloom.clean.effect import Effect
from imageloom.clean.findings import Findings
from imageloom.clean.outcome import Outcome
from imageloom.decisions import Decided
from imageloom.errors import DataError
from imageloom.features import FeatureStore
from imageloom.files import Paths


class Params(checks.CheckParams):
    """What is wrong with a picture, what becomes of it, and how much of it is shown."""

    min_side: int = Field(default=32, ge=1, description="a picture whose shorter side has fewer pixels is not used")
    shown: int = Field(default=12, ge=1, le=200, description="pictures of each check in reports/clean/index.html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the option to look first."""
    parser.add_argument("--dry-run", action="store_true", help="print what would come of it, and write nothing")


def run(params: Params, paths: Paths, arguments: argparse.Namespace | None = None) -> None:
    """Writes data/clean/ and reports/clean/.

    Raises:
        DataError: No picture, or pictures of fewer than two classes, are left; or decisions.csv is damaged.
    """
    manifest = tables.to_rows(tables.read(paths.raw / "manifest.parquet", tables.MANIFEST, "scrape"))
    store = FeatureStore(paths.features)
    found = pictures.read(manifest, store.failed(), Decided(decisions.read(paths.decisions)), params.min_side)
    findings = checks.find(found, params, paths)
    result = outcome.judge(found, findings, params)
    if arguments is not None and arguments.dry_run:
        _say_checks(result)
        _say(result, params)
        return
    _require_two_classes(result)
    change = effect.measure(found, result, findings, store) if params.probes else None
    _write(result, findings, paths)
    _write_summaries(result, change, paths)
    files.write_text(paths.reports / "clean" / "index.html", report.render(result, change, params.shown, paths))
    _say(result, params)
    if result.decided and change is not None:
        _say_effect(change)


def _require_two_classes(result: Outcome) -> None:
    classes = sorted({row["class"] for row in result.kept})
    if len(classes) >= 2:
        return
    left_out = ", ".join(f"{count} {reason}" for reason, count in result.left_out.items())
    hint = f"not used were: {left_out}" if left_out else "add pictures of another class"
    if "unlabelled" in result.left_out:
        hint += "; type `imageloom review` to label pictures"
    raise DataError(f"two classes or more need pictures; those left are of {', '.join(classes) or 'none'}", hint)


def _write(result: Outcome, findings: Findings, paths: Paths) -> None:
    metadata = {"classes": json.dumps(list(findings.classes), ensure_ascii=False)}
    schema = tables.PROBABILITIES.with_metadata(metadata)
    rows = zip(findings.ids, findings.probabilities.tolist(), strict=True)
    tables.write(paths.probabilities, [{"id": id_, "probabilities": row} for id_, row in rows], schema)
    tables.write(paths.scores, result.scores, tables.SCORES)
    links = [dict(zip(tables.LINKS.names, link, strict=True)) for link in findings.links]
    tables.write(paths.links, links, tables.LINKS)
    if findings.looks is not None:
        tables.write(paths.looks, findings.looks, findings.looks.schema)
    tables.write(paths.clean, result.rows, tables.CLEAN)


def _write_summaries(result: Outcome, change: Effect | None, paths: Paths) -> None:
    folder = paths.reports / "clean"
    counts = Counter((row["class"], row["reason"] or "kept") for row in result.rows)
    rows: list[list[Any]] = [[*key, count] for key, count in sorted(counts.items())]
    header = ["class", "outcome", "pictures"]
    files.write_csv(folder / "summary.csv", header, [*rows, ["", "exact copies", result.copies]])
    header = ["check", "action", "looked_at", "flagged", "settled_in_review", "left_out"]
    files.write_csv(folder / "checks.csv", header, map(astuple, result.tallies))
    files.write_json(folder / "metrics.json", _metrics(result, change))


def _metrics(result: Outcome, change: Effect | None) -> dict[str, Any]:
    """What `dvc metrics` compares, and `track` logs."""
    figures: dict[str, Any] = {
        "pictures": len(result.rows),
        "kept": len(result.kept),
        "flagged": sum(bool(row["flags"]) for row in result.rows),
        "decisions": {"all": sum(result.decided.values()), **result.decided},
    }
    if change is not None:
        shares = {"as_they_came": change.before.share, "cleaned": change.after.share}
        figures["accuracy"] = {name: round(share, 4) for name, share in shares.items()}
    return figures


def _say(result: Outcome, params: Params) -> None:
    why = ", ".join(f"{count:,} {reason}" for reason, count in result.left_out.items())
    left_out = f"; left out: {why}" if why else ""
    kept, total = len(result.kept), len(result.rows)
    console.say(f"clean: {kept:,} of {total:,} pictures kept{left_out}; {result.copies:,} exact copies counted once")
    flags = Counter(flag for row in result.rows for flag in row["flags"])
    if flags:
        marked = ", ".join(f"{flags[name]:,} {name}" for name in checks.CHECKS if flags[name])
        console.say(f"clean: kept, but look at them with `imageloom review`: {marked}")
    if result.decided:
        used = ", ".join(f"{count:,} {decision}" for decision, count in result.decided.items())
        console.say(f"clean: decisions of people used: {used}")


def _say_checks(result: Outcome) -> None:
    header = ("check", "action", "looked at", "marked", "settled", "left out")
    rows = [
        (each.check, each.action, *(f"{count:,}" for count in (each.looked, each.flagged, each.settled, each.left_out)))
        for each in result.tallies
    ]
    console.say("\n".join(console.table([header, *rows], texts=2)))


def _say_effect(change: Effect) -> None:
    before, after = change.before.share, change.after.share
    console.say(
        f"clean: probes are right on {after:.1%} of the kept pictures; trained on the pictures as they came, "
        f"on {before:.1%} (five-fold cross-validation)"
    )
