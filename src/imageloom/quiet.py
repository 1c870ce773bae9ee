"""Keeps the start-up messages of TensorFlow and LiteRT off the terminal; nowhere else is anything silenced."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()


@contextmanager
def no_native_stderr() -> Iterator[None]:
    """Sends what C++ writes to standard error nowhere; a Python exception raised inside still reaches its catcher."""
    with _lock:
        saved = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(nowhere)
