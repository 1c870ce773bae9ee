"""What is done with memory: what is free again is kept for the next picture, or given back; the model's lies together.

The system hands memory out in pages of 4 KB, and the processor remembers where some two thousand of them are. A model,
its interpreters and Python take ten times as many, and looking up the others is a twentieth of all that an answer
costs (`make bench-serve`); on pages of 2 MB it remembers all of them.
"""

import ctypes
import re
from pathlib import Path

# So large a piece is the system's again as soon as it is free. A picture of the usual size takes less.
LARGE = 4 * 2**20

# Of smaller pieces, what each thread may keep. Getting memory from the system again takes a tenth of a millisecond for
# each picture, since it hands it out cleared, page by page.
KEPT = 16 * 2**20

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)

_PAGE = 2 * 2**20
_COLLAPSE = 25  # MADV_COLLAPSE of madvise(2), since Linux 6.1

# Of what a process has mapped: a part that may be written and is no file's, and how many KB of it are in memory.
_PRIVATE = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(?:\[heap\])?\n(?:.*\n)*?Rss: +(\d+) kB$", re.MULTILINE
)


def settle() -> None:
    """Has it do so from now on, where the C library is glibc.

    Left alone, that moves its own bounds: to the largest piece that was ever given back, so that after a few very large
    pictures every thread keeps tens of megabytes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE)
        mallopt(_TRIM_THRESHOLD, KEPT)


def gather() -> None:
    """Moves what is in memory now to pages of 2 MB, where Linux does it, at once and for this time only.

    Only where half is in use already: stacks, and what is set aside for later, would become as large as they may.
    """
    mapped = Path("/proc/self/smaps")
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is None or not mapped.exists():
        return
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for begins, ends, used in _PRIVATE.findall(mapped.read_text()):
        first, last = -(-int(begins, 16) // _PAGE) * _PAGE, int(ends, 16) // _PAGE * _PAGE
        if first < last and 2 * 1024 * int(used) >= int(ends, 16) - int(begins, 16):
            madvise(first, last - first, _COLLAPSE)  # it may refuse: an older Linux, or no memory in one piece
