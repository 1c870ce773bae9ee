"""Counts every answer, and writes it down where an access log is kept: who asked for what, never a picture.

A line is a JSON object. The query of an address is left out, since others' addresses and their secrets stand there.
"""

import functools
import json
import logging
import logging.handlers
import re
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from imageloom import console
from imageloom.errors import ImageloomError
from imageloom.serving.service import Service

_METHODS = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"}
_SHOWN = 500  # characters of a path or of a client's name of itself


class Observer:
    """The application, with an eye on it.

    Args:
        app: The WSGI application.
        service: What it counts with, and the model and the queue that are told of beside.
        log: Where a line for each request goes; None keeps none.
    """

    def __init__(
        self, app: Callable[..., Iterable[bytes]], service: Service, log: logging.Logger | None = None
    ) -> None:
        self._app, self._metrics, self._log = app, service.metrics, log
        self._slot, self._gate = service.slot, service.gate

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers as the application does."""
        started = environ.get("imageloom.arrived") or time.monotonic()
        said: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            said[:] = [status]
            return start_response(status, headers, exc_info)

        answer = self._app(environ, start)
        seconds = time.monotonic() - started
        status = int(said[0][:3])
        route = environ.get("imageloom.route") or described(getattr(environ.get("bottle.route"), "rule", "other"))
        method = environ["REQUEST_METHOD"]
        self._metrics.answered(method if method in _METHODS else "other", route, status, seconds)
        if self._metrics.shares:
            self._metrics.observe(self._gate, self._slot)
        if self._log:
            size = sum(map(len, answer)) if isinstance(answer, list) else None
            self._log.info(_line(environ, status, size, seconds))
        return answer

    def refused(self, status: int, size: int, known: Callable[[], dict[str, Any]]) -> None:
        """Counts, and writes down, a request that was turned away before the application saw it.

        Args:
            status: Of the answer.
            size: How many bytes of a body it had.
            known: Gives what is known of the request, as the application would be told it.
        """
        self._metrics.answered("other", "refused", status, 0.0)
        if self._log:
            environ = known()
            arrived = environ["imageloom.arrived"]
            self._log.info(_line(environ, status, size, time.monotonic() - arrived if arrived else 0.0))


class _File(logging.handlers.WatchedFileHandler):
    """Appends to a file. While it cannot be written, its lines are lost, which is told once, and nothing else is."""

    _fault = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line."""
        fault = ""
        try:
            self.reopenIfNeeded()
            self.stream = self.stream or self._open()  # there is none where it could not be opened before
            self.stream.write(record.getMessage() + self.terminator)
            self.flush()
        except (OSError, ValueError) as lost:  # ValueError: it was closed, and its last lines did not fit on the disk
            fault = getattr(lost, "strerror", None) or str(lost)
        told, self._fault = self._fault, fault
        if fault and not told:
            console.warn(f"cannot write {self.baseFilename}: {fault}; requests are answered without a line in it")


def open_log(where: str | None) -> logging.Logger | None:
    """The access log: a file, which may be renamed by what rotates logs, or `-` for standard output.

    Raises:
        ImageloomError: The file cannot be written.
    """
    if where is None:
        return None
    try:
        handler = logging.StreamHandler(sys.stdout) if where == "-" else _File(where, encoding="utf-8")
    except OSError as fault:
        raise ImageloomError(f"cannot write {where}: {fault.strerror}", "check --access-log") from None
    log = logging.Logger("imageloom.access")
    log.addHandler(handler)
    return log


@functools.cache
def described(rule: str) -> str:
    """A route's rule as the description of the interface writes it."""
    return re.sub(r"<(\w+)[^>]*>", r"{\1}", re.sub(r"<verb:re:([^>]*)>", r"\1", rule))


def _line(environ: dict[str, Any], status: int, size: int | None, seconds: float) -> str:
    content = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "client": environ.get("REMOTE_ADDR"),
        "token": environ.get("imageloom.owner"),
        "method": environ["REQUEST_METHOD"][:20],
        "path": environ.get("PATH_INFO", "")[:_SHOWN],
        "status": status,
        "received": int(environ.get("CONTENT_LENGTH") or 0),
        "sent": size,
        "milliseconds": round(seconds * 1000, 2),
        "model": environ.get("imageloom.version"),
        "label": environ.get("imageloom.label"),
        "agent": environ.get("HTTP_USER_AGENT", "")[:_SHOWN],
    }
    return json.dumps({key: value for key, value in content.items() if value is not None}, ensure_ascii=False)
