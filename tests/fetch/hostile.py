"""A web that misbehaves: one server on loopback whose every path answers in a way of its own, down to the bytes."""

import asyncio
import io
import ssl
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from PIL import Image

Way = Callable[["Visit"], Awaitable[None]]

# Name -> the status that it must end with, and what it does. A name may begin with the host that it stands at.
WAYS: dict[str, tuple[str, Way]] = {}


class Visit:
    """One request, and the raw way to answer it.

    Args:
        number: How often the path was asked before.
    """

    def __init__(self, web: "HostileWeb", path: str, number: int, writer: asyncio.StreamWriter) -> None:
        self.web, self.path, self.number, self._writer = web, path, number, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, body: bytes = b"", code: str = "200 OK", **headers: str) -> None:
        """A well-formed answer; underscores in the headers' names are dashes."""
        lines = {"Content-Length": str(len(body))} | {name.replace("_", "-"): text for name, text in headers.items()}
        head = "".join(f"{name}: {text}\r\n" for name, text in lines.items() if text)
        await self.send(f"HTTP/1.1 {code}\r\n{head}\r\n".encode() + body)

    def hang_up(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        self._writer.transport.abort()


class HostileWeb:
    """The server, in a thread; use it as `with HostileWeb() as web`.

    Attributes:
        port: Where it listens, at every address of loopback.
        tls_port: The same with a certificate that nobody signed.
        asked: How often each host and path was asked.
    """

    def __init__(self, folder: Path) -> None:
        self.asked: Counter[str] = Counter()
        self.port = self.tls_port = 0
        self._folder = folder
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> "HostileWeb":
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(60)

    def address(self, name: str) -> str:
        host, _, path = name.partition("/") if name.startswith(("127.", "https:")) else ("127.0.0.1", "", name)
        if host.startswith("https:"):
            port = self.tls_port if host == "https:signed by nobody" else self.port
            return f"https://127.0.0.1:{port}/{quote(path)}"
        return f"http://{host}:{self.port}/{quote(path)}"

    async def _serve(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(self._folder))
        plain = await asyncio.start_server(self._visit, "0.0.0.0", 0)
        closed = await asyncio.start_server(self._visit, "127.0.0.1", 0, ssl=context)
        self.port, self.tls_port = (server.sockets[0].getsockname()[1] for server in (plain, closed))
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # clients hang up, and are right to
        self._ready.set()
        await self._done.wait()
        plain.close()
        closed.close()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                first = await reader.readexactly(1)
                if first == b"\x16":  # how TLS begins
                    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    return
                head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                path = unquote(head.split()[1].lstrip("/").partition("?")[0])
                host = head.lower().partition("\nhost: ")[2].split(":")[0].split()[0]
                name = path if host == "127.0.0.1" else f"{host}/{path}"
                self.asked[name] += 1
                visit = Visit(self, path, self.asked[name] - 1, writer)
                _, way = WAYS.get(name) or ("", ROBOTS.get(name, nothing_here))
                await way(visit)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that it signs itself, with its key."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(1))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(alternative, critical=False).sign(key, hashes.SHA256())
    path = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


async def nothing_here(visit: Visit) -> None:
    await visit.answer(b"<html>not here", "404 Not Found")


def way(name: str, status: str) -> Callable[[Way], Way]:
    """Adds a way of misbehaving, which must end with `status`."""

    def add(do: Way) -> Way:
        WAYS[name] = (status, do)
        return do

    return add


def simple(name: str, status: str, body: bytes = b"", code: str = "200 OK", **headers: str) -> None:
    """Adds a way that is a well-formed answer."""

    async def do(visit: Visit) -> None:
        await visit.answer(body, code, **headers)

    WAYS[name] = (status, do)


def raw(name: str, status: str, data: bytes, keep: bool = False) -> None:
    """Adds a way that is these bytes, after which the server hangs up."""

    async def do(visit: Visit) -> None:
        await visit.send(data)
        if not keep:
            visit.hang_up()

    WAYS[name] = (status, do)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photograph(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
    return Image.fromarray(pixels).resize((96, 72), Image.Resampling.BICUBIC)


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG of any claim: its header says width and height, its pixels are `data`."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def chunked(*parts: bytes) -> bytes:
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)


JPEG = encoded(photograph(0), quality=90)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def with_length(body: bytes, length: object) -> bytes:
    return OK + f"Content-Length: {length}\r\n\r\n".encode() + body


ROBOTS: dict[str, Way] = {}


def robots(host: str, body: bytes = b"", code: str = "200 OK", **headers: str) -> None:
    """Gives a host a robots.txt."""

    async def do(visit: Visit) -> None:
        await visit.answer(body, code, **headers)

    ROBOTS["robots.txt" if host == "127.0.0.1" else f"{host}/robots.txt"] = do
