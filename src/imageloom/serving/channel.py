"""A connection, hardened: what waitress leaves to a proxy in front of it, for those who have none.

Limits against senders who are slow (RFC 9110's 408), who send a body in crumbs, or a thousand requests at once; answers
to what never reaches the application, in the shape of all other errors; and the bound of `gate`.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.proxy_headers import parse_proxy_headers
from waitress.receiver import ChunkedReceiver
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge, build_http_date

from imageloom.serving import headers, problems
from imageloom.serving.gate import Gate

# A request has so long to come in, and a second more for each so many bytes of its body: 128 kbit/s.
SECONDS_TO_RECEIVE, BYTES_PER_SECOND = 10.0, 16_384

# Silence may last so long, before a request and amid it.
SECONDS_IDLE = 60.0

# The same where no other connection finds room, and for the whole head of a request, which is one packet: who opens
# connections and says nothing, or no more, must not keep others out.
SECONDS_CROWDED = 1.0

# Requests that are sent without waiting for the answers before; browsers never send a second.
PIPELINED = 16

# Of a chunked body: bytes that say how long the next chunk is, which are more than 4 KB only where chunks are small,
# and at most a quarter of the body. Reading byte by byte would keep the thread that serves all connections busy.
_FREE_OVERHEAD, _OVERHEAD = 4096, 0.25

RETRY_AFTER = "1"

# How a browser begins that was told https:// (RFC 8446, 5.1); it would wait for ever.
_HANDSHAKE = b"\x16\x03"

_SECURITY = "".join(f"{name}: {value}\r\n" for name, value in headers.SECURITY.items()).encode("latin-1")

# With any of these in an answer, its head is waitress's business.
_OTHERS = {"Connection", "Date", "Server", "Via", "Transfer-Encoding"}


Refused = Callable[[int, int, Callable[[], dict[str, Any]]], None]


class LateError(Error):
    """The request did not come in."""

    code = 408
    reason = "Request Timeout"


class TurnedAwayError(Error):
    """There is no time for the request now."""

    code = 503
    reason = "Service Unavailable"


class Request(HTTPRequestParser):
    """A request that is coming in.

    Attributes:
        began: When its first byte came, in seconds of `time.monotonic`.
        arrived: When its last byte came.
    """

    arrived = 0.0

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.began = time.monotonic()

    def received(self, data: bytes) -> int:
        """Takes the next bytes; gives how many of them belong to this request."""
        if data.startswith(_HANDSHAKE) and not self.header_plus and self.body_rcv is None:
            self.error, self.completed = BadRequest("TLS is not spoken here: ask by http://"), True
            return len(data)
        try:
            consumed: int = super().received(data)
        except ValueError:  # a Content-Length of more digits than Python reads
            self.error, self.completed, consumed = BadRequest("Content-Length is no length"), True, len(data)
        if self.chunked and not self.completed:
            self._check_chunks(self.body_rcv)
        if isinstance(self.error, RequestEntityTooLarge):
            limit = self.adj.max_request_body_size
            self.error = RequestEntityTooLarge(f"the body is larger than {limit:,} bytes, and is not read")
        if self.error:
            self.expect_continue = False  # nothing of the body is wanted
        if self.completed:
            self.arrived = time.monotonic()
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Reads the head of the request.

        Raises:
            ParsingError: It is none that may be answered.
        """
        super().parse_header(header_plus)
        host = self.headers.get("HOST")  # of several, waitress makes one with blanks between: RFC 9112, 3.2
        if (host is None and self.version == "1.1") or (host and " " in host):
            raise ParsingError("Host must be there once")

    def is_late(self, now: float, crowded: bool) -> bool:
        """Whether it, or its head where it is crowded, should have been here by now."""
        if crowded and not self.headers_finished and now - self.began > SECONDS_CROWDED:
            return True
        return now - self.began > SECONDS_TO_RECEIVE + self.body_bytes_received / BYTES_PER_SECOND

    def _check_chunks(self, receiver: ChunkedReceiver) -> None:
        if "CONTENT_LENGTH" in self.headers:  # a proxy before us may believe the other of the two: RFC 9112, 6.1
            self.error = BadRequest("the length of the body is given twice")
            self.completed = True
        if receiver.chunk_remainder > self.adj.max_request_body_size:
            self.error = RequestEntityTooLarge("")
            self.completed = True
        overhead = self.body_bytes_received - len(receiver)
        if overhead > _FREE_OVERHEAD + _OVERHEAD * len(receiver):
            self.error = BadRequest("the body comes in chunks that are too small")
            self.completed = True


class _Flood(Request):
    """Stands for all that follows when a sender does not wait for its answers; it ends the connection."""

    def received(self, data: bytes) -> int:
        self.error = BadRequest(f"more than {PIPELINED} requests at once")
        self.completed = True
        return len(data)


class _Task(WSGITask):
    """A request that goes to the application."""

    wrote_header: bool

    def write(self, data: bytes) -> None:
        """Sends an answer; the head and the first of the body in one piece, which is most often all."""
        if self.wrote_header or not self.complete:
            super().write(data)
            return
        head = self.build_response_header()
        self.wrote_header = True
        whole = self.has_body and self.content_length == len(data)
        self.channel.write_soon(head + data if whole else head)
        if whole:
            self.content_bytes_written = len(data)
        else:
            super().write(data)

    def build_response_header(self) -> bytes:
        """The head of an answer; that of most by a way of a third of the steps."""
        names = {name for name, _ in self.response_headers}
        stays = self.version == "1.1" and "CONNECTION" not in self.request.headers and not self.close_on_finish
        if not stays or not self.has_body or "Content-Length" not in names or not names.isdisjoint(_OTHERS):
            return _with_security(super().build_response_header())
        lines = [f"{name}: {value}\r\n" for name, value in self.response_headers]
        date = build_http_date(self.start_time)
        head = f"HTTP/1.1 {self.status}\r\n{''.join(lines)}Date: {date}\r\nServer: imageloom\r\n\r\n"
        return _with_security(head.encode("latin-1"))

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ["imageloom.arrived"] = self.request.arrived
        return environ


class _Refusal(ErrorTask):
    """A request that does not."""

    def execute(self) -> None:
        fault = self.request.error
        body = problems.body(fault.code, str(fault.body))
        self.status = f"{fault.code} {fault.reason}"
        self.response_headers.append(("Content-Type", problems.TYPE))
        if isinstance(fault, TurnedAwayError):  # a whole request: what follows it can be told apart
            self.response_headers.append(("Retry-After", RETRY_AFTER))
        else:
            self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)
        self.channel.refused(fault.code, len(body), self._environment)

    def _environment(self) -> dict[str, Any]:
        """What is known of the request, as far as it was read, in the words in which the application is told it."""
        request, adj, headers = self.request, self.channel.adj, self.request.headers
        environ = {
            "REMOTE_ADDR": self.channel.addr[0],
            "REQUEST_METHOD": "",
            "PATH_INFO": "",
            "CONTENT_LENGTH": request.body_bytes_received,
            "HTTP_USER_AGENT": headers.get("USER_AGENT", ""),
            "HTTP_X_FORWARDED_FOR": headers.get("X_FORWARDED_FOR", ""),
            "imageloom.arrived": request.arrived,
        }
        if request.headers_finished:  # else waitress has made some up
            environ["REQUEST_METHOD"] = getattr(request, "command", "")
            environ["PATH_INFO"] = getattr(request, "path", "").encode("latin-1").decode("utf-8", "replace")
        if adj.trusted_proxy in (environ["REMOTE_ADDR"], "*"):
            with contextlib.suppress(Exception):  # of what is malformed; then it is the proxy that asks
                parse_proxy_headers(environ, adj.trusted_proxy_count, adj.trusted_proxy_headers)
        return environ

    def build_response_header(self) -> bytes:
        return _with_security(super().build_response_header())


def _with_security(head: bytes) -> bytes:
    """What browsers are told beside every answer, whoever gives it."""
    return head[:-2] + _SECURITY + b"\r\n"


_serving = threading.local()  # .channel is the connection that this thread answers on, .reading that which it reads


class Listener(TcpWSGIServer):
    """What takes connections, and is woken up by threads that have answered, where there is something left to do."""

    def pull_trigger(self) -> None:
        """Wakes the main thread."""
        channel = getattr(_serving, "channel", None)
        if channel is not None:
            if channel.is_at_rest and not channel.close_when_flushed and not channel.will_close:
                return
            self._map.changed(channel)
        super().pull_trigger()


class Channel(HTTPChannel):
    """A connection. `bind` makes the class for a gate.

    Attributes:
        has_ended: Whether its sender has said that nothing more will come, and waits for answers, or has hung up.
    """

    task_class = _Task
    error_task_class = _Refusal
    gate: Gate
    request: Request | None
    will_close: bool
    refused: Refused
    has_ended = False
    _is_refused = False

    @classmethod
    def bind(cls, gate: Gate, refused: Refused) -> type["Channel"]:
        """A class of connections behind a gate.

        Args:
            gate: The gate.
            refused: Called with the status of each answer that was given without the application, the length of its
                body, and what tells what is known of the request, which is only asked where it is written down.
        """
        return type("BoundChannel", (cls,), {"gate": gate, "refused": staticmethod(refused)})

    def parser_class(self, adj: Any) -> Request:
        """What reads the next request."""
        return _Flood(adj) if len(self.requests) >= PIPELINED else Request(adj)

    @property
    def is_light(self) -> bool:
        """Whether the next answer costs next to nothing."""
        request = self.requests[0]
        return request.error is not None or (
            request.command in ("GET", "HEAD", "OPTIONS")
            and f"/{request.path.lstrip('/')}" not in headers.LOOKING  # as waitress passes it on
        )

    def readable(self) -> bool:
        """Whether it waits for more to come in."""
        return not self.has_ended and bool(super().readable())

    def handle_read(self) -> None:
        """Takes what has come in, or that it is all.

        Who has asked and then ends his side of the connection may still listen (RFC 9293, 3.6): whether he has hung up
        shows only when the answer is sent.
        """
        try:
            data = self.socket.recv(self.adj.recv_bytes)
        except OSError:
            self.handle_close()
            return
        if data:
            self.last_activity = time.time()
            self.received(data)
            return
        with self.requests_lock:
            if self.requests:
                self.has_ended = True
            elif self.total_outbufs_len:
                self.close_when_flushed = True
            else:
                self.handle_close()

    def received(self, data: bytes) -> bool:
        """Takes bytes that have come in; says at once that there is no time for what they ask, where there is none."""
        _serving.reading, self._is_refused = self, False
        try:
            took: bool = super().received(data)
        finally:
            _serving.reading = None
        if self._is_refused:
            self.service()
        return took

    def turn_away(self) -> bool:
        """Lets the next answer be that there is no time for it.

        Returns:
            Whether the thread that reads gives this answer, as soon as it has read. Under overload every other thread
            waits for processors and for Python's lock.
        """
        self.requests[0].error = TurnedAwayError("more requests than can be answered soon; try again in a moment")
        if getattr(_serving, "reading", None) is not self:
            return False
        self._is_refused = True
        return True

    def service(self) -> None:
        """Answers the next request, in a thread of the gate."""
        request = self.requests[0]
        if not request.error and time.monotonic() > request.arrived + self.gate.seconds:
            request.error = TurnedAwayError(f"no time was left after {self.gate.seconds:g} s in the queue")
        if self.gate.draining:
            request.headers["CONNECTION"] = "close"
        _serving.channel = self
        try:
            super().service()
            if self.has_ended and not self.requests:
                self.close_when_flushed = True
                self.server.pull_trigger()
        finally:
            _serving.channel = None

    def write_soon(self, data: Any) -> int:
        """Sends what the system takes at once, in the thread that answers, and leaves the rest to waitress.

        And all else to this client: waitress lets go of a buffer, and of its file, when it fills the next.
        """
        rest = data
        if isinstance(data, bytes) and not self.current_outbuf_count:
            with self.outbuf_lock, contextlib.suppress(OSError):  # waitress meets the fault again, and closes
                if self.connected and not self.total_outbufs_len:
                    rest = data[self.send(data, do_close=False) :]
        if rest or not self.connected:
            super().write_soon(rest)
        return len(data)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is coming in, waiting, or going out."""
        return not (self.requests or self.request or self.total_outbufs_len)

    def sweep(self, now: float, crowded: bool) -> None:
        """Ends what takes too long to come in, and what has been silent; called about once a second.

        Args:
            now: `time.monotonic`.
            crowded: Whether others wait until there is room for them.
        """
        if self.requests or self.will_close or self.close_when_flushed:
            return
        request = self.request
        is_silent = time.time() - self.last_activity > (SECONDS_CROWDED if crowded else SECONDS_IDLE)
        if request is None or request.empty:
            self.will_close = is_silent
        elif is_silent or request.is_late(now, crowded):
            with self.requests_lock:
                request.error = LateError("the request took too long to come in")
                request.completed, request.arrived = True, now
                self.request = None
                self.requests.append(request)
                self.server.add_task(self)
