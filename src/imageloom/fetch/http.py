"""Fetches addresses over HTTP: politely, within limits, and with a remote fault as a status, never as an exception."""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imageloom.fetch.status import Status

if TYPE_CHECKING:
    import aiohttp

MAX_REDIRECTS = 10
CHUNK = 64 * 1024


@dataclass(frozen=True)
class Limits:
    """How hard the web is asked.

    Args:
        concurrency: Requests at a time in all.
        per_host: Requests at a time to one host.
        delay: Seconds between the starts of two requests to one host.
        retries: Further attempts after a time-out, a broken connection, HTTP 429 or 5xx.
        backoff: Seconds before the first retry; doubled for each one after it, with jitter.
        longest_wait: No wait is longer than this many seconds, whatever `Retry-After` says.
        timeout: Seconds that one attempt may take in all.
        idle_timeout: Seconds that one attempt may pass without a byte.
        max_bytes: A longer body is given up.
        user_agent: Who asks.
        contact: How to reach them.
        obey_robots: Whether to ask for nothing that a host's robots.txt refuses.
        obey_opt_out: Whether to take no picture sent with `noai`, `noimageai` or `noindex`.
        allow_hosts: What may be asked although it is inside; see `netguard`.
        allow_ports: Ports that may be asked beside `netguard.PORTS`.
    """

    concurrency: int = 24
    per_host: int = 8
    delay: float = 0.0
    retries: int = 3
    backoff: float = 0.5
    longest_wait: float = 60.0
    timeout: float = 30.0
    idle_timeout: float = 10.0
    max_bytes: int = 30_000_000
    user_agent: str = "imageloom"
    contact: str = ""
    obey_robots: bool = True
    obey_opt_out: bool = True
    allow_hosts: Sequence[str] = ()
    allow_ports: Sequence[int] = ()


@dataclass(frozen=True)
class Fetched:
    """What an address gave.

    Args:
        status: `ok` (then `body` holds everything), `unchanged` or the fault.
        http_status: The last answer's, None where there was none.
        body: The content, decompressed.
        content_type: The header of that name.
        etag: To ask conditionally with next time.
        last_modified: To ask conditionally with next time.
        final_url: The address after redirects.
        attempts: How often it was asked.
        error: What went wrong, for people.
        passing: Whether the fault may be gone on another attempt.
        retry_after: Seconds that the server asks to wait.
    """

    status: Status
    http_status: int | None = None
    body: bytes = b""
    content_type: str = ""
    etag: str | None = None
    last_modified: str | None = None
    final_url: str = ""
    attempts: int = 1
    error: str | None = None
    passing: bool = False
    retry_after: float = 0.0


class _Host:
    """One host's share: how many requests at a time, and when the next may start."""

    def __init__(self, width: int) -> None:
        self.gate = asyncio.Semaphore(width)
        self._next_start = 0.0

    async def turn(self, delay: float) -> None:
        now = time.monotonic()
        start = max(now, self._next_start)
        self._next_start = start + delay
        if start > now:
            await asyncio.sleep(start - now)

    def pause(self, seconds: float) -> None:
        """Starts no request in the next `seconds`: what a host asks of one request, it asks of all."""
        self._next_start = max(self._next_start, time.monotonic() + seconds)


class Http:
    """A crawl's client; use it as `async with Http(limits) as http`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._hosts: dict[str, _Host] = {}
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> "Http":
        import aiohttp

        limits = self._limits
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=limits.concurrency),
            timeout=aiohttp.ClientTimeout(total=limits.timeout),
            headers={"User-Agent": limits.user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, url: str, etag: str | None = None, last_modified: str | None = None) -> Fetched:
        """Fetches one address, again after faults that may pass.

        Args:
            url: An http or https address.
            etag: What is here already, by the server's own word.
            last_modified: The same, by date.
        """
        if not _is_web_address(url):
            return Fetched(Status.BLOCKED_ADDRESS, error="not an http or https address", attempts=0)
        headers = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        asked = {name: value for name, value in headers.items() if value}
        host = self._host(url)
        attempt = 0
        while True:
            attempt += 1
            async with host.gate:
                await host.turn(self._limits.delay)
                result = await self._once(url, asked)
            if not result.passing or attempt > self._limits.retries:
                return replace(result, attempts=attempt)
            if result.retry_after:
                host.pause(min(result.retry_after, self._limits.longest_wait))
            await asyncio.sleep(self._wait(attempt, result.retry_after))

    def _host(self, url: str) -> _Host:
        name = urlsplit(url).netloc.lower()
        if name not in self._hosts:
            self._hosts[name] = _Host(self._limits.per_host)
        return self._hosts[name]

    def _wait(self, attempt: int, retry_after: float) -> float:
        """Exponential back-off; the jitter keeps requests that failed together from coming back together."""
        backoff = self._limits.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
        return min(max(backoff, retry_after), self._limits.longest_wait)

    async def _once(self, url: str, headers: dict[str, str]) -> Fetched:
        import aiohttp
        from yarl import URL

        try:
            async with self._session.get(URL(url), headers=headers, max_redirects=MAX_REDIRECTS) as answer:
                return await self._read(answer, conditional=bool(headers))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as fault:
            return self._fault(fault)

    async def _read(self, answer: "aiohttp.ClientResponse", conditional: bool) -> Fetched:
        about = Fetched(
            Status.OK,
            http_status=answer.status,
            content_type=answer.headers.get("Content-Type", ""),
            etag=answer.headers.get("ETag"),
            last_modified=answer.headers.get("Last-Modified"),
            final_url=str(answer.url),
        )
        if answer.status == 304 and conditional:
            return replace(about, status=Status.UNCHANGED)
        if answer.status != 200:
            return _refused(about, answer.headers.get("Retry-After", ""))
        limit = self._limits.max_bytes
        too_large = replace(about, status=Status.TOO_LARGE, error=f"more than {limit:,} bytes")
        if (answer.content_length or 0) > limit:
            return too_large
        chunks, size = [], 0
        async for chunk in answer.content.iter_chunked(CHUNK):
            size += len(chunk)
            if size > limit:  # counted after decompression: a small answer can unfold to a large one
                return too_large
            chunks.append(chunk)
        return replace(about, body=b"".join(chunks))

    def _fault(self, fault: Exception) -> Fetched:
        import aiohttp

        if isinstance(fault, TimeoutError):
            return Fetched(Status.TIMEOUT, error=f"no whole answer in {self._limits.timeout:g} s", passing=True)
        if isinstance(fault, aiohttp.ClientConnectorDNSError):
            return Fetched(Status.DNS, error=f"no address for {fault.host}", passing=True)
        if isinstance(fault, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
            return Fetched(Status.TLS, error=str(fault))
        if isinstance(fault, aiohttp.TooManyRedirects):
            code = fault.history[-1].status if fault.history else None
            return Fetched(Status.HTTP_ERROR, code, error=f"more than {MAX_REDIRECTS} redirects")
        if isinstance(fault, aiohttp.NonHttpUrlClientError):
            return Fetched(Status.BLOCKED_ADDRESS, error=f"leads to {fault}, which is not http")
        if isinstance(fault, aiohttp.InvalidURL | ValueError):
            return Fetched(Status.BLOCKED_ADDRESS, error=f"not a valid address: {fault}")
        if isinstance(fault, aiohttp.ClientConnectorError):
            why = os.strerror(fault.os_error.errno) if fault.os_error.errno else str(fault.os_error)
            return Fetched(Status.HTTP_ERROR, error=f"cannot connect to {fault.host}:{fault.port}: {why}", passing=True)
        return Fetched(Status.HTTP_ERROR, error=str(fault) or type(fault).__name__, passing=True)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # such as a bracket that is not closed
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _refused(about: Fetched, retry_after: str) -> Fetched:
    code = about.http_status or 0
    status = Status.HTTP_ERROR
    if code in (404, 410):
        status = Status.GONE
    elif code == 429:
        status = Status.RATE_LIMITED
    passing = code in (408, 425, 429) or code >= 500
    wait = _seconds(retry_after) if passing else 0.0
    return replace(about, status=status, error=f"HTTP {code}", passing=passing, retry_after=wait)


def _seconds(retry_after: str) -> float:
    """`Retry-After` in seconds from now; it comes as a number or as a date, and counts as 0 when it is neither."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0
