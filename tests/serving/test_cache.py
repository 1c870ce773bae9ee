"""Answers are remembered by what was asked, the latest ones, and no faults."""

import pytest

from imageloom.serving.cache import Cache


def test_same_bytes_are_answered_once():
    made: list[int] = []
    cache: Cache[int] = Cache(2)
    for _ in range(3):
        assert cache.get(b"a", lambda: made.append(1) or 7) == 7
    assert made == [1]


def test_the_least_recently_asked_goes_first():
    cache: Cache[bytes] = Cache(2)
    made: list[bytes] = []

    def ask(data: bytes) -> None:
        assert cache.get(data, lambda: made.append(data) or data) == data

    for data in (b"a", b"b", b"a", b"c", b"a", b"b"):
        ask(data)
    assert made == [b"a", b"b", b"c", b"b"]


def test_a_fault_is_not_remembered():
    cache: Cache[int] = Cache(2)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            cache.get(b"a", lambda: 1 // 0)
    assert cache.get(b"a", lambda: 3) == 3


def test_none_is_kept_where_none_is_wanted():
    cache: Cache[int] = Cache(0)
    assert [cache.get(b"a", lambda number=number: number) for number in (1, 2)] == [1, 2]
