"""A model knows its own pictures again, and no others."""

import hashlib

import pytest

from imageloom.errors import ModelError
from imageloom.trained_on import TrainedOn

IDS = [hashlib.sha256(f"{number} 🌹".encode()).hexdigest() for number in range(3000)]


def test_what_it_was_trained_on_is_known_again_and_nothing_else():
    known = TrainedOn.of(IDS[:1000])
    assert all(one in known for one in IDS[:1000])
    assert not any(one in known for one in IDS[1000:])
    assert len(TrainedOn.of(IDS[:5] * 2).beginnings) == 5


def test_pictures_are_told_apart_by_eight_bytes():
    here, near, alike = "0" * 64, "0" * 15 + "1" + "0" * 48, "0" * 16 + "1" * 48
    assert near not in TrainedOn.of([here])
    assert alike in TrainedOn.of([here])


def test_smallest_and_largest_and_none():
    ends = ["0" * 64, "f" * 64]
    assert all(one in TrainedOn.of(ends) for one in ends)
    assert not any(one in TrainedOn.of([]) for one in ends)
    assert ends[1] not in TrainedOn.of(ends[:1])


def test_eight_bytes_a_picture_are_kept_and_the_same_for_the_same(tmp_path):
    for name, ids in (("a", IDS), ("b", IDS[::-1])):
        TrainedOn.of(ids).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size < 8 * len(IDS) + 500
    loaded = TrainedOn.load(tmp_path / "a")
    assert all(one in loaded for one in IDS)


def test_a_file_that_is_missing_is_told(tmp_path):
    with pytest.raises(ModelError, match=r"no .*trained_on\.npz") as told:
        TrainedOn.load(tmp_path / "trained_on.npz")
    assert told.value.hint == "run `dvc repro train` first"
