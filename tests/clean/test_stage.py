import json

import pytest
from projects import Project, picture

from imageloom import tables
from imageloom.errors import DataError
from imageloom.features import FeatureStore
from imageloom.params import UNLABELLED


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    for name in ("warm", "cold"):
        project.add(name, [picture(name, seed + 100 * (name == "cold")) for seed in range(4)])
    return project


def cleaned(project) -> dict[str, dict]:
    project.run("clean")
    return {row["id"]: row for row in tables.read(project.paths.clean, tables.CLEAN, "clean").to_pylist()}


def test_good_pictures_are_kept_once_each(project):
    project.add("warm", [picture("warm", 0)], crawl=1)  # the same bytes at another address
    rows = cleaned(project)
    assert len(rows) == 8
    assert all(row["kept"] for row in rows.values())
    assert rows[project.rows[0]["sha256"]]["copies"] == 2
    assert rows[project.rows[0]["sha256"]]["crawl"] == 0


def test_what_the_crawl_knew_of_a_picture_is_passed_on(project):
    project.rows[0] |= {"title": "Ein Käfer 🐞", "source": "openverse", "bytes": 123, "format": "PNG", "author": "梵高"}
    project.add("warm", [picture("warm", 90)])
    row = cleaned(project)[project.rows[0]["sha256"]]
    assert {name: row[name] for name in ("title", "source", "bytes", "format", "author")} == {
        name: project.rows[0][name] for name in ("title", "source", "bytes", "format", "author")
    }


def test_each_kind_of_fault_is_marked_and_nothing_is_deleted(project):
    project.add("warm", [picture("warm", 50, size=20)])
    small = project.rows[-1]
    project.add("warm", [picture("plain", 60)])
    project.add("cold", [picture("plain", 60)])
    both = project.rows[-1]
    project.add("cold", [picture("cold", 70)])
    broken = project.rows[-1]
    FeatureStore(project.paths.features).write_failed({broken["sha256"]: "cut short"})
    files = sorted(project.paths.raw.rglob("*.png"))
    rows = cleaned(project)
    assert {row["id"]: row["reason"] for row in rows.values() if not row["kept"]} == {
        small["sha256"]: "too_small",
        both["sha256"]: "two_classes",
        broken["sha256"]: "undecodable",
    }
    assert sorted(project.paths.raw.rglob("*.png")) == files
    summary = (project.paths.reports / "clean" / "summary.csv").read_text().splitlines()
    assert "warm,too_small,1" in summary
    assert "cold,kept,4" in summary


def test_pictures_of_the_pool_are_left_out_until_they_are_found_under_a_class(project):
    project.add(UNLABELLED, [picture("plain", 80), picture("plain", 81), picture("warm", 0)])
    project.add("cold", [picture("plain", 81)], crawl=1)
    rows = cleaned(project)
    pool, labelled, both = (rows[row["sha256"]] for row in project.rows[8:11])
    assert (pool["class"], pool["kept"], pool["reason"]) == (UNLABELLED, False, "unlabelled")
    assert (labelled["class"], labelled["kept"]) == ("cold", True)
    assert (both["class"], both["kept"]) == ("warm", True)
    summary = (project.paths.reports / "clean" / "summary.csv").read_text().splitlines()
    assert f"{UNLABELLED},unlabelled,1" in summary


def test_pictures_of_sources_that_are_no_longer_named_are_left_alone(project):
    for row in project.rows[:2]:
        row["used"] = False
    project.add("warm", [])
    assert len(cleaned(project)) == 6


def test_the_table_holds_no_date_and_is_the_same_twice(project):
    cleaned(project)
    first = project.paths.clean.read_bytes()
    for row in project.rows:
        row["last_seen"] = row["last_seen"].replace(year=2030)
    project.add("warm", [])
    cleaned(project)
    assert project.paths.clean.read_bytes() == first


def test_pictures_of_one_class_only_are_an_error_that_says_why(tmp_path):
    project = Project(tmp_path)
    project.add("warm", [picture("warm", seed) for seed in range(3)])
    project.add("cold", [picture("cold", seed, size=16) for seed in range(3)])
    with pytest.raises(DataError, match="those left are of warm") as fault:
        project.run("clean")
    assert "3 too_small" in fault.value.hint
    assert not project.paths.clean.exists()


def test_the_shorter_side_is_what_counts_and_just_enough_is_enough(project):
    project.configure(clean={"min_side": 24})
    sizes = [(24, 24), (24, 60), (60, 24), (23, 60), (60, 23)]
    project.add("warm", [picture("warm", 90 + number, *size) for number, size in enumerate(sizes)])
    rows = cleaned(project)
    reasons = [rows[row["sha256"]]["reason"] for row in project.rows[8:]]
    assert reasons == ["", "", "", "too_small", "too_small"]


def test_a_picture_is_told_of_as_it_was_first_seen(project):
    plain = picture("plain", 5)
    for crawl, name in ((3, UNLABELLED), (1, "warm"), (2, "warm")):
        project.add(name, [plain], crawl)
        project.rows[-1] |= {"author": f"author of crawl {crawl}", "url": f"http://site/{9 - crawl}"}
    project.add("warm", [])
    row = cleaned(project)[project.rows[-1]["sha256"]]
    told = {key: row[key] for key in ("class", "author", "url", "crawl", "copies")}
    assert told == {"class": "warm", "author": "author of crawl 1", "url": "http://site/8", "crawl": 1, "copies": 3}


def test_the_class_is_the_first_that_says_what_it_shows(project):
    plain = picture("plain", 5)
    project.add("warm", [plain], crawl=2)
    project.add("cold", [plain], crawl=1)
    row = cleaned(project)[project.rows[-1]["sha256"]]
    assert (row["class"], row["path"], row["reason"]) == ("cold", project.rows[-1]["path"], "two_classes")


def test_the_table_is_in_the_order_of_ids(project):
    rows = list(cleaned(project))
    assert rows == sorted(rows)
    assert rows != [row["sha256"] for row in project.rows]


def test_the_line_tells_how_many_were_kept_left_out_and_copied(project, capsys):
    project.add("warm", [picture("warm", 0), picture("warm", 0), picture("warm", 50, size=20)], crawl=1)
    project.add("cold", [picture("cold", 60, size=20)] * 2, crawl=1)
    project.run("clean")
    assert capsys.readouterr().out == (
        "clean: 8 of 10 pictures kept; left out: 2 too_small; 3 exact copies counted once\n"
    )


def test_without_probes_nothing_is_doubted_and_the_rest_is_the_same(project):
    project.add("warm", [picture("cold", 300)])
    with_probes = cleaned(project)
    scores = tables.read(project.paths.scores, tables.SCORES, "clean").to_pylist()
    assert "label_issues" in {row["check"] for row in scores}
    project.configure(clean={"probes": False})
    without = cleaned(project)
    assert tables.read(project.paths.scores, tables.SCORES, "clean").to_pylist() == [
        row for row in scores if row["check"] != "label_issues"
    ]
    assert tables.read(project.paths.probabilities, tables.PROBABILITIES, "clean").num_rows == 0
    figures = json.loads((project.paths.reports / "clean" / "metrics.json").read_text())
    assert "accuracy" not in figures
    assert figures["kept"] == 9
    assert {id_: row["group"] for id_, row in without.items()} == {
        id_: row["group"] for id_, row in with_probes.items()
    }
