from collections import Counter

import numpy as np
import pytest
from projects import Project

from imageloom import tables
from imageloom.errors import DataError


def put(project, counts: dict[str, int], crawl: int = 0, first: int = 0, kept: bool = True) -> None:
    """Adds rows to the clean manifest, as many of each class as asked for."""
    rows = tables.read(project.paths.clean, tables.CLEAN, "clean").to_pylist() if project.paths.clean.exists() else []
    for name, count in counts.items():
        for number in range(first, first + count):
            row = {
                "id": f"{name}-{number:06d}",
                "class": name,
                "path": f"{name}/{number}.png",
                "width": 50,
                "height": 50,
            }
            row |= {
                "copies": 1,
                "crawl": crawl,
                "kept": kept,
                "reason": "" if kept else "too_small",
                "flags": [],
                "decided": "",
                "url": f"http://x/{number}",
            }
            rows.append(row | {"group": row["id"], "page": None, "author": None, "licence": None})
    tables.write(project.paths.clean, rows, tables.CLEAN)
    tables.write(project.paths.links, [], tables.LINKS)


def sides(project) -> dict[str, str]:
    project.run("split")
    table = tables.read(project.paths.split, tables.SPLIT, "split")
    return dict(zip(table["id"].to_pylist(), table["side"].to_pylist(), strict=True))


@pytest.fixture(params=["hash", "stratified"])
def project(request, tmp_path):
    return Project(tmp_path, split={"method": request.param, "validation": 0.2, "test": 0.1, "seed": 3})


def test_parts_have_the_shares_asked_for(project):
    put(project, {"a": 3000, "b": 3000})
    counts = Counter(sides(project).values())
    assert counts["test"] == pytest.approx(600, abs=70)
    assert counts["validation"] == pytest.approx(1200, abs=90)


def test_growth_moves_no_picture(project):
    put(project, {"a": 100, "b": 70})
    before = sides(project)
    put(project, {"a": 40, "b": 90}, crawl=1, first=500)
    put(project, {"a": 5}, crawl=2, first=0 + 900)
    after = sides(project)
    assert len(after) == len(before) + 135
    assert {name: after[name] for name in before} == before


def test_marking_a_picture_moves_no_other(project):
    put(project, {"a": 100, "b": 70})
    before = sides(project)
    rows = tables.read(project.paths.clean, tables.CLEAN, "clean").to_pylist()
    for row in rows[::9]:
        row |= {"kept": False, "reason": "too_small"}
    tables.write(project.paths.clean, rows, tables.CLEAN)
    after = sides(project)
    assert len(after) < len(before)
    assert all(before[name] == side for name, side in after.items())


def test_a_group_is_never_split(project):
    put(project, {"a": 300, "b": 300})
    rows = tables.read(project.paths.clean, tables.CLEAN, "clean").to_pylist()
    for number, row in enumerate(rows):
        row["group"] = rows[number - number % 3]["id"]
    tables.write(project.paths.clean, rows, tables.CLEAN)
    found = sides(project)
    by_group: dict[str, set[str]] = {}
    for row in rows:
        by_group.setdefault(row["group"], set()).add(found[row["id"]])
    assert {len(group) for group in by_group.values()} == {1}
    assert len(set(found.values())) == 3


def test_another_seed_gives_other_parts(project):
    put(project, {"a": 200, "b": 200})
    before = sides(project)
    method = "hash" if "hash" in project.paths.params.read_text() else "stratified"
    project.configure(split={"method": method, "validation": 0.2, "test": 0.1, "seed": 4})
    assert sides(project) != before


def test_a_class_without_test_pictures_says_what_to_do(tmp_path):
    project = Project(tmp_path, split={"method": "hash", "test": 0.01, "validation": 0.3})
    put(project, {"big": 900, "tiny": 4})
    with pytest.raises(DataError, match="class 'tiny' has 4 pictures and none of them for") as fault:
        project.run("split")
    assert "method: stratified" in fault.value.hint
    assert not project.paths.split.exists()


@pytest.mark.parametrize("number", [1, 2])
def test_a_class_of_one_or_two_pictures_is_an_error(tmp_path, number):
    project = Project(tmp_path, split={"method": "stratified"})
    put(project, {"big": 90, "tiny": number})
    with pytest.raises(DataError, match=f"'tiny' has {number} pictures? and") as fault:
        project.run("split")
    assert "three pictures or more" in fault.value.hint


def test_stratified_deals_small_classes_out_exactly(tmp_path):
    project = Project(tmp_path, split={"method": "stratified", "validation": 0.2, "test": 0.2})
    put(project, {"beer": 30, "wings": 30, "few": 3})
    found = Counter((name.split("-")[0], side) for name, side in sides(project).items())
    assert found == {
        **{(name, "train"): 18 for name in ("beer", "wings")},
        **{(name, side): 6 for name in ("beer", "wings") for side in ("validation", "test")},
        **{("few", side): 1 for side in tables.SIDES},
    }


def test_what_the_web_sends_late_or_takes_away_moves_no_picture(tmp_path):
    project = Project(tmp_path, split={"method": "stratified", "validation": 0.2, "test": 0.2})
    put(project, {"a": 40, "b": 40})
    before = sides(project)
    rows = tables.read(project.paths.clean, tables.CLEAN, "clean").to_pylist()[3:]  # three are gone
    tables.write(project.paths.clean, rows, tables.CLEAN)
    put(project, {"a": 7}, crawl=0, first=900)  # of addresses that were seen at first and gave nothing then
    after = sides(project)
    assert {name: after[name] for name in before if name in after} == {
        name: side for name, side in before.items() if name in after
    }
    assert len(after) == 84


def test_other_shares_deal_anew(tmp_path):
    project = Project(tmp_path, split={"method": "stratified", "validation": 0.2, "test": 0.2})
    put(project, {"a": 40, "b": 40})
    sides(project)
    project.configure(split={"method": "stratified", "validation": 0.2, "test": 0.5})
    assert Counter(sides(project).values())["test"] == 40


def test_sides_by_hash_are_those_of_every_other_run_and_machine(tmp_path):
    project = Project(tmp_path, split={"method": "hash", "validation": 0.2, "test": 0.1, "seed": 3})
    put(project, {"a": 12, "b": 12})
    found = sides(project)
    assert {name for name, side in found.items() if side == "test"} == {"a-000005", "b-000002"}
    validation = {name for name, side in found.items() if side == "validation"}
    assert validation == {"a-000000", "b-000005", "b-000006", "b-000009", "b-000011"}


def test_pictures_that_come_in_between_move_no_other(project):
    put(project, {"a": 60, "b": 60}, first=100)
    before = sides(project)
    put(project, {"a": 50, "b": 50}, crawl=1)
    rows = tables.read(project.paths.clean, tables.CLEAN, "clean").to_pylist()
    for number, row in enumerate(rows[-100:]):  # every other id comes before one that was there
        if number % 2:
            row["id"] = row["group"] = f"{row['class']}-{100 + number % 50:06d}-later"
    tables.write(project.paths.clean, sorted(rows, key=lambda row: row["id"]), tables.CLEAN)
    after = sides(project)
    assert len(after) == 220
    assert {name: after[name] for name in before} == before


def test_the_order_of_rows_does_not_matter(project):
    put(project, {"a": 60, "b": 60})
    before = sides(project)
    rows = tables.read(project.paths.clean, tables.CLEAN, "clean").to_pylist()
    tables.write(project.paths.clean, [rows[n] for n in np.random.default_rng(0).permutation(120)], tables.CLEAN)
    project.paths.split.with_name("dealt.json").unlink(missing_ok=True)
    assert sides(project) == before


def link(project, one: str, other: str) -> None:
    links = tables.read(project.paths.links, tables.LINKS, "clean").to_pylist()
    tables.write(project.paths.links, [*links, {"id": one, "other": other, "agreement": 0.9}], tables.LINKS)


def test_near_duplicates_on_two_sides_stop_the_pipeline(project):
    put(project, {"a": 60, "b": 60})
    placed = sides(project)
    train = [name for name, side in placed.items() if side == "train"]
    test = [name for name, side in placed.items() if side == "test"]
    link(project, train[0], train[1])
    assert sides(project) == placed
    link(project, train[0], test[0])
    with pytest.raises(DataError, match=r"near duplicates are on two sides: .* are on train and test"):
        project.run("split")


def test_a_link_to_a_picture_that_is_not_used_is_no_leak(project):
    put(project, {"a": 60, "b": 60})
    put(project, {"c": 1}, kept=False)
    for name in sides(project):
        link(project, "c-000000", name)
    project.run("split")


def test_a_class_of_few_pictures_is_told_of(tmp_path, capsys):
    project = Project(tmp_path, split={"method": "stratified"})
    put(project, {"car": 30, "truck": 3, "van": 8})
    project.run("split")
    [line] = capsys.readouterr().err.splitlines()
    assert line == "warning: class 'truck' has 1 picture to train on: what is said of it will be a guess; add some"


@pytest.mark.parametrize(("many", "lines"), [(1_000, 0), (1_020, 1)])
def test_classes_of_very_different_sizes_are_told_of(tmp_path, capsys, many, lines):
    project = Project(tmp_path, split={"method": "stratified"})
    put(project, {"car": many, "truck": 10})
    project.run("split")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    assert all("'car' has 102 times as many pictures to train on as 'truck'" in line for line in said)
