"""Looks whether the model that is served has become another, and lets the newer one answer."""

import logging
import threading
from collections.abc import Callable

from imageloom import console
from imageloom.serving.slot import ModelSlot

_log = logging.getLogger("imageloom.serving")


class Watcher:
    """Looks from time to time.

    A change counts when it has stayed for two looks, so that files which are just being copied are let alone.

    Args:
        slot: What holds the model.
        announces: Whether it prints what it does; of several worker processes one does.
    """

    def __init__(self, slot: ModelSlot, announces: bool = True) -> None:
        self._slot, self._announces = slot, announces
        self._asked = threading.Event()
        self._seen = slot.stamp()

    def ask(self) -> None:
        """Asks for a look at once, after which the model is opened anew whether it has changed or not."""
        self._asked.set()

    def run(self, seconds: float) -> None:
        """Looks for ever, every so many seconds; 0 waits to be asked."""
        while True:
            asked = self._asked.wait(seconds or None)
            self._asked.clear()
            self.look(asked)

    def look(self, asked: bool = False) -> None:
        """Looks once. What fails is told, and keeps nobody from looking again."""
        try:
            self._look(asked)
        except Exception:
            _log.exception("looking for a newer model failed")

    def _look(self, asked: bool) -> None:
        seen, self._seen = self._seen, self._slot.stamp()
        if not asked and (self._seen != seen or not self._slot.is_stale(seen)):
            return
        if self._slot.reload():
            self._say(console.say, f"model {self._slot.version} answers now")
        elif self._slot.fault:
            self._say(console.error, f"the newer model is refused, and {self._slot.version} stays: {self._slot.fault}")

    def _say(self, how: Callable[[str], None], line: str) -> None:
        if self._announces:
            how(line)
