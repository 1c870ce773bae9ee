"""A process of its own for what imports TensorFlow: its memory is given back, and its graphs are numbered from one."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from imageloom import quiet
from imageloom.errors import ImageloomError


class Worker:
    """A process that calls what it is told to, one after another, while this one goes on.

    It ends with the block, or with this process.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would take over threads that TensorFlow cannot have
        self._pipe, self._theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._theirs,), daemon=True)
        self._outstanding = 0

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.pid is not None:
            self._process.terminate()
            self._process.join()

    def begin(self, function: Callable[..., object], *arguments: Any) -> None:
        """Has it call `function`, of a module, when it is done with what it has to do; starts it where it is new."""
        if self._process.pid is None:
            self._process.start()
            self._theirs.close()
        with suppress(ConnectionError):  # it has ended, of which `finish` tells
            self._pipe.send((function, arguments))
        self._outstanding += 1

    def finish(self) -> None:
        """Waits until it has done all that it was told.

        Raises:
            ImageloomError: What one of the functions raised, or the system ended the process.
        """
        while self._outstanding:
            try:
                fault = self._pipe.recv()
            except (EOFError, ConnectionError):
                hint = "it may have run out of memory; close other programs, and run the command again"
                raise ImageloomError("the system ended a process that runs TensorFlow", hint) from None
            self._outstanding -= 1
            if fault:
                raise ImageloomError(*fault)


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process, and the first one ends this
    threading.Thread(target=_end_with_parent, daemon=True).start()
    quiet.start_up()
    with suppress(EOFError, BrokenPipeError):  # the first process is gone
        while True:
            function, arguments = pipe.recv()
            pipe.send(_fault_of(function, arguments))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _fault_of(function: Callable[..., object], arguments: tuple[Any, ...]) -> tuple[str, str] | None:
    """Message and hint of what the function raised; None where it ended well."""
    try:
        function(*arguments)
    except ImageloomError as fault:
        return fault.message, fault.hint
    except MemoryError:
        return "out of memory", "close other programs, and run the command again"
    except Exception as fault:
        traceback.print_exc()
        return f"{type(fault).__name__}: {fault}", "this should not happen; please report it with what stands above"
    return None
