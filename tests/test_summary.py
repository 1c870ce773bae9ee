"""The summary says how good the model is, with its doubt, and what to do next."""

from pathlib import Path

import pytest

from imageloom.cli import main
from imageloom.files import write_json

METRICS = {
    "accuracy": 0.875,
    "accuracy_interval": [0.85, 0.9],
    "macro_f1": 0.8,
    "macro_f1_interval": [0.75, 0.85],
    "majority_baseline": 0.7,
    "pictures": {side: {"卡特彼勒": 1234, "other": 20} for side in ("train", "validation", "test")},
    "classes": {},
}


def test_summary_shows_the_result_with_its_doubt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "reports" / "metrics.json", METRICS)
    write_json(tmp_path / "reports" / "mlflow_run.json", {"run_id": "abc", "model_name": "m", "model_version": "3"})
    assert main(["summary", "-C", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "accuracy   0.875  (95 % between 0.850 and 0.900)  on 1,254 test pictures" in said
    assert "macro-F1   0.800  (95 % between 0.750 and 0.850)" in said
    assert "baseline   0.700" in said
    assert "卡特彼勒" in said
    assert str(tmp_path / "reports" / "index.html") in said
    assert "run abc, model m version 3" in said
    for command in ("make serve", "imageloom review", "make ui", "dvc repro", "source .venv/bin/activate"):
        assert command in said


def test_summary_says_what_was_not_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "reports" / "metrics.json", METRICS)
    write_json(tmp_path / "reports" / "mlflow_run.json", {"run_id": None, "error": "the server is away"})
    assert main(["summary", "-C", str(tmp_path)]) == 0
    assert "not logged (the server is away); `imageloom track` does it" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_summary_without_a_result_says_what_to_do(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").touch()
    if content is not None:
        (tmp_path / "reports").mkdir()
        (tmp_path / "reports" / "metrics.json").write_text(content)
    assert main(["summary", "-C", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "metrics.json" in said
    assert "hint: run `dvc repro" in said


def test_summary_outside_a_project_says_where_to_run_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "-C", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"error: no params.yaml in {tmp_path}\n"
        "hint: run this in the project's folder, where params.yaml is, or name that with -C\n"
    )
