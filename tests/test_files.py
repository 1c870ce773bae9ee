import errno
from pathlib import Path

import pytest

from imageloom import files
from imageloom.errors import ImageloomError


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "标签 🚜.txt"
    files.write_text(target, "old")

    def fail_half_way():
        with files.atomic_file(target) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ImageloomError, match="No space left"):
        fail_half_way()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError("bug")]
)
def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path, fault):
    target = tmp_path / "model"
    with files.atomic_folder(target) as folder:
        (folder / "a").write_text("old")

    def fail_half_way():
        with files.atomic_folder(target) as folder:
            (folder / "a").write_text("half")
            raise fault

    with pytest.raises(ImageloomError if isinstance(fault, OSError) else type(fault)):
        fail_half_way()
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_folder_takes_the_place_of_the_old(tmp_path):
    for text in ("old", "new"):
        with files.atomic_folder(tmp_path / "model") as folder:
            (folder / text).write_text(text)
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]


@pytest.mark.parametrize("fault", [OSError(errno.EACCES, "Permission denied"), KeyboardInterrupt()])
@pytest.mark.parametrize("which", [1, 2])
def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch, fault, which):
    target = tmp_path / "model"
    with files.atomic_folder(target) as folder:
        (folder / "a").write_text("old")
    replace, calls = Path.replace, []

    def failing(self, other):
        calls.append(self)
        if len(calls) == which:
            raise fault
        return replace(self, other)

    def write():
        with files.atomic_folder(target) as folder:
            (folder / "a").write_text("new")
            monkeypatch.setattr(Path, "replace", failing)

    with pytest.raises(ImageloomError if isinstance(fault, OSError) else KeyboardInterrupt):
        write()
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_a_kill_left_between_the_renames_comes_back(tmp_path):
    (tmp_path / ".model.old").mkdir()
    (tmp_path / ".model.old" / "a").write_text("old")
    (tmp_path / ".model.tmp").mkdir()

    def fail():
        with files.atomic_folder(tmp_path / "model"):
            assert (tmp_path / "model" / "a").read_text() == "old"
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        fail()
    assert (tmp_path / "model" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_fault_that_is_not_about_writing_is_not_told_as_one(tmp_path):
    def read_something_else():
        with files.atomic_folder(tmp_path / "model"):
            (tmp_path / "missing").read_text()

    with pytest.raises(FileNotFoundError):
        read_something_else()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_holds_numbers_only(tmp_path, number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "metrics.json", {"loss": number})
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_file_is_told_as_that():
    with (
        pytest.raises(ImageloomError, match=r"cannot write /proc/table\.csv"),
        files.atomic_file(Path("/proc/table.csv")) as temporary,
    ):
        temporary.write_text("text")
