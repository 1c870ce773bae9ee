"""`make baselines` on a DVC project whose stages are real but light, with real experiments and a real MLflow store."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from flow_projects import REPOSITORY, until

from imageloom import mlflow_store

# Trains "recipes" whose accuracy is the one that the parameters name, lasts while hold_train is there, and knows one
# that cannot be trained.
STAGE = """
import json, pathlib, shutil, sys, time
import yaml
from imageloom import tables

stage = sys.argv[1]
root = pathlib.Path.cwd()
params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
write = lambda name, text: ((root / name).parent.mkdir(parents=True, exist_ok=True),
                            (root / name).write_text(text, encoding="utf-8"))
print(f"{stage}: it went well, 卡特彼勒", flush=True)
if stage in ("backbone", "scrape", "embed"):
    write(f"out/{stage}.txt", json.dumps(params.get(stage)))
if stage == "clean":
    write("out/clean.txt", "clean")
    write("reports/clean/metrics.json", json.dumps({"decisions": {}}))
if stage == "split":
    rows = [{"id": f"{n:064x}", "class": "red", "path": f"{n}.png", "group": "g", "side": "test"} for n in range(3)]
    tables.write(root / "data/split/split.parquet", rows, tables.SPLIT)
if stage == "train":
    while pathlib.Path(sys.argv[2], "hold_train").exists():
        time.sleep(0.1)
    if params["train"]["recipe"] == "broken":
        sys.exit("error: no such recipe\\nhint: take another")
    time.sleep(0.5)
    write("models/classifier.txt", json.dumps(params["train"]))
if stage == "evaluate":
    right = json.loads((root / "models/classifier.txt").read_text())["accuracy"]
    metrics = {"accuracy": right, "accuracy_interval": [right - 0.1, right + 0.1], "macro_f1": right,
               "macro_f1_interval": [0, 1], "majority_baseline": 0.5, "pictures": {}, "classes": {}}
    write("reports/metrics.json", json.dumps(metrics))
if stage == "export":
    shutil.rmtree(root / "models/export", ignore_errors=True)
    shutil.copytree(sys.argv[2], root / "models/export")
"""

DVC_YAML = """
stages:
  backbone: {{cmd: "{stage} backbone", params: [backbone], outs: [out/backbone.txt]}}
  scrape: {{cmd: "{stage} scrape", params: [scrape], outs: [out/scrape.txt]}}
  embed: {{cmd: "{stage} embed", params: [embed], deps: [out/scrape.txt, out/backbone.txt], outs: [out/embed.txt]}}
  clean:
    cmd: "{stage} clean"
    deps: [out/embed.txt]
    outs: [out/clean.txt, reports/clean/metrics.json: {{cache: false}}]
  split: {{cmd: "{stage} split", deps: [out/clean.txt], outs: [data/split]}}
  train: {{cmd: "{stage} train {root}", params: [train], deps: [data/split], outs: [models/classifier.txt]}}
  evaluate: {{cmd: "{stage} evaluate", deps: [models/classifier.txt], outs: [reports/metrics.json: {{cache: false}}]}}
  export: {{cmd: "{stage} export {model}", deps: [models/classifier.txt], outs: [models/export]}}
"""

PARAMS = """# what the user wrote stays as it is
backbone: {module: small}
scrape: {kind: folder}
embed: {aspect: crop}
train: {recipe: probe, accuracy: 0.8}
track: {experiment: trials}
"""

LIST = """
probe: {}
forest-树: {train.recipe: forest, train.accuracy: 0.9, embed.aspect: "pad, so"}
broken: {train.recipe: broken}
boosted: {train.recipe: boosted, needs: no_such_package}
huge: {train.recipe: huge, memory: 1000000}
"""


class Compared:
    """A project whose stages have run, below a folder with a space in its name."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root = root
        shutil.copytree(REPOSITORY / "flows", root / "flows", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "stage.py").write_text(STAGE, encoding="utf-8")
        stage = f"{sys.executable} stage.py"
        (root / "dvc.yaml").write_text(DVC_YAML.format(stage=stage, root=f"'{root}'", model=f"'{model}'"))
        (root / "params.yaml").write_text(PARAMS, encoding="utf-8")
        (root / "baselines.yaml").write_text(LIST, encoding="utf-8")
        (root / ".gitignore").write_text("/mlflow.db\n/mlruns/\n__pycache__/\nhold_train\n")
        self.call("git", "init", "-q")
        self.call(sys.executable, "-m", "dvc", "init", "-q")
        self.call("git", "add", "-A")
        self.call("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "state")
        self.call(sys.executable, "-m", "dvc", "repro", "-q")  # dvc.lock is not in git yet, as after a first `make run`

    def copied(self, place: Path) -> "Compared":
        copied = object.__new__(Compared)
        copied.root = Path(shutil.copytree(self.root, place, symlinks=True))
        return copied

    def environment(self) -> dict[str, str]:
        """Of one who has told git nothing about himself."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "GIT_"))}
        return kept | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "DVC_NO_ANALYTICS": "1"}

    def call(self, *words: str) -> str:
        done = subprocess.run(words, cwd=self.root, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *names: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.baselines", *names],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def state(self) -> dict[str, str]:
        """Digest of every file but those of git, DVC and MLflow, and what git and DVC make of them."""
        skipped = {".git", ".dvc", "mlruns", "mlflow.db", "flows"}
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        kept = [path for path in paths if path.relative_to(self.root).parts[0] not in skipped]
        found = {str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}
        return found | {"git": self.call("git", "status", "--porcelain"), "head": self.call("git", "rev-parse", "HEAD")}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, exported_model: Path, empty_mlflow: Path) -> Compared:
    compared = Compared(tmp_path_factory.mktemp("my project 🐈"), exported_model)
    shutil.copyfile(empty_mlflow, compared.root / "mlflow.db")
    return compared


def test_ctrl_c_leaves_everything_as_it_was(project: Compared) -> None:
    before = project.state()
    (project.root / "hold_train").touch()
    running = project.start("forest-树")
    copy = project.root / ".dvc" / "tmp" / "baselines"
    try:
        assert running.stdout
        line = next(line for line in running.stdout if "train: it went well" in line)
        assert line == "forest-树: train: it went well, 卡特彼勒\n"
        assert copy.exists()
        other = project.start("probe")
        assert "is running already" in other.communicate(timeout=300)[1]
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=300)
    finally:
        (project.root / "hold_train").unlink()
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert not copy.exists()
    assert project.state() == before
    assert project.call(sys.executable, "-m", "dvc", "exp", "list", "--name-only") == ""


def test_each_recipe_is_an_experiment_and_a_run_and_the_project_stays_as_it_was(project: Compared) -> None:
    before = project.state()
    running = project.start()
    said, errors = running.communicate(timeout=300)
    assert running.returncode == 2, errors  # since one failed
    assert errors == "error: broken: no such recipe (hint: take another)\n"
    assert "boosted: left out: the package no_such_package is not installed" in said
    assert "huge: left out: it takes 1e+06 GB of memory, and there are " in said
    runs = {run.name: run for run in mlflow_store.runs("trials baselines", project.root)}
    assert {name: run.metrics["accuracy"] for name, run in runs.items()} == {"probe": 0.8, "forest-树": 0.9}
    assert runs["forest-树"].params["embed.aspect"] == "pad, so"
    # That of the project was trained before, and is trained again to be timed.
    assert all(0.5 <= run.metrics["training_seconds"] < 300 for run in runs.values())
    lines = said.splitlines()
    first = lines.index(next(line for line in lines if "95 % interval" in line))
    assert [line.split()[:2] for line in lines[first + 1 : first + 3]] == [["forest-树", "0.900"], ["probe", "0.800"]]
    listed = project.call(sys.executable, "-m", "dvc", "exp", "list", "--name-only").split()
    assert sorted(listed) == ["forest-树", "probe"]
    assert (project.root / "reports" / "baselines.png").stat().st_size > 5000
    assert "| forest-树 | 0.900 |" in (project.root / "reports" / "baselines.md").read_text(encoding="utf-8")
    for name in ("png", "md"):
        (project.root / "reports" / f"baselines.{name}").unlink()
    assert project.state() == before
    project.call(sys.executable, "-m", "dvc", "exp", "apply", "forest-树")
    assert "0.9" in (project.root / "models" / "classifier.txt").read_text()
    assert "accuracy: 0.9" in (project.root / "params.yaml").read_text(encoding="utf-8")


def test_a_ranking_that_cannot_be_written_names_no_chart(project: Compared, tmp_path: Path) -> None:
    copied = project.copied(tmp_path / "copy")
    words = [sys.executable, "-c", "from flows.baselines import _rank; print(_rank('nobody logged here'))"]
    said = subprocess.run(words, cwd=copied.root, env=copied.environment(), capture_output=True, text=True)
    assert said.stdout.endswith("False\n"), said.stderr
    assert said.stderr.startswith("error: ")
    assert "chart  " not in said.stdout


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda root: (root / "params.yaml").write_text(PARAMS.replace("folder", "urls")), "pictures or parameters"),
        (lambda root: (root / "baselines.yaml").write_text("- head\n"), "baselines.yaml is not a list of experiments"),
        (lambda root: (root / "baselines.yaml").write_text("probe: {}\nprobe: {}\n"), "'probe' is there twice"),
        (lambda root: (root / "baselines.yaml").write_text("probe: {needs: }\n"), "needs is not a package's name"),
        (lambda root: (root / "baselines.yaml").write_text("probe: {needs: no.such}\n"), "nothing is left to compare"),
        (lambda root: (root / "baselines.yaml").write_text("a: {train: {recipe: b}}\n"), "train is not one value"),
        (lambda root: (root / "baselines.yaml").write_text("other: {}\n"), "no baseline 'probe'"),
        (lambda root: (root / "dvc.lock").unlink(), "nothing was crawled and split yet"),
    ],
    ids=["stale", "no list of names", "twice", "needs nothing", "left out", "nested", "unknown", "never run"],
)
def test_what_cannot_be_compared_is_said(project: Compared, tmp_path: Path, damage, error: str) -> None:
    copied = project.copied(tmp_path / "copy")
    damage(copied.root)
    running = copied.start("probe")
    _, said = running.communicate(timeout=300)
    assert running.returncode == 2
    assert said.startswith("error: ")
    assert error in said
    assert [line.partition(":")[0] for line in said.splitlines()] == ["error", "hint"]
    until(lambda: not (copied.root / ".dvc" / "tmp" / "baselines").exists(), 60)
