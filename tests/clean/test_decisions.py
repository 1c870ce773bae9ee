"""What people decided is what `clean` goes by, and the pipeline trains on it."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from projects import Project, picture

from imageloom import cli, decisions, tables
from imageloom.decisions import Decision
from imageloom.errors import DataError
from imageloom.features import FeatureStore
from imageloom.params import UNLABELLED


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    for name in ("warm", "cold"):
        project.add(name, [picture(name, seed + 100 * (name == "cold")) for seed in range(8)])
    return project


def cleaned(project) -> dict[str, dict]:
    project.run("clean")
    return {row["id"]: row for row in tables.read(project.paths.clean, tables.CLEAN, "clean").to_pylist()}


def sha(project, number: int = -1) -> str:
    return project.rows[number]["sha256"]


def decide(project, *words: str, number: int = -1) -> str:
    """Writes decisions about one picture, each as `relabel warm cold`, and returns its id."""
    made = [Decision(sha(project, number), *word.split(), queue="test") for word in words]
    decisions.append(project.paths.decisions, made)
    return sha(project, number)


def outcome(row: dict) -> tuple[str, str, str]:
    return row["class"], row["reason"], row["decided"]


def test_relabelled_pictures_have_their_new_class_and_dropped_ones_are_left_out(project):
    moved, gone, fine = (
        decide(project, "relabel warm cold", number=0),
        decide(project, "drop warm", number=1),
        sha(project, 2),
    )
    rows = cleaned(project)
    assert outcome(rows[moved]) == ("cold", "", "relabel")
    assert outcome(rows[gone]) == ("warm", "dropped", "drop")
    assert outcome(rows[fine]) == ("warm", "", "")
    assert not rows[gone]["kept"]
    assert (project.paths.raw / rows[gone]["path"]).is_file()


def test_what_was_undone_is_as_if_it_had_not_been_decided(project):
    project.run("clean")
    before = project.paths.clean.read_bytes()
    decide(project, "relabel warm cold", "undo relabel cold", number=0)
    decide(project, "drop warm", "undo drop", number=1)
    decide(project, "skip warm", number=2)
    project.run("clean")
    assert project.paths.clean.read_bytes() == before


def test_pictures_of_the_pool_that_were_labelled_are_used(project):
    project.add(UNLABELLED, [picture("plain", 80), picture("plain", 81)])
    named, other = decide(project, "label _ warm"), sha(project, -2)
    rows = cleaned(project)
    assert outcome(rows[named]) == ("warm", "", "label")
    assert outcome(rows[other]) == (UNLABELLED, "unlabelled", "")


def test_a_pool_alone_becomes_classes_by_decisions_alone(tmp_path):
    project = Project(tmp_path)
    for hue, first in (("warm", 0), ("cold", 100)):
        project.add(UNLABELLED, [picture(hue, seed) for seed in range(first, first + 6)])
    with pytest.raises(DataError) as fault:
        project.run("clean")
    assert "`imageloom review`" in fault.value.hint
    for number in range(12):
        decide(project, f"label _ {'暖' if number < 6 else 'cold'}", number=number)
    rows = cleaned(project)
    assert sorted(row["class"] for row in rows.values()) == ["cold"] * 6 + ["暖"] * 6
    assert all(row["kept"] for row in rows.values())


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("relabel warm cold", ("cold", "", "relabel")),
        ("keep warm", ("warm", "", "keep")),
        ("skip warm", ("warm", "two_classes", "")),
        ("drop warm", ("warm", "dropped", "drop")),
    ],
)
def test_the_same_bytes_under_two_classes_are_settled_by_a_decision(project, word, expected):
    project.add("warm", [picture("plain", 60)], crawl=1)
    project.add("cold", [picture("plain", 60)], crawl=2)
    both = decide(project, word)
    assert outcome(cleaned(project)[both]) == expected


def test_a_small_picture_is_used_when_someone_says_that_it_is_fine_but_a_broken_one_never(project):
    project.add("warm", [picture("warm", 50, size=20)])
    small = decide(project, "keep warm")
    project.add("cold", [picture("cold", 70)])
    broken = decide(project, "keep cold")
    FeatureStore(project.paths.features).write_failed({broken: "cut short"})
    rows = cleaned(project)
    assert outcome(rows[small]) == ("warm", "", "keep")
    assert outcome(rows[broken]) == ("cold", "undecodable", "keep")


def test_decisions_about_pictures_that_are_not_there_do_no_harm(project):
    project.run("clean")
    before = project.paths.clean.read_bytes()
    decisions.append(project.paths.decisions, [Decision("0" * 64, "label", "", "warm"), Decision("f" * 64, "drop")])
    project.run("clean")
    assert project.paths.clean.read_bytes() == before


def test_a_group_keeps_its_root_and_so_its_side_when_the_root_is_dropped(project):
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 255, (9, 9, 3), np.uint8)).resize((240, 240), Image.Resampling.BICUBIC)
    copies = []
    for kind in ("PNG", "BMP", "TIFF"):  # other bytes of the same picture
        file = io.BytesIO()
        image.save(file, kind)
        copies.append(file.getvalue())
    for crawl, copy in enumerate(copies, 1):
        project.add("warm", [copy], crawl)
    root, *others = (sha(project, number) for number in (-3, -2, -1))
    assert {name: row["group"] for name, row in cleaned(project).items()} == {
        row["sha256"]: root if row["sha256"] in others else row["sha256"] for row in project.rows
    }
    decide(project, "drop warm", number=-3)
    rows = cleaned(project)
    assert rows[root]["reason"] == "dropped"
    assert [rows[name]["group"] for name in others] == [root, root]


def test_a_damaged_line_stops_the_stage_and_leaves_what_was_there(project, capsys):
    project.run("clean")
    before = project.paths.clean.read_bytes()
    decide(project, "drop warm", number=0)
    with project.paths.decisions.open("a") as file:
        file.write("<<<<<<< HEAD\n")
    assert cli.main(["clean", "-C", str(project.paths.root)]) == 2
    assert "decisions.csv:3: must have 7 columns" in capsys.readouterr().err
    assert project.paths.clean.read_bytes() == before


def flip(project, numbers: range) -> None:
    """Puts pictures under the wrong class, as a careless person would have, and corrects them in review."""
    for number in numbers:
        row = project.rows[number]
        right = row["class"]
        row["class"] = "cold" if right == "warm" else "warm"
        decide(project, f"relabel {row['class']} {right}", number=number)
    project.add("warm", [])


def test_the_table_of_before_and_after_shows_what_correcting_labels_did(tmp_path, capsys):
    project = Project(tmp_path)
    for name in ("warm", "cold"):
        project.add(name, [picture(name, seed + 100 * (name == "cold")) for seed in range(30)])
    flip(project, range(20))
    project.run("clean")
    figures = json.loads((project.paths.reports / "clean" / "metrics.json").read_text())
    assert figures["decisions"] == {"all": 20, "relabel": 20}
    before, after = figures["accuracy"]["as_they_came"], figures["accuracy"]["cleaned"]
    assert after > 0.95
    assert before < after - 0.05
    assert f"trained on the pictures as they came, on {before:.1%}" in capsys.readouterr().out
    page = (project.paths.reports / "clean" / "index.html").read_text(encoding="utf-8")
    assert re.search(rf"pictures cleaned</th>.*{60 * after:.0f} of 60", page)


def test_without_decisions_cleaning_changes_nothing_and_says_so(project):
    project.run("clean")
    figures = json.loads((project.paths.reports / "clean" / "metrics.json").read_text())
    assert figures["decisions"] == {"all": 0}
    assert figures["accuracy"]["as_they_came"] == figures["accuracy"]["cleaned"]
    assert "Cleaning has changed nothing" in (project.paths.reports / "clean" / "index.html").read_text()


def test_a_dry_run_says_what_would_come_of_it_and_writes_nothing(project, capsys):
    decide(project, "drop warm", number=0)
    project.run("clean")
    before = {
        path: path.read_bytes() for folder in ("data", "reports") for path in (project.paths.root / folder).rglob("*.*")
    }
    capsys.readouterr()
    decide(project, "drop warm", number=1)
    assert cli.main(["clean", "--dry-run", "-C", str(project.paths.root)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("check ")
    assert "2 dropped" in said
    before[project.paths.decisions] = project.paths.decisions.read_bytes()
    after = {
        path: path.read_bytes() for folder in ("data", "reports") for path in (project.paths.root / folder).rglob("*.*")
    }
    assert after == before


def test_the_same_inputs_give_the_same_bytes_and_what_was_there_before_does_not_matter(project):
    decide(project, "relabel warm cold", number=0)
    project.run("clean")
    folders = (project.paths.clean.parent, project.paths.reports / "clean")
    first = {path.name: path.read_bytes() for folder in folders for path in folder.iterdir()}
    project.run("clean")
    assert {path.name: path.read_bytes() for folder in folders for path in folder.iterdir()} == first
