"""How a crawl ends before its time: by SIGTERM as orderly as by Ctrl-C, and without open files left to have."""

import asyncio
import errno
import signal
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from imageloom.errors import ImageloomError

TERMINATED = 128 + signal.SIGTERM  # the exit code, as shells count it

_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


async def until_terminated(work: Awaitable[None]) -> None:
    """Does the work; SIGTERM cancels it, as Ctrl-C does.

    Raises:
        SystemExit: SIGTERM came.
    """
    if threading.current_thread() is not threading.main_thread():  # where signals cannot be heard
        await work
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    came = threading.Event()

    def end(*_: object) -> None:
        came.set()
        loop.call_soon_threadsafe(task.cancel)

    before = signal.signal(signal.SIGTERM, end)
    try:
        await work
    except (asyncio.CancelledError, ImageloomError):  # one that goes to all processes ends the decoding ones as well
        if came.is_set():
            raise SystemExit(TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def lacks_files(fault: BaseException) -> bool:
    """Whether the fault is that this process, or the system, has as many open files as it may."""
    return isinstance(fault, OSError) and fault.errno in _TOO_MANY_FILES


@contextmanager
def told() -> Iterator[None]:
    """Tells of too many open files as users are told."""
    try:
        yield
    except OSError as fault:
        if not lacks_files(fault):
            raise
        hint = "allow more, such as by `ulimit -n 1024`, or lower scrape.concurrency"
        raise ImageloomError(f"the system allows no more open files and connections: {fault.strerror}", hint) from None
