"""Clients that ask without end, and see to it that whoever is let in gets a whole answer."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit


class Crowd:
    """Several clients, each with a connection that it keeps, or with a new one for each request.

    Attributes:
        statuses: How often each status was answered.
        versions: How often each version of the model answered.
        broken: What was wrong with answers; a connection that is refused before it is made is not.
    """

    def __init__(self, address: str, body: bytes) -> None:
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[str] = Counter()
        self.broken: list[str] = []
        self.ended = threading.Event()
        self._host, self._body = urlsplit(address).netloc, body

    def ask(self, keep: bool) -> None:
        """One client."""
        connection = None
        while not self.ended.is_set():
            try:
                if connection is None:
                    connection = HTTPConnection(self._host, timeout=60)
                    connection.connect()
            except OSError:  # nobody listens any more
                self.ended.wait(0.01)
                connection = None
                continue
            try:
                connection.request("POST", "/predict", self._body, {} if keep else {"Connection": "close"})
                reply = connection.getresponse()
                content = json.loads(reply.read())
            except Exception as fault:
                self.broken.append(f"{type(fault).__name__}: {fault}")
                connection = None
                continue
            self.statuses[reply.status] += 1
            if reply.status == 200:
                self.versions[content["model"]] += 1
            if reply.will_close:
                connection.close()
                connection = None


@contextmanager
def crowd(address: str, body: bytes, clients: int = 8) -> Iterator[Crowd]:
    """So many clients, every other of whom keeps its connection, for as long as the block lasts."""
    asking = Crowd(address, body)
    threads = [threading.Thread(target=asking.ask, args=(number % 2 == 0,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield asking
    finally:
        asking.ended.set()
        for thread in threads:
            thread.join()
