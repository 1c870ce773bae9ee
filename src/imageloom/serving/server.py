"""Listens, serves, and ends in good order."""

import gc
import socket
import sys
import time
from typing import Any

from waitress import wasyncore
from waitress.server import create_server

from imageloom.serving.channel import Channel
from imageloom.serving.gate import Gate
from imageloom.web.sockets import BACKLOG

# Connections at a time. What is above waits in the system's queue until others end.
CONNECTIONS = 512

HEADER_BYTES = 32_768

# Of a body in memory; longer ones go through a temporary file.
BODY_BYTES_IN_MEMORY = 2 * 2**20

# How long connections without a request stay open when the server is to end: a client that has just been answered may
# be sending its next request, and would see it lost.
SECONDS_TO_LINGER = 0.5

# A thread that wants to run Python gets its turn after so long, not after 5 ms: those that predict come back from
# LiteRT and Pillow often and briefly, and must not wait for the one that reads requests.
SWITCH_SECONDS = 0.001


class Server:
    """waitress behind a gate, on sockets that listen already.

    Args:
        app: The application, whose `refused(status)` is told of answers that were given without it.
        gate: Where requests go.
        sockets: What it listens on.
        max_bytes: A body above this is refused before it is read.
        trusted_proxy: Address of a proxy whose X-Forwarded-For is believed.
    """

    def __init__(
        self, app: Any, gate: Gate, sockets: list[socket.socket], max_bytes: int, trusted_proxy: str | None = None
    ) -> None:
        self._gate = gate
        self._map: dict[int, Any] = {}
        self._stopping = False
        proxy = {"trusted_proxy": trusted_proxy, "trusted_proxy_headers": {"x-forwarded-for"}} if trusted_proxy else {}
        create_server(
            app,
            map=self._map,
            _dispatcher=gate,
            sockets=sockets,
            backlog=BACKLOG,
            connection_limit=CONNECTIONS,
            recv_bytes=32_768,
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
        self._listeners = [one for one in self._map.values() if hasattr(one, "channel_class")]
        for listener in self._listeners:
            listener.channel_class = Channel.bind(gate, app.refused)

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
        wasyncore.close_all(self._map)
        return drained

    def _turn(self, seconds: float = 1.0) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + 1
            for channel in self._channels():
                channel.sweep(now)

    _next_sweep = 0.0

    def _channels(self) -> list[Channel]:
        return [one for one in self._map.values() if isinstance(one, Channel)]

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
