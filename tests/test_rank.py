"""`imageloom rank` lists runs of a real MLflow store, best first."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from imageloom import cli, images, rank
from imageloom.mlflow_store import Run

COSTS = {"milliseconds_per_picture": 7.4, "model_megabytes": 8.9, "training_seconds": 0.52}


def result(name: str, accuracy: float, pictures: str = "d1", **costs: float) -> Run:
    """What the stage `track` logs, as far as a ranking reads it."""
    metrics = {"accuracy": accuracy, "accuracy_low": accuracy - 0.03, "accuracy_high": accuracy + 0.03}
    return Run(name, {"data.digest": pictures}, metrics | {"macro_f1": accuracy - 0.01} | costs)


OLDEST_FIRST = [
    result("head", 0.99, pictures="d0"),  # on other, easier pictures
    result("head", 0.95),  # before it was changed
    Run("somebody's", {}, {"loss": 1.0}),
    Run("somebody's", {}, {"accuracy": 1.0, "accuracy_low": 1.0, "macro_f1": 1.0}),
    result("树|forest", 0.83, milliseconds_per_picture=12.6, model_megabytes=31.0),
    result("head", 0.88, **COSTS),
    result("probe", 0.91, **COSTS | {"training_seconds": 123.4}),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose store holds these runs, and one that failed."""
    import mlflow

    root = tmp_path_factory.mktemp("ranked 🐈")
    (root / "params.yaml").write_text("track: { experiment: trials }\n", encoding="utf-8")
    client = mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.create_experiment("trials", (root / "mlruns").as_uri())
    for time, run in enumerate([*OLDEST_FIRST, result("broken", 1.0)]):
        made = client.create_run(experiment, start_time=1000 + time, run_name=run.name).info.run_id
        for key, value in run.params.items():
            client.log_param(made, key, value)
        for key, value in run.metrics.items():
            client.log_metric(made, key, value)
        client.set_terminated(made, "FAILED" if run.name == "broken" else "FINISHED")
    return root


def test_the_newest_run_of_each_name_on_the_same_pictures_is_ranked():
    ranked, others = rank.ranking(OLDEST_FIRST[::-1])
    assert [(entry.name, entry.accuracy) for entry in ranked] == [("probe", 0.91), ("head", 0.88), ("树|forest", 0.83)]
    assert others == 2
    assert ranked[2].seconds is None
    assert rank.ranking(OLDEST_FIRST[:3][::-1])[0][0].accuracy == 0.95


def test_a_name_that_is_only_on_other_pictures_is_no_rival():
    ranked, others = rank.ranking([result("probe", 0.91), result("tree", 0.99, pictures="d0")])
    assert [entry.name for entry in ranked] == ["probe"]
    assert others == 1


def test_of_equal_accuracies_the_higher_macro_f1_is_better_and_then_the_name_decides():
    shares = {"a": 0.7, "d": 0.8, "c": 0.8, "b": 0.9}
    ranked, _ = rank.ranking([result(name, 0.9, macro_f1=share) for name, share in shares.items()])
    assert [entry.name for entry in ranked] == ["b", "c", "d", "a"]


def test_table_and_chart_tell_what_each_gives_and_costs(project, capsys):
    out = project / "reports"
    for kind in ("png", "svg"):
        words = ["rank", "-C", str(project), "--chart", str(out / f"r.{kind}"), "--markdown", str(out / "r.md")]
        assert cli.main(words) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["probe", "head", "树|forest"]
    assert lines[1].split()[1:] == ["0.910", "0.880", "to", "0.940", "0.900", "7.4", "8.9", "123"]
    assert lines[2].split()[-1] == "0.52"
    assert lines[3].split()[-2:] == ["13", "31"]
    assert lines[4] == "left out: 2 older runs of the same names or on other pictures"
    assert "broken" not in said
    table = (out / "r.md").read_text(encoding="utf-8").splitlines()
    assert table[2] == "| probe | 0.910 | 0.880 to 0.940 | 0.900 | 7.4 | 8.9 | 123 |"
    assert table[4] == "| 树\\|forest | 0.830 | 0.800 to 0.860 | 0.820 | 13 | 31 |  |"
    assert images.inspect((out / "r.png").read_bytes()).width > 800
    assert ElementTree.fromstring((out / "r.svg").read_bytes()).tag.endswith("svg")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--experiment", "none such"], "error: no finished run of the experiment 'none such' in sqlite:////"),
        (["--chart", "r.pdf"], "error: --chart r.pdf: not a .png or .svg"),
    ],
)
def test_what_cannot_be_ranked_is_said(project, words, error, capsys):
    assert cli.main(["rank", "-C", str(project), *words]) == 2
    assert capsys.readouterr().err.startswith(error)


def test_a_project_without_a_store_is_told_so_and_gets_none(tmp_path, capsys):
    (tmp_path / "params.yaml").write_text("track: {}\n", encoding="utf-8")
    assert cli.main(["rank", "-C", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: no MLflow store at ")
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
