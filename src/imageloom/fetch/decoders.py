"""Processes that decode pictures and store them beside the one that fetches.

In threads they would wait for each other and for the fetching: Pillow decodes beside other threads, but around that
Python does one thing at a time, and with small pictures there is more around it than in it.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from imageloom import images
from imageloom.engine import cores
from imageloom.errors import ImageloomError
from imageloom.fetch.ledger import Row
from imageloom.fetch.status import Status
from imageloom.fetch.store import Kept, Store

BLOCKS = 3  # of memory that each process keeps for the next picture: one for it decoded, half shrunk and shrunk


class Undecoded(NamedTuple):
    """What is to be decoded and stored.

    Args:
        body: Its bytes; None for what stands in a file.
        file: The file.
        class_name: The class that it is stored under.
        known: The address's row of an earlier crawl.
    """

    body: bytes | None
    file: Path | None
    class_name: str
    known: Row | None


class Decoders:
    """One process for each processor. They end with this one, whatever ends it.

    Args:
        store: Where the pictures go.
        max_bytes: A larger file is refused.
    """

    def __init__(self, store: Store, max_bytes: int) -> None:
        self._pool = ProcessPoolExecutor(cores(), initializer=_begin, initargs=(store, max_bytes))
        others = multiprocessing.active_children()
        try:
            self._pool.submit(os.getpid)  # starts them, before there are connections that they would inherit
        except OSError:  # too few files or processes for all of them: those that began would wait for ever
            for process in {*multiprocessing.active_children()} - {*others}:
                process.kill()
            raise

    async def keep(self, batch: Sequence[Undecoded]) -> tuple[list[Kept], ImageloomError | None]:
        """Decodes and stores pictures, and says what became of each, or of the first until the store failed.

        Raises:
            ImageloomError: The system ended a process.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _keep, batch)
        except BrokenProcessPool:
            hint = "it may have run out of memory; `imageloom scrape` goes on where it was"
            raise ImageloomError("the system ended a process that decodes pictures", hint) from None

    def close(self) -> None:
        """Waits for what they are at, and ends them."""
        self._pool.shutdown(cancel_futures=True)


_store: Store
_max_bytes: int


def _begin(store: Store, max_bytes: int) -> None:
    global _store, _max_bytes
    _store, _max_bytes = store, max_bytes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process, and the crawl ends these itself
    threading.Thread(target=_end_with_parent, daemon=True).start()
    images.keep_memory(BLOCKS)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _keep(batch: Sequence[Undecoded]) -> tuple[list[Kept], ImageloomError | None]:
    done: list[Kept] = []
    try:
        for undecoded in batch:
            done.append(_keep_one(undecoded))
    except ImageloomError as fault:
        return done, fault
    return done, None


def _keep_one(undecoded: Undecoded) -> Kept:
    body = undecoded.body
    if body is None:
        assert undecoded.file is not None
        try:
            if undecoded.file.stat().st_size > _max_bytes:
                return Kept(Status.TOO_LARGE, {}, f"more than {_max_bytes:,} bytes")
            body = undecoded.file.read_bytes()
        except FileNotFoundError:
            return Kept(Status.GONE, {}, "no such file")
        except OSError as fault:
            return Kept(Status.BLOCKED_ADDRESS, {}, f"cannot be read: {fault.strerror}")
    return _store.keep(body, undecoded.class_name, undecoded.known)
