"""Answers that were given before, by the SHA-256 of what was asked."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """The most recently used answers; safe to use from several threads.

    Args:
        size: How many to keep; 0 keeps none and computes no digests.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[bytes, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, data: bytes, make: Callable[[], Value]) -> Value:
        """The answer to `data`: the one kept, or else what `make` gives; what it raises is not kept."""
        if not self._size:
            return make()
        key = hashlib.sha256(data).digest()
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value
