import errno

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
