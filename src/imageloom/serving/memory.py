"""What the C library does with memory that is free again: keeps what the next picture needs, gives the rest back."""

import ctypes

# So large a piece is the system's again as soon as it is free. A picture of the usual size takes less.
LARGE = 4 * 2**20

# Of smaller pieces, what each thread may keep. Getting memory from the system again takes a tenth of a millisecond for
# each picture, since it hands it out cleared, page by page.
KEPT = 16 * 2**20

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)


def settle() -> None:
    """Has it do so from now on, where the C library is glibc.

    Left alone, that moves its own bounds: to the largest piece that was ever given back, so that after a few very large
    pictures every thread keeps tens of megabytes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE)
        mallopt(_TRIM_THRESHOLD, KEPT)
