"""What people decided is never lost, never overwritten, and read as they meant it."""

import multiprocessing
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from imageloom.decisions import (
    HEADER,
    Decided,
    Decision,
    append,
    begin,
    read,
    read_from,
    standing,
    undo_of,
)
from imageloom.errors import DataError, ImageloomError

A, B = "a" * 64, "b" * 64
HEADER_LINE = ",".join(HEADER) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my project 🐈" / "review" / "decisions.csv"


def of(*words: str) -> Decided:
    """What holds after decisions about one picture, written as `relabel cat dog`."""
    return Decided(Decision(A, *word.split()) for word in words)


def state(*words: str) -> tuple[str | None, str | None]:
    """The standing decision, and the class that was given."""
    decided = of(*words)
    last = decided.standing(A)
    return (None if last is None else last.decision), decided.label(A)


def test_what_is_added_is_read_back_in_any_script(path: Path) -> None:
    decisions = [
        Decision(A, "label", "", "卡特彼勒", 'Zoë, "the" reviewer', "2026-01-02T03:04:05Z", "unlabelled"),
        Decision(B, "relabel", "a,b", "c 🐞", "ann", "2026-01-02T03:04:06Z", "label_issues"),
        Decision(B, "drop", "c 🐞", "", "two\r\nlines", "2026-01-02T03:04:07Z", "outliers"),
    ]
    append(path, decisions[:1])
    append(path, decisions[1:])
    assert read(path) == [*decisions[:2], replace(decisions[2], who="two lines")]
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "sha256,decision,from,to,who,when,queue"
    assert len(lines) == 4


def test_a_project_without_the_file_has_no_decisions_and_gets_one_with_its_header(path: Path) -> None:
    assert read(path) == []
    assert read_from(path, 0) == ([], 0)
    begin(path)
    begin(path)
    assert path.read_text() == HEADER_LINE
    assert read(path) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (None, None)),
        (["label _ dog"], ("label", "dog")),
        (["label _ dog", "relabel dog cat"], ("relabel", "cat")),
        (["relabel dog cat", "keep cat"], ("keep", "cat")),
        (["relabel dog cat", "drop cat"], ("drop", "cat")),
        (["drop dog", "relabel dog cat"], ("relabel", "cat")),
        (["drop dog", "keep dog"], ("keep", None)),
        (["drop dog", "skip dog"], ("drop", None)),
        (["skip dog"], (None, None)),
        (["drop dog", "undo drop"], (None, None)),
        (["relabel dog cat", "drop cat", "undo drop"], ("relabel", "cat")),
        (["relabel dog cat", "undo relabel cat"], (None, None)),
        (["relabel dog cat", "relabel cat cow", "undo relabel cow"], ("relabel", "cat")),
        (["drop dog", "undo"], (None, None)),
        (["drop dog", "skip dog", "undo"], ("drop", None)),
        (["undo"], (None, None)),
        (["drop dog", "undo drop", "undo drop", "keep dog", "undo drop"], ("keep", None)),
    ],
)
def test_the_last_decision_that_is_not_taken_back_holds(words: list[str], expected: tuple[str, str]) -> None:
    assert state(*words) == expected


def test_two_who_decide_at_once_are_both_heard_and_the_later_one_stands() -> None:
    both = ["relabel dog cat", "relabel dog cow"]  # both saw a dog
    assert state(*both) == ("relabel", "cow")
    assert state(*both, "undo relabel cat") == ("relabel", "cow")  # the first takes back what was theirs
    assert state(*both, "undo relabel cow") == ("relabel", "cat")


def test_two_who_take_back_the_same_decision_take_back_one() -> None:
    seen = of("relabel dog cat", "drop cat").latest(A)
    assert seen is not None
    undo = undo_of(seen, "ann", "outliers")
    assert (undo.decision, undo.from_, undo.to) == ("undo", "drop", "")
    assert state("relabel dog cat", "drop cat", "undo drop", "undo drop") == ("relabel", "cat")


def test_skipping_is_known_by_queue_and_can_be_taken_back() -> None:
    decided = Decided([Decision(A, "skip", queue="outliers"), Decision(A, "skip", queue="quality")])
    assert decided.skipped(A) == {"outliers", "quality"}
    decided.add(Decision(A, "undo", "skip"))
    assert decided.skipped(A) == {"outliers"}
    assert decided.skipped(B) == set()


def test_decisions_about_one_picture_are_none_about_another() -> None:
    found = standing([Decision(A, "drop"), Decision(B, "keep"), Decision(B, "undo", "keep"), Decision(B, "skip")])
    assert {name: decision.decision for name, decision in found.items()} == {A: "drop"}


def test_only_what_was_added_is_read_the_next_time(path: Path) -> None:
    append(path, [Decision(A, "drop")])
    first, end = read_from(path, 0)
    assert [each.decision for each in first] == ["drop"]
    assert read_from(path, end) == ([], end)
    append(path, [Decision(B, "keep")])
    more, end = read_from(path, end)
    assert [each.sha256 for each in more] == [B]
    assert end == path.stat().st_size
    path.write_text(HEADER_LINE)
    assert read_from(path, end) == ([], len(HEADER_LINE))


@pytest.mark.parametrize("torn", ["half a li", f"{B},relabel,dog,c", f"{B},keep", "\0" * 9000, "x" * 9000])
def test_a_line_that_was_never_finished_is_not_read_and_is_mended(path: Path, torn: str) -> None:
    append(path, [Decision(A, "drop")])
    good = path.read_text()
    path.write_text(good + torn)
    assert [each.decision for each in read(path)] == ["drop"]
    append(path, [Decision(B, "keep")])
    assert path.read_text().startswith(good + f"{B},keep,")
    assert [each.decision for each in read(path)] == ["drop", "keep"]


def test_a_last_line_that_an_editor_left_without_an_end_counts(path: Path) -> None:
    begin(path)
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER_LINE + f"{A},drop,dog,,me,,").replace("\n", "\r\n").encode())
    found, end = read_from(path, 0)
    assert [each.decision for each in found] == ["drop"]
    append(path, [Decision(B, "keep")])
    assert [each.sha256 for each in read(path)] == [A, B]
    assert [each.sha256 for each in read_from(path, end)[0]] == [B]


def test_a_header_without_an_end_is_kept(path: Path) -> None:
    begin(path)
    path.write_text(HEADER_LINE.strip())
    append(path, [Decision(A, "keep")])
    assert path.read_text() == HEADER_LINE + f"{A},keep,,,,,\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sha256,what\n", "must begin with sha256,decision"),
        (HEADER_LINE + f"{A},drop,,,,,\n<<<<<<< HEAD\n{A},keep,,,,,\n", "decisions.csv:3: must have 7 columns, not 1"),
        (HEADER_LINE + f"{A},burn,,,,,\n", "decisions.csv:2: the decision must be one of label, relabel"),
        (HEADER_LINE + "abc,drop,,,,,\n", "decisions.csv:2: sha256 must be 64"),
        (HEADER_LINE + f"{A},label,,a/b,,,\n", "decisions.csv:2: the class in `to` must not hold '/'"),
        (HEADER_LINE + f"{A},label,,_unlabelled,,,\n", "must be a class"),
        (HEADER_LINE + f"{A},undo,dog,,,,\n", "undo must say in `from`"),
        (HEADER_LINE + f'{A},drop,"dog,,,,\n', "decisions.csv:2"),
    ],
)
def test_a_damaged_line_is_told_with_its_number(path: Path, text: str, message: str) -> None:
    begin(path)
    path.write_text(text)
    with pytest.raises(DataError) as fault:
        read(path)
    assert message in fault.value.message
    assert "git" in fault.value.hint


def _decide(path: Path, who: str, count: int) -> None:
    for number in range(count):
        append(path, [Decision(f"{number:064x}", "keep", who=who, queue="é" * 200)])


def test_many_at_once_lose_nothing(path: Path) -> None:
    people = [multiprocessing.Process(target=_decide, args=(path, f"person {n}", 40)) for n in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    found = read(path)
    assert len(found) == 160
    for n in range(4):
        assert [each.sha256 for each in found if each.who == f"person {n}"] == [f"{n:064x}" for n in range(40)]


KILLED = """
import sys, pathlib
from imageloom.decisions import Decision, append
for number in range(10_000):
    append(pathlib.Path(sys.argv[1]), [Decision(f"{number:064x}", "drop")])
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_sigkill(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(25):
            process.stdout.readline()
        process.kill()
        told = 25 + len(process.stdout.readlines())
    assert [int(each.sha256, 16) for each in read(path)][:told] == list(range(told))


def test_a_full_disk_adds_nothing_and_says_so(path: Path) -> None:
    append(path, [Decision(A, "drop")])
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(ImageloomError, match="cannot write"):
            append(path, [Decision(B, "keep"), Decision(B, "keep")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
