"""Listens, serves, and ends in good order."""

import gc
import socket
import sys
import time
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments

from imageloom.serving.channel import Channel, Listener
from imageloom.serving.connections import Connections
from imageloom.serving.gate import Gate
from imageloom.web.sockets import BACKLOG

# Connections at a time. What is above waits in the system's queue until others end: then the silent ones do soon.
CONNECTIONS = 512

HEADER_BYTES = 32_768

# At a time, from one connection. Chunks of one byte would keep the main thread busy for longer where it is more.
RECEIVED_BYTES = 65_536

# Of a body in memory, enough for a picture as the web has them; longer ones go through a temporary file. That is 256 MB
# for all connections.
BODY_BYTES_IN_MEMORY = 2**19

# How long connections without a request stay open when the server is to end: a client that has just been answered may
# be sending its next request, and would see it lost.
SECONDS_TO_LINGER = 0.5

# A thread that wants to run Python gets its turn after so long, not after 5 ms: those that predict come back from
# LiteRT and Pillow often and briefly, and must not wait for the one that reads requests.
SWITCH_SECONDS = 0.001


class Server:
    """waitress behind a gate, on sockets that listen already.

    Args:
        app: The application, whose `refused` is told of answers that were given without it.
        gate: Where requests go.
        sockets: What it listens on.
        max_bytes: A body above this is refused before it is read.
        trusted_proxy: Address of a proxy whose X-Forwarded-For is believed.
    """

    def __init__(
        self, app: Any, gate: Gate, sockets: list[socket.socket], max_bytes: int, trusted_proxy: str | None = None
    ) -> None:
        self._gate = gate
        self._all = Connections()
        self._stopping = False
        proxy = {"trusted_proxy": trusted_proxy, "trusted_proxy_headers": {"x-forwarded-for"}} if trusted_proxy else {}
        settings = Adjustments(
            backlog=BACKLOG,
            connection_limit=CONNECTIONS,
            recv_bytes=RECEIVED_BYTES,
            inbuf_overflow=BODY_BYTES_IN_MEMORY,
            max_request_header_size=HEADER_BYTES,
            max_request_body_size=max_bytes,
            channel_request_lookahead=1,  # so that a sender who hangs up is noticed while its request waits
            channel_timeout=10**9,  # `Channel.sweep` does it
            cleanup_interval=10**9,
            ident="imageloom",
            log_socket_errors=False,
            clear_untrusted_proxy_headers=True,
            **proxy,
        )
        self._listeners = []
        for one in sockets:
            where = (one.family, one.type, one.proto, one.getsockname())
            self._listeners.append(
                Listener(app, self._all, True, one, dispatcher=gate, adj=settings, sockinfo=where, bind_socket=False)
            )
            self._listeners[-1].channel_class = Channel.bind(gate, app.refused)

    def stop(self) -> None:
        """Asks `run` to end; for signal handlers."""
        self._stopping = True
        self._listeners[0].pull_trigger()

    def run(self, grace: float) -> bool:
        """Serves until `stop` is called, then answers what has come in.

        Args:
            grace: How many seconds that may take.

        Returns:
            Whether everything that had come in was answered.
        """
        sys.setswitchinterval(SWITCH_SECONDS)
        gc.freeze()  # modules and model are never garbage: the collector need not look at them again and again
        while not self._stopping:
            self._turn()
        drained = self._drain(grace)
        self._gate.shutdown(timeout=1)
        self._all.close()
        return drained

    def _turn(self, seconds: float = 1.0) -> None:
        self._all.turn(seconds)
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + 1
            crowded = any(listener.in_connection_overflow for listener in self._listeners)
            for channel in self._channels():
                channel.sweep(now, crowded)
                self._all.refresh(channel)
        for listener in self._listeners:  # whether there is room for more connections
            self._all.refresh(listener)

    _next_sweep = 0.0

    def _channels(self) -> list[Channel]:
        return [one for one in self._all.values() if isinstance(one, Channel)]

    def _drain(self, grace: float) -> bool:
        """Takes in whoever has connected already, and no more; ends when all that has come in is answered."""
        self._gate.draining = True
        for listener in self._listeners:
            for _ in range(BACKLOG):
                listener.handle_accept()
            wasyncore.dispatcher.close(listener)  # not its own `close`: its trigger is still needed
        began = time.monotonic()
        while time.monotonic() < began + grace:
            channels = self._channels()
            busy = not self._gate.idle or not all(channel.is_at_rest for channel in channels)
            if not busy and (not channels or time.monotonic() > began + SECONDS_TO_LINGER):
                return True
            self._turn(0.05)
        return False
