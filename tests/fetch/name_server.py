"""A real name server on loopback UDP, and a resolver that asks it: what a test's names stand for, answer by answer."""

import asyncio
import socket
import struct
import threading
from ipaddress import ip_address
from typing import Any

from aiohttp.abc import AbstractResolver

A, AAAA = 1, 28


class NameServer:
    """Answers A and AAAA questions from `names`, in a thread; use it as `with NameServer() as server`.

    A name's answers are lists of addresses: the first for the first question, and the last for all that follow.

    Attributes:
        asked: How often each name was asked for.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.asked: dict[str, int] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "NameServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.sendto(b"", ("127.0.0.1", self.port))  # an empty question ends it
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            question, client = self._socket.recvfrom(512)
            if not question:
                return
            self._socket.sendto(self._answer(question), client)

    def _answer(self, question: bytes) -> bytes:
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode("ascii"))
            at += 1 + question[at]
        name = ".".join(labels).lower()
        kind = struct.unpack(">H", question[at + 1 : at + 3])[0]
        addresses = self._addresses(name, kind)
        code = 0 if name in self.names else 3
        head = question[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(addresses), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed
            for packed in (ip_address(address).packed for address in addresses)
        )
        return head + question[12 : at + 5] + records

    def _addresses(self, name: str, kind: int) -> list[str]:
        answers = self.names.get(name, [[]])
        turn = self.asked.get(name, 0)
        if kind == AAAA:  # asked for last: the turn is over
            self.asked[name] = turn + 1
        now = answers[min(turn, len(answers) - 1)]
        return [address for address in now if (":" in address) == (kind == AAAA)]


class Resolver(AbstractResolver):
    """Asks a name server over UDP, as a system's resolver does, and remembers nothing."""

    def __init__(self, server: NameServer) -> None:
        self._server = server

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[Any]:
        found = []
        for kind in (A, AAAA):
            found += await self._ask(host.rstrip("."), kind)
        if not found:
            raise OSError(None, f"{host} has no address")
        return [
            {"hostname": host, "host": address, "port": port, "family": version, "proto": 0, "flags": 0}
            for address, version in found
        ]

    async def close(self) -> None:
        """Nothing is open between two questions."""

    async def _ask(self, host: str, kind: int) -> list[tuple[str, int]]:
        loop = asyncio.get_running_loop()
        labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in host.split("."))
        question = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.setblocking(False)
            link.connect(("127.0.0.1", self._server.port))
            await loop.sock_sendall(link, question)
            answer = await asyncio.wait_for(loop.sock_recv(link, 4096), 60)
        count, at = struct.unpack(">H", answer[6:8])[0], len(question)
        found = []
        for _ in range(count):
            length = struct.unpack(">H", answer[at + 10 : at + 12])[0]
            address = ip_address(answer[at + 12 : at + 12 + length])
            found.append((str(address), socket.AF_INET if address.version == 4 else socket.AF_INET6))
            at += 12 + length
        return found
