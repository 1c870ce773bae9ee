"""Ports for servers that tests start."""

import random
import socket
from contextlib import suppress

_chance = random.SystemRandom()  # another port in every process, whatever seed a test has set


def free_port() -> int:
    """A port of loopback that nobody listens on, and that the system gives to nobody who asks for any."""
    while True:
        port = _chance.randrange(10_000, 32_000)  # Linux gives those from 32768 on
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
