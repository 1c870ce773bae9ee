"""Sockets that listen, what goes wrong with them in words, and the links that lead to them."""

import errno
import os
import socket
from typing import Any

from imageloom.errors import ImageloomError

# Connections that the system holds until they are taken.
BACKLOG = 1024


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at a name or address; a name such as localhost may have one of IPv4 and one of IPv6.

    Raises:
        ImageloomError: The address is not this machine's, or another program listens there.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ImageloomError(f"there is no address {host}", "check --host") from None
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in sorted(set(found)):
            taken = sockets[0].getsockname()[1] if sockets else port
            sockets.append(_listening(family, (address[0], taken, *address[2:])))
    except OSError as fault:
        for one in sockets:
            one.close()
        hints = {
            errno.EADDRINUSE: "another program has it: choose one with --port, or let --port 0 find a free one",
            errno.EACCES: "ports below 1024 are for the administrator: choose a higher one with --port",
            errno.EADDRNOTAVAIL: "this machine has no such address: check --host",
        }
        reason = os.strerror(fault.errno) if fault.errno else str(fault)
        hint = hints.get(fault.errno or 0, "check --host and --port")
        raise ImageloomError(f"cannot listen on {host}:{port}: {reason}", hint) from None
    return sockets


def _listening(family: int, address: tuple[Any, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen(BACKLOG)
    except OSError:
        one.close()
        raise
    return one


def links(sockets: list[socket.socket], host: str, path: str = "") -> str:
    """The addresses to open in a browser, for people; each ends with `path`."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    shown = []
    for one in sockets:
        address, port = one.getsockname()[:2]
        name = everywhere.get(address, address if len(sockets) > 1 else host)
        shown.append((f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}") + path)
    more = " and every other address of this machine" if host in everywhere else ""
    return " and ".join(shown) + more
