"""More pixels than the memory should hold are kept in a file, if the disk has room for it."""

from pathlib import Path

import numpy as np
from full_disk import assert_told_and_untouched
from projects import picture

from imageloom import network
from imageloom.recipes import pixels
from imageloom.recipes.pixels import decoded

_FULL = """
import sys
from pathlib import Path
from imageloom import cli
from imageloom.errors import ImageloomError
from imageloom.recipes.pixels import decoded

try:
    decoded([Path("cat.png")] * 2000, 512, "crop", Path("disk/kept/pixels-0.npy"))
except ImageloomError as fault:
    sys.exit(cli._fail(fault.message, fault.hint))
"""


def test_pictures_beyond_the_memory_are_the_same_from_a_file(tmp_path: Path, monkeypatch) -> None:
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(pictures):
        path.write_bytes(picture("warm", number))
    monkeypatch.setattr(pixels, "_IN_MEMORY", 0)
    spill = tmp_path / "kept" / "pixels-0.npy"
    for _ in range(2):  # the second finds what a training that was killed left
        found = decoded(pictures, 32, "crop", spill)
        assert isinstance(found, np.memmap)
        assert np.array_equal(found, [network.look(path, 32, "crop") for path in pictures])
    assert [path.name for path in spill.parent.iterdir()] == ["pixels-0.npy"]


def test_a_full_disk_is_told_of_and_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(picture("warm", 0))
    (tmp_path / "full.py").write_text(_FULL, encoding="utf-8")
    (tmp_path / "disk").mkdir()
    script = """
        mount -t tmpfs -o size=2m tmpfs disk || exit 77
        echo there > disk/before && find disk -type f > "$noted/before"
        "$0" full.py; echo $? > "$noted/code"
        find disk -type f > "$noted/after"
    """
    assert_told_and_untouched(script, tmp_path)
