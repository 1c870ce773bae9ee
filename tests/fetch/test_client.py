"""Threads that are not asynchronous fetch single addresses under the same guard as a crawl."""

import contextlib
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from imageloom.fetch.client import Client
from imageloom.fetch.http import Limits
from imageloom.fetch.status import Status

ALLOWED = Limits(allow_hosts=("127.0.0.1",), retries=0, timeout=60, idle_timeout=60)


def test_many_threads_ask_at_once(site):
    six = threading.Barrier(6, timeout=60)  # at a time, or none of them is answered
    site.routes |= {f"/{number}": lambda _, number=number: (six.wait(), b"%d" % number)[1] for number in range(6)}
    with Client(ALLOWED) as client, ThreadPoolExecutor(6) as pool:
        bodies = list(pool.map(lambda number: client.get(f"{site.address}/{number}").body, range(6)))
    assert bodies == [b"%d" % number for number in range(6)]


def test_what_is_inside_is_not_asked(site):
    site.routes["/a"] = b"secret"
    with Client(Limits()) as client:
        assert client.get(f"{site.address}/a").status is Status.BLOCKED_ADDRESS
    assert site.asked == []


def test_its_thread_ends_with_it_even_after_a_fault(site):
    before = set(threading.enumerate())
    ended = threading.Event()
    site.routes["/slow"] = lambda _: ended.wait(60) and b""

    def ask() -> None:
        with contextlib.suppress(CancelledError):
            client.get(f"{site.address}/slow")

    with pytest.raises(KeyboardInterrupt), Client(ALLOWED) as client:  # noqa: PT012
        threading.Thread(target=ask).start()
        while not site.asked:
            time.sleep(0.01)
        raise KeyboardInterrupt
    ended.set()
    assert "fetch" not in {thread.name for thread in set(threading.enumerate()) - before}
