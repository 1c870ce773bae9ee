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
        project.add(name, [picture(name, seed) for seed in range(4)])
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
