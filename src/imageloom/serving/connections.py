"""What the main thread waits for, remembered by the system (epoll, kqueue).

waitress asks every connection at every turn what it waits for, which for a hundred of them takes longer than reading a
request. Here a turn costs the same for two and for five hundred, and who waits for something else says so.
"""

import selectors
from collections import deque
from typing import Any

from waitress import wasyncore


class Connections(dict[int, Any]):
    """Connections, sockets that listen, and what wakes the main thread, by descriptor; waitress calls it its map."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = selectors.DefaultSelector()
        self._changed: deque[Any] = deque()

    def __setitem__(self, descriptor: int, one: Any) -> None:
        super().__setitem__(descriptor, one)
        self._selector.register(descriptor, selectors.EVENT_READ, one)

    def __delitem__(self, descriptor: int) -> None:
        super().__delitem__(descriptor)
        if descriptor in self._selector.get_map():
            self._selector.unregister(descriptor)

    def changed(self, one: Any) -> None:
        """Says, from any thread, that a connection may wait for something else; it counts from the next turn on."""
        self._changed.append(one)

    def refresh(self, one: Any) -> None:
        """Takes down what a connection waits for; for the main thread."""
        descriptor = one._fileno
        if descriptor is None:  # it is closed
            return
        wanted = selectors.EVENT_READ if one.readable() else 0
        if one.writable():
            wanted |= selectors.EVENT_WRITE
        known = self._selector.get_map().get(descriptor)
        if known is None:
            if wanted:
                self._selector.register(descriptor, wanted, one)
        elif not wanted:
            self._selector.unregister(descriptor)
        elif wanted != known.events:
            self._selector.modify(descriptor, wanted, one)

    def turn(self, seconds: float) -> None:
        """Waits for something to do, for so long at most, and does it."""
        while self._changed:
            self.refresh(self._changed.popleft())
        for key, events in self._selector.select(seconds):
            one = key.data
            # What was ready may have been closed since, and its descriptor given to another.
            if events & selectors.EVENT_READ and self.get(key.fd) is one:
                wasyncore.read(one)
            if events & selectors.EVENT_WRITE and self.get(key.fd) is one:
                wasyncore.write(one)
            self.refresh(one)

    def close(self) -> None:
        """Closes all of them."""
        wasyncore.close_all(self)
        self._selector.close()
