"""Near duplicates: what is one picture, what is only alike, and whose groups never move."""

import hashlib

import numpy as np
import planted
import pytest
from planted import photograph, png
from projects import Project, picture

from imageloom import tables
from imageloom.clean import duplicates, looks, neighbours, prints
from imageloom.clean.duplicates import Links

THRESHOLD = 0.985


def agreement(one: bytes, other: bytes) -> float:
    found = prints.decode([looks.measure(data)["print"] for data in (one, other)])
    return float(duplicates._Prints.of(found).agreements(np.array([[0, 1]]), THRESHOLD)[0])


@pytest.mark.parametrize("kind", planted.KINDS)
def test_a_copy_is_known_for_one(kind):
    random = np.random.default_rng(0)
    for seed in range(6):
        original = png(photograph(seed, 200))
        assert agreement(original, planted.copy(original, kind, random)) >= THRESHOLD, seed


def test_other_pictures_are_no_copies():
    files = [png(photograph(seed, 200)) for seed in range(40)]
    found = prints.decode([looks.measure(data)["print"] for data in files])
    pairs = np.array([(one, other) for one in range(40) for other in range(one)])
    assert duplicates._Prints.of(found).agreements(pairs, THRESHOLD).max() < 0.5


def test_a_flat_picture_has_a_print_and_is_no_copy_of_a_photograph():
    from PIL import Image

    assert agreement(png(Image.new("RGB", (60, 60), "red")), png(photograph())) < THRESHOLD


def grouped(pairs: list[tuple[int, int]], crawls: list[int]) -> tuple[list[int], list[int]]:
    """Roots and bridges of pictures named by their number."""
    links = Links(np.array(pairs, np.int64).reshape(-1, 2), np.ones(len(pairs), np.float32))
    found = duplicates.group(links, np.array(crawls), [f"{row:03d}" for row in range(len(crawls))])
    return found.roots.tolist(), np.flatnonzero(found.bridges).tolist()


def test_what_is_linked_is_one_group_rooted_in_its_first():
    assert grouped([(1, 2), (2, 4)], [0, 0, 0, 0, 0]) == ([0, 1, 1, 3, 1], [])
    assert grouped([(0, 2), (1, 2)], [0, 0, 0]) == ([0, 0, 0], [])


def test_the_first_to_come_is_the_root_whatever_its_id():
    assert grouped([(0, 2)], [1, 0, 0]) == ([2, 1, 2], [])


def test_one_that_links_groups_of_an_earlier_crawl_is_a_bridge():
    assert grouped([(0, 2), (1, 2)], [0, 0, 1]) == ([0, 1, 2], [2])
    # What comes with the bridge joins one of the groups, and not both by way of it.
    assert grouped([(0, 2), (1, 2), (0, 3), (2, 3)], [0, 0, 1, 1]) == ([0, 1, 2, 0], [2])
    assert grouped([(0, 2), (2, 3), (1, 3)], [0, 0, 1, 1]) == ([0, 1, 0, 3], [3])


def test_new_groups_that_meet_in_one_crawl_become_one():
    assert grouped([(0, 2), (1, 2)], [1, 1, 1]) == ([0, 0, 0], [])
    assert grouped([(0, 1), (1, 3), (2, 3)], [0, 1, 1, 1]) == ([0, 0, 0, 0], [])


def test_whatever_comes_no_earlier_group_changes():
    random = np.random.default_rng(3)
    for _ in range(50):
        crawls = np.sort(random.integers(0, 4, 60))
        pairs = neighbours.distinct(random.integers(0, 60, (45, 2)))
        roots, _ = grouped(pairs.tolist(), crawls.tolist())
        for crawl in range(3):
            number = int((crawls <= crawl).sum())
            before = [pair for pair in pairs.tolist() if max(pair) < number]
            assert grouped(before, crawls[:number].tolist())[0] == roots[:number]


def shas(files: list[bytes]) -> list[str]:
    return [hashlib.sha256(data).hexdigest() for data in files]


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path)
    for number, name in enumerate(("warm", "cold")):
        project.add(name, [png(photograph(100 * number + seed)) for seed in range(12)])
    return project


def cleaned(project) -> dict[str, dict]:
    project.run("clean")
    return {row["id"]: row for row in tables.read(project.paths.clean, tables.CLEAN, "clean").to_pylist()}


def scores(project, check: str) -> dict[str, dict]:
    rows = tables.read(project.paths.scores, tables.SCORES, "clean").to_pylist()
    return {row["id"]: row for row in rows if row["check"] == check}


def test_copies_are_grouped_with_their_original_and_split_with_it(project):
    random = np.random.default_rng(1)
    original = png(photograph(3))
    copies = [planted.copy(original, kind, random) for kind in planted.KINDS]
    project.add("warm", copies, crawl=1)
    rows = cleaned(project)
    [root] = shas([original])
    assert {rows[sha]["group"] for sha in shas(copies)} == {root}
    assert {row["id"] for row in rows.values() if row["group"] == root} == {root, *shas(copies)}
    project.configure(split={"method": "stratified", "validation": 0.2, "test": 0.2})
    project.run("split")
    split = tables.read(project.paths.split, tables.SPLIT, "split").to_pylist()
    assert len({row["side"] for row in split if row["id"] in {root, *shas(copies)}}) == 1


def test_dropping_the_root_in_review_moves_nobody(project):
    from imageloom import decisions
    from imageloom.decisions import Decision

    copy = planted.copy(png(photograph(3)), "mirrored", np.random.default_rng(1))
    project.add("warm", [copy], crawl=1)
    [root, sha] = shas([png(photograph(3)), copy])
    decisions.append(project.paths.decisions, [Decision(root, "drop", "warm", "", queue="near_duplicates")])
    rows = cleaned(project)
    assert rows[root]["reason"] == "dropped"
    assert rows[sha]["group"] == root


@pytest.mark.parametrize("action", ["group", "drop", "flag"])
def test_what_becomes_of_copies_is_a_parameter(project, action):
    project.configure(clean={"actions": {"near_duplicates": action}})
    copy = planted.copy(png(photograph(3)), "quality 40", np.random.default_rng(1))
    project.add("warm", [copy], crawl=1)
    row = cleaned(project)[shas([copy])[0]]
    assert (row["kept"], row["reason"], row["flags"]) == {
        "group": (True, "", []),
        "drop": (False, "near_duplicates", []),
        "flag": (True, "", ["near_duplicates"]),
    }[action]


def test_the_same_picture_under_two_classes_is_found_copied_or_not(project):
    project.add("cold", [png(photograph(3))])
    mirrored = planted.copy(png(photograph(5)), "mirrored", np.random.default_rng(1))
    project.add("cold", [mirrored])
    rows = cleaned(project)
    found = {
        sha: (row["score"], row["detail"]) for sha, row in scores(project, "two_classes").items() if row["flagged"]
    }
    same, twin, original = shas([png(photograph(3)), mirrored, png(photograph(5))])
    assert found == {same: (0, "warm"), twin: (0.5, "warm"), original: (0.5, "cold")}
    assert rows[same]["reason"] == "two_classes"
    assert rows[twin]["flags"] == ["two_classes"]


def animation(text: str) -> bytes:
    """A GIF that moves and says that there is no picture."""
    import io

    from PIL import Image, ImageDraw

    frames = []
    for number in range(3):
        frame = Image.new("RGB", (120, 90), (235, 235, 235))
        ImageDraw.Draw(frame).text((20, 40), text, (90 + 40 * number, 90, 90))
        frames.append(frame)
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=80)
    return file.getvalue()


def test_a_placeholder_that_many_addresses_give_is_found(project):
    placeholder = animation("picture not found")
    project.add("warm", [placeholder] * 7)
    project.add("cold", [placeholder] * 5)
    project.add("warm", [png(photograph(2))] * 3)  # a picture that is shown at a few addresses
    cleaned(project)
    found = scores(project, "placeholders")
    [sha] = shas([placeholder])
    assert [name for name, row in found.items() if row["flagged"]] == [sha]
    assert found[sha]["detail"] == "12 addresses"


def test_strays_are_outliers_even_in_twos(project):
    random = np.random.default_rng(0)
    stray = np.zeros((128, 128, 3), np.uint8)
    stray[:, :, 1] = 255
    stray[40:80, 30:60] = random.integers(0, 255, (40, 30, 3))
    from PIL import Image

    original = png(Image.fromarray(stray))
    twin = planted.copy(original, "mirrored", random)
    project.add("warm", [original, twin])
    cleaned(project)
    found = scores(project, "outliers")
    assert {name for name, row in found.items() if row["flagged"]} == set(shas([original, twin]))


def test_the_same_pictures_give_the_same_bytes(project):
    project.add("warm", [planted.copy(png(photograph(3)), "mirrored", np.random.default_rng(1))], crawl=1)
    project.run("clean")
    folder = project.paths.clean.parent
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(first) == 5
    project.paths.looks.unlink()
    project.run("clean")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_neighbours_are_those_that_brute_force_finds():
    random = np.random.default_rng(0)
    vectors = neighbours.of_length_one(random.normal(size=(2000, 32)).astype(np.float32))
    similar = vectors @ vectors.T
    np.fill_diagonal(similar, -2)
    exact = np.argsort(-similar, axis=1)[:, :5]
    found = neighbours.nearest(vectors, 5).rows
    assert np.mean([len(set(one) & set(other)) / 5 for one, other in zip(exact, found, strict=True)]) > 0.97


def test_neighbours_at_arrival_do_not_change_when_more_comes():
    random = np.random.default_rng(0)
    vectors = neighbours.of_length_one(random.normal(size=(600, 16)).astype(np.float32))
    crawls = np.repeat([0, 1], 300)
    before = neighbours.nearest(vectors[:300], 4, crawls[:300])
    after = neighbours.nearest(vectors, 4, crawls)
    np.testing.assert_array_equal(after.rows[:300], before.rows)
    assert (neighbours.nearest(vectors, 4).rows[:300] != before.rows).any()


def test_a_print_is_as_long_as_it_says():
    assert len(looks.measure(picture("warm", 1))["print"]) == prints.LENGTH


@pytest.mark.parametrize(("kept", "stay"), [([], 1), ([1, 2], 2)], ids=["others_undecided", "others_kept"])
def test_what_a_person_chose_among_copies_stays_where_copies_are_dropped(project, kept, stay):
    from imageloom import decisions
    from imageloom.decisions import Decision

    project.configure(clean={"actions": {"near_duplicates": "drop"}})
    copies = [planted.copy(png(photograph(3)), kind, np.random.default_rng(1)) for kind in ("mirrored", "quality 40")]
    project.add("warm", copies, crawl=1)
    ids = shas([png(photograph(3)), *copies])
    decided = [Decision(ids[0], "drop", "warm", queue="near_duplicates")]
    decided += [Decision(ids[number], "keep", "warm", queue="near_duplicates") for number in kept]
    decisions.append(project.paths.decisions, decided)
    rows = cleaned(project)
    assert sum(rows[sha]["kept"] for sha in ids) == stay
    assert rows[ids[0]]["reason"] == "dropped"
    told = (project.paths.reports / "clean" / "checks.csv").read_text(encoding="utf-8")
    [line] = [line for line in told.splitlines() if line.startswith("near_duplicates,")]
    assert line.split(",")[-2:] == [str(len(kept[1:])), str(1 - len(kept[1:]))]  # settled, left out
