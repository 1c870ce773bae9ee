"""What is in memory lies on large pages, and what is only set aside stays set aside."""

import ctypes
import mmap
import platform
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from imageloom.serving import memory

SIZE = 16 * 2**20
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

Mapping = tuple[mmap.mmap, Callable[[str], int]]


def newer_linux() -> bool:
    return platform.system() == "Linux" and tuple(map(int, platform.release().split(".")[:2])) >= (6, 1)


def mapped() -> Mapping:
    """A piece of memory with none of others' beside it, and what the system says of it in KB."""
    before, piece, behind = (mmap.mmap(-1, SIZE, flags=PRIVATE, prot=prot) for prot in (0, 3, 0))
    place = ctypes.addressof(ctypes.c_char.from_buffer(piece))
    kept = before, behind

    def said(key: str) -> int:
        assert kept
        about = Path("/proc/self/smaps").read_text().partition(f"\n{place:x}-{place + SIZE:x} ")[2]
        return int(re.search(rf"^{key}: +(\d+) kB", about, re.MULTILINE)[1])

    return piece, said


@pytest.fixture
def used() -> Mapping:
    piece, said = mapped()
    for place in range(0, SIZE, mmap.PAGESIZE):
        piece[place] = 1
    return piece, said


@pytest.mark.skipif(not newer_linux(), reason="Linux moves memory to large pages at once since 6.1")
def test_what_is_in_use_moves_to_large_pages_unchanged(used):
    piece, said = used
    assert said("AnonHugePages") == 0
    memory.gather()
    assert said("AnonHugePages") >= SIZE / 1024 - 2 * 2048
    assert said("Rss") == SIZE / 1024
    assert bytes(piece[:: mmap.PAGESIZE]) == b"\1" * (SIZE // mmap.PAGESIZE)


@pytest.mark.skipif(platform.system() != "Linux", reason="nothing is moved elsewhere")
def test_what_is_only_set_aside_takes_no_more():
    piece, said = mapped()
    for place in range(0, SIZE // 4, mmap.PAGESIZE):
        piece[place] = 1
    before = said("Rss")
    memory.gather()
    assert said("Rss") == before
