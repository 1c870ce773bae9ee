"""A user's mistakes and a machine's accidents: one line and a hint, exit code 2 (130 for Ctrl-C), data as they were."""

import hashlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from full_disk import assert_told_and_untouched
from projects import Project, picture

pytestmark = pytest.mark.slow

STAGES = ("backbone", "scrape", "embed", "clean", "split", "train", "evaluate", "export")
CLASSES = [{"name": "warm", "label": "暖"}, {"name": "cold"}]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiles_module, tiles_backbone) -> Path:
    """A project in which every stage up to export has run; not to be changed."""
    root = tmp_path_factory.mktemp("finished") / "project"
    project = Project(
        root,
        classes=CLASSES,
        backbone={"module": str(tiles_module), "image_size": 32},
        scrape={"sources": [{"kind": "folder"}]},
        split={"method": "stratified"},
    )
    for offset, name in enumerate(("warm", "cold")):
        folder = root / "data" / "pictures" / name
        folder.mkdir(parents=True)
        for seed in range(60):
            (folder / f"{seed}.png").write_bytes(picture(name, seed + 1000 * offset))
    shutil.copytree(tiles_backbone, project.paths.backbone)
    for stage in STAGES[1:]:
        done = imageloom(root, stage)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def project(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "project"))


def imageloom(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imageloom.cli", *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def contents(root: Path) -> dict[str, str]:
    """Digest of every file in models, data and reports, without the manifest of the crawl, which holds its date."""
    found = {}
    for folder in ("models", "data", "reports"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.name != "manifest.parquet":
                found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def refused(root: Path, *words: str) -> str:
    """Runs a command that must be refused, and gives what it said."""
    done = imageloom(root, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    return done.stderr


def rewrite(root: Path, old: str, new: str) -> None:
    path = root / "params.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_broken_parameters(project):
    before = contents(project)
    rewrite(project, "method: stratified", "methd: stratified")
    assert "'method'" in refused(project, "split")
    assert contents(project) == before


def test_unknown_class_in_the_folders(project):
    before = contents(project)
    (project / "data/pictures/worm").mkdir()
    (project / "data/pictures/worm/1.png").write_bytes(picture("warm", 1))
    assert "'warm'" in refused(project, "scrape")
    assert contents(project).keys() - before.keys() == {"data/pictures/worm/1.png"}


@pytest.mark.parametrize("left", ["nothing", "texts", "one class", "one picture"])
def test_pictures_that_are_not_enough(project, left):
    for made in ("data/raw", "data/features", "data/clean", "data/split", "models/classifier", "models/export"):
        shutil.rmtree(project / made)
    folders = [project / "data/pictures" / name for name in ("warm", "cold")]
    for path in folders[0].iterdir() if left == "one picture" else []:
        path.unlink()
    for folder in folders:
        for path in list(folder.iterdir()):
            if left in ("nothing", "texts") or (left == "one class" and folder.name == "cold"):
                path.unlink()
        if left == "texts":
            (folder / "read me.jpg").write_text("no picture")
    if left == "one picture":
        (folders[0] / "1.png").write_bytes(picture("warm", 1))
        for stage in ("scrape", "embed", "clean"):
            assert imageloom(project, stage).returncode == 0
        assert "class 'warm' has 1 picture and" in refused(project, "split")
    else:
        refused(project, "scrape")
    assert not (project / "models/classifier").exists()


@pytest.mark.parametrize("stage", ["embed", "clean", "split", "train", "evaluate", "export", "track"])
def test_stage_before_its_time_names_the_one_to_run(project, stage):
    for made in ("data/raw", "data/features", "data/clean", "data/split", "models", "reports"):
        shutil.rmtree(project / made, ignore_errors=True)
    assert "dvc repro" in refused(project, stage)


@pytest.mark.parametrize(
    "path",
    [
        "data/raw/manifest.parquet",
        "data/features/part-0001.parquet",
        "data/clean/manifest.parquet",
        "data/split/split.parquet",
        "models/backbone/backbone.tflite",
        "models/backbone/backbone.json",
        "models/classifier/head.npz",
        "models/classifier/classifier.json",
    ],
)
def test_damaged_file_is_named(project, path):
    (project / path).write_bytes(b"\0damaged")
    reader = {
        "data/raw": "clean",
        "data/features": "train",
        "data/clean": "split",
        "data/split": "train",
        "models/backbone": "embed",
        "models/classifier": "evaluate",
    }[str(Path(path).parent)]
    assert Path(path).name in refused(project, reader)


# Ctrl-C at the moment when the stage is about to write, make or rename the n-th thing of the project.
INTERRUPTED_AT = """
import os, runpy, signal, sys

left = int(sys.argv.pop())

def watch(event, arguments):
    global left
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in ("os.mkdir", "os.rename"):
        path = os.path.abspath(os.fsdecode(arguments[0])) if isinstance(arguments[0], (str, bytes, os.PathLike)) else ""
        if path.startswith(os.getcwd() + os.sep):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGINT)

sys.addaudithook(watch)
runpy.run_module("imageloom.cli", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_ends_a_stage_and_leaves_what_was_there(project, stage):
    if stage == "embed":  # or there would be nothing to do
        shutil.rmtree(project / "data/features")
    before = contents(project)
    for moment in (1, 2, 4, 8):
        command = [sys.executable, "-c", INTERRUPTED_AT, stage, str(moment)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        if done.returncode == 0:  # it does not write so often
            assert moment > 1
            break
        # Python ends itself by the signal where it came during a library's `exec`; a shell calls both 130.
        assert done.returncode in (130, -signal.SIGINT), done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.endswith("interrupted; what was finished before is kept\n")
        after = contents(project)
        assert {path: after.get(path) for path in before} == before
        assert not [path for path in after if path.endswith((".tmp", ".old"))]
    assert imageloom(project, stage).returncode == 0


@pytest.mark.parametrize("stage", ["backbone", "embed", "clean", "split", "train", "evaluate", "export"])
def test_full_disk_leaves_what_was_there(finished, tmp_path, stage):
    script = """
        mount -t tmpfs -o size=60m tmpfs disk || exit 77
        cp -r project/. disk && cd disk
        [ "$1" = embed ] && rm -r data/features
        "$0" "$2" > "$noted/before"
        cat /dev/zero > ballast 2>/dev/null
        "$0" -m imageloom.cli "$1"; echo $? > "$noted/code"
        rm ballast
        "$0" "$2" > "$noted/after"
    """
    lister = tmp_path / "list.py"
    lister.write_text(
        "import hashlib, pathlib\n"
        "for p in sorted(pathlib.Path('.').rglob('*')):\n"
        "    if p.is_file() and '__pycache__' not in p.parts: print(p, hashlib.sha256(p.read_bytes()).hexdigest())\n"
    )
    shutil.copytree(finished, tmp_path / "project")
    (tmp_path / "disk").mkdir()
    assert_told_and_untouched(script, tmp_path, stage, str(lister))
