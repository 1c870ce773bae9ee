"""Projects of handwritten digits on which a recipe trains a network, in a process that can be killed."""

import shutil
import subprocess
import sys
from pathlib import Path

import digits
from killed import run_until
from projects import Project

from imageloom import params, train

CLASSES = [{"name": f"digit {number}", "label": f"{number} 号"} for number in digits.DIGITS]


def digit_project(root: Path, backbone: Path, each: int = digits.EACH, **sections: object) -> Project:
    """A project of so many pictures of each digit, embedded and split.

    Args:
        root: Its folder.
        backbone: What models/backbone/ is to be a copy of.
        each: Pictures of a class.
        sections: Of its parameters, beside those that all such projects have.
    """
    own = {"classes": CLASSES, "split": {"method": "stratified"}, "embed": {"aspect": "stretch"}}
    project = Project(root, **own, **sections)
    shutil.copytree(backbone, project.paths.backbone)
    for spec, number in zip(CLASSES, digits.DIGITS, strict=True):
        project.add(spec["name"], digits.pictures(number, each))
    project.run("embed", "clean", "split")
    return project


def copy_of(project: Project, root: Path) -> Project:
    """The same project in another folder."""
    copy = Project(root)
    shutil.copytree(project.paths.root, root, dirs_exist_ok=True)
    return copy


def command(project: Project) -> list[str]:
    """What trains it."""
    return [sys.executable, "-m", "imageloom.cli", "train", "-C", str(project.paths.root)]


def trained_by_a_process(project: Project) -> subprocess.CompletedProcess[str]:
    """Trains it in a process of its own, and gives what that has said."""
    return subprocess.run(command(project), check=True, capture_output=True, encoding="utf-8")


def train_killed_and_again(project: Project, epochs: int) -> None:
    """Kills a training after so many epochs, and has another go on from there."""
    kept = train._kept(project.paths, params.load("train", train.Params, project.paths.params).recipe)
    run_until("history.csv", epochs, *command(project)[3:])
    assert [len(path.read_text().splitlines()) for path in kept.glob("*/history.csv")] == [1 + epochs]
    assert not project.paths.classifier.exists()
    assert "goes on after epoch" in trained_by_a_process(project).stdout
    assert not kept.exists()
