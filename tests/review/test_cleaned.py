"""fastai's cleaned.csv goes in and comes out, and what it does not say changes nothing."""

from pathlib import Path

import pytest
from desks import Desk
from projects import picture

from imageloom import cli, decisions
from imageloom.decisions import Decision
from imageloom.params import UNLABELLED


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path / "项目 desk 🐈")
    desk.add("warm", "warm", range(6))
    desk.add("cold", "cold", range(100, 106))
    desk.add(UNLABELLED, "warm", [200])
    for number, row in enumerate(desk.project.rows):
        row["url"] = f"file:data/pictures/{row['class']}/Bild {number} 图.png"
    return desk.write()


def review(desk: Desk, *words: object) -> int:
    return cli.main(["review", "-C", str(desk.paths.root), "--who", "ann", *map(str, words)])


def take_in(desk: Desk, *lines: str) -> int:
    file = desk.paths.root / "cleaned.csv"
    file.write_text("\n".join(["name,label", *lines, ""]), encoding="utf-8")
    return review(desk, "--import", file)


def listed(desk: Desk, **changed: str) -> list[str]:
    """Lines for all pictures that have a class, as fastai writes them for data/pictures; n=<label> changes number n."""
    rows = [row for row in desk.project.rows if row["class"] != UNLABELLED]
    names = [row["url"].removeprefix("file:data/pictures/") for row in rows]
    labels = [changed.get(f"n{number}", row["class"]) for number, row in enumerate(rows)]
    return [f"{name},{label}" for name, label in zip(names, labels, strict=True) if label]


def sha(desk: Desk, number: int) -> str:
    return desk.project.rows[number]["sha256"]


def test_other_labels_relabel_and_what_was_deleted_is_dropped(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert take_in(desk, *listed(desk, n0="cold", n1="冷 cold", n7="", n8="warm")) == 0
    found = {name: (kind, to) for name, kind, _, to, _ in desk.decided()}
    assert found == {
        sha(desk, 0): ("relabel", "cold"),
        sha(desk, 1): ("relabel", "cold"),
        sha(desk, 7): ("drop", ""),
        sha(desk, 8): ("relabel", "warm"),
    }
    said = capsys.readouterr().out
    assert "cleaned.csv: 11 pictures named; 1 dropped, 3 relabelled; `dvc repro` uses it" in said
    assert {one.who for one in decisions.read(desk.paths.decisions)} == {"ann"}


def test_the_same_list_again_decides_nothing(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed(desk, n0="cold", n7="")
    assert take_in(desk, *lines) == 0
    before = desk.paths.decisions.read_bytes()
    assert take_in(desk, *lines) == 0
    assert desk.paths.decisions.read_bytes() == before
    assert "nothing new" in capsys.readouterr().out


def test_a_picture_that_is_listed_again_is_used_again(desk: Desk) -> None:
    decisions.append(desk.paths.decisions, [Decision(sha(desk, 3), "drop", "warm")])
    assert take_in(desk, *listed(desk)) == 0
    assert desk.decided()[1:] == [(sha(desk, 3), "keep", "warm", "", "import")]


def test_the_pool_can_be_labelled_by_a_list_and_is_not_dropped_by_one(desk: Desk) -> None:
    assert take_in(desk, *listed(desk)) == 0
    assert desk.decided() == []
    assert take_in(desk, *listed(desk), f"{desk.project.rows[12]['path']},warm") == 0
    assert desk.decided() == [(sha(desk, 12), "label", "", "warm", "import")]


def test_what_was_given_out_is_taken_in_without_a_change_and_holds_what_was_decided(desk: Desk) -> None:
    decisions.append(desk.paths.decisions, [Decision(sha(desk, 0), "relabel", "warm", "cold")])
    decisions.append(desk.paths.decisions, [Decision(sha(desk, 1), "drop", "warm")])
    file = desk.paths.root / "cleaned.csv"
    assert review(desk, "--export", file) == 0
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "name,label"
    assert lines[1:] == sorted(lines[1:])
    assert len(lines) == 12
    assert f"{desk.project.rows[0]['path']},cold" in lines
    before = desk.paths.decisions.read_bytes()
    assert review(desk, "--import", file) == 0
    assert desk.paths.decisions.read_bytes() == before
    assert all((desk.paths.raw / line.rpartition(",")[0]).is_file() for line in lines[1:])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["warm/none.png,warm"], "cleaned.csv:2: no picture called 'warm/none.png'"),
        ([",warm"], "cleaned.csv:2: no picture called ''"),
        (["warm/Bild 0 图.png,a/b"], "cleaned.csv:2: the label 'a/b' must not hold '/'"),
        (["warm/Bild 0 图.png,wram"], "cleaned.csv:2: no class 'wram' in params.yaml"),
        (["warm/Bild 0 图.png,"], "cleaned.csv:2: the label ''"),
        (["warm/Bild 0 图.png,warm", "warm/Bild 0 图.png,cold"], "cleaned.csv:3: one picture is 'warm' and 'cold'"),
        (["warm/Bild 0 图.png,warm"], "names 1 picture, and would drop 11 of 12"),
    ],
)
def test_a_list_that_does_not_fit_changes_nothing(
    desk: Desk, capsys: pytest.CaptureFixture[str], lines: list[str], message: str
) -> None:
    assert take_in(desk, *lines) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "hint: " in said
    assert not desk.paths.decisions.exists()


def test_a_name_that_two_pictures_end_with_is_refused(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.project.add("warm", [picture("warm", 90)])
    desk.project.rows[-1]["url"] = "file:elsewhere/warm/Bild 0 图.png"
    desk.write()
    assert take_in(desk, *listed(desk)) == 2
    assert "2 pictures called 'warm/Bild 0 图.png'" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"path,label\n", b"\xff\xfe\x00", None])
def test_what_is_no_list_is_told(desk: Desk, capsys: pytest.CaptureFixture[str], content: bytes | None) -> None:
    file = desk.paths.root / "list.csv"
    if content is not None:
        file.write_bytes(content)
    assert review(desk, "--import", file) == 2
    said = capsys.readouterr().err
    assert "must have the columns name and label" in said or "cannot read" in said


def test_a_list_that_cannot_be_written_there_is_told(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Linux lets nobody make a file in /proc, and says that there is no such file."""
    assert review(desk, "--export", "/proc/list.csv") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: cannot write /proc/list.csv: ")
    assert told.count("\n") == 2
