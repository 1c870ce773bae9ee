"""Queues hold what they should, and what is decided leaves them, whoever decided it and however."""

import threading

import pytest
from desks import CLASSES, Desk, full

from imageloom import decisions, tables
from imageloom.decisions import Decision
from imageloom.errors import DataError
from imageloom.features import FeatureStore
from imageloom.params import UNLABELLED
from imageloom.review.board import DECIDED, Board
from imageloom.review.neighbours import Neighbours


def ids(board: Board, queue: str) -> list[str]:
    entries, _ = board.batch(queue, 0, 1000)
    return [entry["members"][0]["id"] for entry in entries]


def left(board: Board) -> dict[str, int]:
    return {told["name"]: told["total"] - told["done"] for told in board.progress()}


def decision(board: Board, sha256: str, kind: str, queue: str, to: str = "", who: str = "ann") -> Decision:
    return Decision(sha256, kind, board.class_of(sha256), to, who, decisions.now(), queue)


def test_every_queue_holds_its_pictures_worst_first(desk):
    board = Board(desk.paths)
    rows = {row["sha256"]: row["class"] for row in desk.project.rows}
    warm, cold = ([name for name, of in rows.items() if of == hue] for hue in ("warm", "cold"))
    assert left(board) == {
        "unlabelled": 10,
        "label_issues": 2,
        "conflicts": 1,
        "near_duplicates": 2,
        "outliers": 3,
        "quality": 2,
        "losses": 2,
        "unsure": 1,
        "served": 1,
        DECIDED: 0,
    }
    assert ids(board, "label_issues") == warm[:2]
    assert ids(board, "outliers") == [*warm[2:4], cold[0]]
    assert ids(board, "quality") == cold[1:3]
    assert ids(board, "conflicts") == [cold[3]]
    assert ids(board, "losses") == [warm[0], warm[5]]  # the surest mistake first
    assert ids(board, "unsure") == [cold[5]]
    assert {rows[name] for name in ids(board, "unlabelled")} == {UNLABELLED}
    [issue], _ = board.batch("label_issues", 0, 1)
    assert (issue["suggestion"], issue["members"][0]["class"]) == ("cold", "warm")
    [served], _ = board.batch("served", 0, 1)
    assert (served["suggestion"], served["members"][0]["class"]) == ("cold", "")


def test_pool_begins_with_what_the_model_has_no_clear_opinion_of(desk):
    board = Board(desk.paths)
    assert ids(board, "unlabelled")[-1] == next(name for name, first in desk.probabilities.items() if first == 0.02)
    assert ids(board, "unlabelled")[-2] == next(name for name, first in desk.probabilities.items() if first == 0.55)


@pytest.mark.parametrize("kind", ["label", "keep", "drop"])
def test_what_is_decided_leaves_its_queues_and_undo_brings_it_back(desk, kind):
    board = Board(desk.paths)
    name = ids(board, "losses")[0]
    assert name in ids(board, "label_issues")
    board.decide([decision(board, name, kind, "losses", "cold" if kind == "label" else "")])
    assert name not in ids(board, "losses") + ids(board, "label_issues")
    assert ids(board, DECIDED) == [name]
    assert ids(Board(desk.paths), "losses") == ids(board, "losses")  # and for who opens the page now
    made = decisions.read(desk.paths.decisions)[-1]
    board.decide([decisions.undo_of(made, "ann", "losses")])
    assert ids(board, "losses")[0] == name
    assert left(board)[DECIDED] == 0


def test_skipping_leaves_one_queue_only(desk):
    board = Board(desk.paths)
    name = ids(board, "losses")[0]
    board.decide([decision(board, name, "skip", "losses")])
    assert name not in ids(board, "losses")
    assert name in ids(board, "label_issues")


def test_group_is_done_when_one_is_left_and_not_by_what_else_is_decided(desk):
    board = Board(desk.paths)
    [group, *_], _ = board.batch("near_duplicates", 0, 9)
    first, second, third = (member["id"] for member in group["members"])
    board.decide([decision(board, first, "relabel", "losses", "cold"), decision(board, second, "keep", "quality")])
    assert left(board)["near_duplicates"] == 2
    board.decide(
        [decision(board, second, "drop", "near_duplicates"), decision(board, third, "drop", "near_duplicates")]
    )
    assert left(board)["near_duplicates"] == 1
    assert board.class_of(first) == "cold"


def test_best_of_a_group_has_most_pixels(tmp_path):
    desk = Desk(tmp_path)
    desk.add("cold", "cold", [1])
    small, large = desk.add("warm", "warm", [1, 2])
    desk.project.rows[-1].update(width=400, height=300)
    desk.groups[large] = small
    [group], _ = Board(desk.write().paths).batch("near_duplicates", 0, 9)
    assert [member["id"] for member in group["members"]] == [large, small]
    assert group["key"] == small  # by which it is known, whichever is best


def test_what_others_decide_is_taken_over_and_nothing_of_theirs_is_lost(desk):
    mine, theirs = Board(desk.paths), Board(desk.paths)
    name = ids(mine, "label_issues")[0]
    theirs.decide([decision(theirs, name, "drop", "label_issues", who="bob")])
    assert name in ids(mine, "label_issues")
    mine.decide([decision(mine, name, "relabel", "label_issues", "cold")])
    assert [one[1] for one in desk.decided()] == ["drop", "relabel"]
    theirs.refresh()
    assert theirs.class_of(name) == "cold"
    assert theirs.told(name)["decided"]["who"] == "ann"


def test_two_servers_and_many_threads_lose_no_decision(desk):
    boards = [Board(desk.paths), Board(desk.paths)]
    names = ids(boards[0], "unlabelled")

    def work(board: Board, who: str) -> None:
        for name in names:
            board.decide([decision(board, name, "label", "unlabelled", "warm", who)])
            board.decide([decision(board, name, "skip", "unlabelled", who=who)])

    threads = [threading.Thread(target=work, args=(boards[number % 2], f"p{number}")) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = decisions.read(desk.paths.decisions)
    assert len(written) == 8 * 2 * len(names)
    assert len({(one.sha256, one.decision, one.who) for one in written}) == len(written)


def test_decision_that_is_sent_again_because_its_answer_was_lost_is_written_once(desk):
    board = Board(desk.paths)
    name = ids(board, "label_issues")[0]
    wanted = decision(board, name, "relabel", "label_issues", "cold")
    assert len(board.decide([wanted])) == 1
    assert board.decide([wanted]) == []
    undo = decisions.undo_of(wanted, "ann", "label_issues")
    assert len(board.decide([undo])) == 1
    assert board.decide([undo]) == []
    assert [one[1] for one in desk.decided()] == ["relabel", "undo"]


def test_file_that_git_has_merged_is_read_anew(desk):
    board = Board(desk.paths)
    first, second = ids(board, "label_issues")
    board.decide([decision(board, first, "keep", "label_issues")])
    lines = desk.paths.decisions.read_text(encoding="utf-8").splitlines(keepends=True)
    merged = desk.paths.decisions.with_suffix(".new")
    merged.write_text(lines[0] + lines[1].replace(first, second) * 3, encoding="utf-8")
    merged.replace(desk.paths.decisions)
    board.refresh()
    assert ids(board, "label_issues") == [first]


def test_stage_that_has_run_changes_the_queues_of_a_page_that_is_open(desk):
    board = Board(desk.paths)
    edition = board.edition
    board.refresh()
    assert board.edition == edition
    desk.scores.clear()
    desk.write()
    board.refresh()
    assert board.edition != edition
    assert left(board)["outliers"] == 0


def test_table_that_a_stage_is_writing_leaves_what_was_known(desk):
    board = Board(desk.paths)
    before = left(board)
    desk.paths.scores.write_bytes(b"half")
    board.refresh()
    assert left(board) == before
    with pytest.raises(DataError, match=r"scores\.parquet"):
        Board(desk.paths)


def test_pool_can_be_labelled_before_any_other_stage_has_run(tmp_path):
    desk = Desk(tmp_path, classes=[])
    names = desk.add(UNLABELLED, "warm", range(3))
    board = Board(desk.paths)
    assert sorted(ids(board, "unlabelled")) == sorted(names)
    assert board.pictures.open_classes
    board.decide([decision(board, names[0], "label", "unlabelled", "暖")])
    assert board.class_names() == ["暖"]
    assert len(ids(board, "unlabelled")) == 2


def test_undo_of_a_relabelling_that_clean_has_applied_gives_the_crawled_class_back(desk):
    board = Board(desk.paths)
    name = ids(board, "label_issues")[0]
    wanted = decision(board, name, "relabel", "label_issues", "cold")
    board.decide([wanted])
    from imageloom import tables

    rows = tables.read(desk.paths.clean, tables.CLEAN, "clean").to_pylist()
    applied = [row | ({"class": "cold", "decided": "relabel"} if row["id"] == name else {}) for row in rows]
    tables.write(desk.paths.clean, applied, tables.CLEAN)
    board.refresh()
    assert board.class_of(name) == "cold"
    board.decide([decisions.undo_of(wanted, "ann", DECIDED)])
    assert board.class_of(name) == "warm"


def test_classes_in_the_parameters_are_all_there_is(desk):
    assert Board(desk.paths).class_names() == [spec["name"] for spec in CLASSES]


def test_damaged_decisions_are_told_and_not_written_over(desk):
    desk.paths.decisions.parent.mkdir(parents=True)
    desk.paths.decisions.write_text("something else\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"decisions\.csv"):
        Board(desk.paths)


def test_neighbours_are_the_pictures_that_the_network_sees_alike(tmp_path):
    import numpy as np

    random = np.random.default_rng(0)
    vectors = random.random((40, 600), dtype=np.float32)
    vectors[7] = vectors[3] + random.normal(0, 0.01, 600)
    store = FeatureStore(tmp_path / "features").prepare({"made": "here"})
    store.append(((f"{row:064x}", vector) for row, vector in enumerate(vectors)), 600)
    neighbours = Neighbours(store)
    (nearest, similarity), *others = neighbours.of(f"{3:064x}", 5, edition=1)
    assert nearest == f"{7:064x}"
    assert similarity > 0.95 > 0.6 > others[0][1]
    assert len(others) == 4
    assert neighbours.of("f" * 64, 5, edition=1) == []


def test_full_desk_is_the_same_twice(tmp_path):
    assert ids(Board(full(tmp_path / "a").paths), "losses") == ids(Board(full(tmp_path / "b").paths), "losses")


def test_group_that_is_kept_is_done_and_told_from_what_is_kept_elsewhere(desk):
    board = Board(desk.paths)
    [group, *_], _ = board.batch("near_duplicates", 0, 9)
    names = [member["id"] for member in group["members"]]
    board.decide([decision(board, name, "keep", "quality") for name in names])
    assert left(board)["near_duplicates"] == 2
    board.decide([decision(board, name, "keep", "near_duplicates") for name in names])
    assert left(board)["near_duplicates"] == 1
    board.decide([decisions.undo_of(decision(board, names[0], "keep", "near_duplicates"), "ann", "near_duplicates")])
    assert left(board)["near_duplicates"] == 2


def test_class_that_was_named_keeps_its_place_when_the_page_and_the_stage_run_again(tmp_path):
    desk = Desk(tmp_path, classes=[])
    desk.add("warm", "warm", range(2))
    pool = desk.add(UNLABELLED, "cold", range(10, 16))
    desk.write()
    board = Board(desk.paths)
    board.decide([decision(board, pool[0], "skip", "unlabelled")])
    for name, to in ((pool[1], "zebra"), (pool[2], "=1+1"), (pool[0], "apple"), (pool[3], "warm"), (pool[4], "typo")):
        board.decide([decision(board, name, "label", "unlabelled", to)])
    board.decide([decisions.undo_of(decision(board, pool[4], "label", "unlabelled", "typo"), "ann", "unlabelled")])
    expected = ["warm", "zebra", "=1+1", "apple"]
    assert board.class_names() == Board(desk.paths).class_names() == expected
    rows = tables.read(desk.paths.clean, tables.CLEAN, "clean").to_pylist()
    given = dict(zip(pool[1:3], ("zebra", "=1+1"), strict=True))
    applied = [row | {"class": given.get(row["id"], row["class"]), "decided": "label"} for row in rows]
    tables.write(desk.paths.clean, applied, tables.CLEAN)
    assert Board(desk.paths).class_names() == expected
