"""A folder of pictures is taken stock of where it lies."""

import os

import pytest
from projects import picture

from imageloom import tables
from imageloom.errors import DataError, ImageloomError
from imageloom.files import Paths
from imageloom.make import pictures


def fill(folder, **classes: int):
    for name, number in classes.items():
        (folder / name).mkdir(parents=True)
        for seed in range(number):
            (folder / name / f"{seed} 图.png").write_bytes(picture(name, seed))
    return folder


def rows_of(paths: Paths) -> dict[str, dict]:
    table = tables.read(paths.raw / "manifest.parquet", tables.MANIFEST, "scrape").to_pylist()
    return {row["url"].removeprefix("file:data/pictures/"): row for row in table}


@pytest.fixture
def folder(tmp_path):
    return fill(tmp_path / "my 图 pictures", warm=4, cold=3)


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path / "project")


def test_pictures_are_named_where_they_lie_and_not_copied(folder, paths):
    pictures.take_stock(folder, paths)
    rows = rows_of(paths)
    assert set(rows) == {f"warm/{n} 图.png" for n in range(4)} | {f"cold/{n} 图.png" for n in range(3)}
    for name, row in rows.items():
        assert (paths.raw / row["path"]).samefile(folder / name)
    assert [path.name for path in paths.raw.iterdir()] == ["manifest.parquet"]


def test_a_project_that_cannot_be_written_is_told_of(folder, paths):
    paths.root.mkdir()
    (paths.root / "data").write_text("no folder")
    with pytest.raises(ImageloomError, match="data is no folder"):
        pictures.take_stock(folder, paths)


def test_only_what_has_changed_is_read_again(folder, paths, monkeypatch):
    pictures.take_stock(folder, paths)
    before = rows_of(paths)
    changed, touched = folder / "warm" / "0 图.png", folder / "warm" / "1 图.png"
    changed.write_bytes(picture("warm", 99))
    os.utime(touched, ns=(1, 1))
    (folder / "cold" / "new.png").write_bytes(picture("cold", 100))
    (folder / "warm" / "3 图.png").unlink()
    looked = []
    look = pictures._look
    monkeypatch.setattr(pictures, "_look", lambda data, place: looked.append(place) or look(data, place))
    pictures.take_stock(folder, paths)
    after = rows_of(paths)
    assert sorted(looked) == ["cold/new.png", "warm/0 图.png", "warm/1 图.png"]
    assert "warm/3 图.png" not in after
    assert after["warm/0 图.png"]["sha256"] != before["warm/0 图.png"]["sha256"]
    assert after["warm/1 图.png"]["sha256"] == before["warm/1 图.png"]["sha256"]
    assert after["warm/2 图.png"]["first_seen"] == before["warm/2 图.png"]["first_seen"]


def test_what_is_no_picture_is_told_of_and_left_out(folder, paths, capsys):
    (folder / "warm" / "notes.txt").write_text("no picture")
    (folder / "warm" / "cut.png").write_bytes(picture("warm", 50)[:500])
    (folder / "warm" / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "warm" / ".hidden.png").write_bytes(b"x")
    (folder / "stray.jpg").write_bytes(picture("warm", 51))
    pictures.take_stock(folder, paths)
    said = capsys.readouterr().err
    assert "not used: 3 files, such as 'warm/cut.png'" in said
    assert "passed over in no class's folder: 1 picture, such as 'stray.jpg'" in said
    rows = rows_of(paths)
    assert {row["status"] for row in rows.values() if not row["sha256"]} == {"corrupt", "gone", "not_image"}
    assert not any("hidden" in name or "stray" in name for name in rows)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "there is none"),
        ({"warm": 5}, "there is 'warm' only"),
        ({"warm": 5, "cold": 2}, "the class 'cold' has 2 pictures; 3 or more are needed"),
        ({"warm": 5, "cold": 1, "hot": 2}, r"has 1 picture; 3 or more are needed \(1 other class too few as well\)"),
        ({"warm": 5, " cold": 5}, r"the class of the folder ' cold' must not start or end with a dot or a space"),
        ({"warm": 5, "_unlabelled": 5}, "_unlabelled is no class"),
    ],
)
def test_a_folder_without_two_classes_of_three_pictures_is_refused(tmp_path, paths, classes, message):
    folder = tmp_path / "pictures"
    folder.mkdir()
    fill(folder, **classes)
    with pytest.raises(DataError, match=message) as raised:
        pictures.take_stock(folder, paths)
    assert raised.value.hint


def test_a_folder_that_is_not_there_is_named(tmp_path, paths):
    with pytest.raises(DataError, match=r"cannot read .*nowhere: No such file"):
        pictures.take_stock(tmp_path / "nowhere", paths)
