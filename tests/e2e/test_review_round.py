"""A round of review, as a person goes through it: decide, `dvc repro`, look at what MLflow says; and take it back."""

import json
import re
import sys

import pytest
from clones import Clone

from imageloom import decisions, tables
from imageloom.decisions import Decided, Decision, undo_of

pytestmark = pytest.mark.slow


def split_of(clone: Clone) -> dict[str, tuple[str, str]]:
    rows = tables.read(clone.root / "data/split/split.parquet", tables.SPLIT, "split").to_pylist()
    return {row["id"]: (row["class"], row["side"]) for row in rows}


def test_dvc_repro_trains_on_what_was_decided_and_on_what_was_there_before_when_it_is_undone(demo, tmp_path):
    clone = demo.copy(tmp_path / "clone")
    before, file = split_of(clone), clone.root / "data/review/decisions.csv"
    moved, gone = sorted(before)[:5], sorted(before)[5:8]
    other = {"functional": "defective", "defective": "functional"}
    made = [Decision(name, "relabel", before[name][0], other[before[name][0]], "ann") for name in moved]
    made += [Decision(name, "drop", before[name][0], "", "ben") for name in gone]
    decisions.append(file, made)

    log = clone.run("dvc", "repro", "evaluate")
    assert re.findall(r"Running stage '(\w+)'", log) == ["clean", "split", "train", "evaluate"]
    assert "decisions of people used: 3 drop, 5 relabel" in log
    after = split_of(clone)
    expected = {name: row for name, row in before.items() if name not in gone}
    assert after == expected | {name: (other[before[name][0]], before[name][1]) for name in moved}

    clone.run("dvc", "repro", "--single-item", "track")
    run = json.loads((clone.root / "reports/mlflow_run.json").read_text())["run_id"]
    asked = f"""
import json, mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
print(json.dumps(mlflow.get_run({run!r}).data.metrics))
"""
    metrics = json.loads(clone.run(sys.executable, "-W", "ignore", "-c", asked).strip().splitlines()[-1])
    assert (metrics["decisions/all"], metrics["decisions/relabel"], metrics["decisions/drop"]) == (8, 5, 3)
    assert 0.8 < metrics["cleaning/accuracy_cleaned"] < 1

    decided = Decided(made)
    undone = [undo_of(decided.standing(name), "ann", "decided") for name in (*moved, *gone)]
    decisions.append(file, undone)
    clone.run("dvc", "repro", "evaluate")
    assert split_of(clone) == before
    ours, theirs = clone.outs(), demo.outs()
    assert {out: ours[out] for out in ours if out.startswith(("clean", "split", "train", "evaluate"))} == {
        out: theirs[out] for out in theirs if out.startswith(("clean", "split", "train", "evaluate"))
    }
