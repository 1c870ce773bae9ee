"""Fetches addresses over HTTP: politely, within limits, and with a remote fault as a status, never as an exception."""

import asyncio
import os
import random
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from imageloom.fetch.body import ENCODINGS, BodyError, read_body
from imageloom.fetch.ending import lacks_files
from imageloom.fetch.freshness import fresh_until, http_date
from imageloom.fetch.netguard import BlockedAddressError, Guard, checked_resolver
from imageloom.fetch.robots import Rules, name_of, opted_out, read_rules
from imageloom.fetch.status import Status

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

MAX_REDIRECTS = 10
MAX_HOSTS = 4096  # of which robots.txt and turns are remembered: the least recently asked are forgotten
HOSTS_PER_POOL = 64  # whose connections are kept open together: a list of a million hosts must not use up the sockets
PICTURES = "image/avif,image/webp,image/*,*/*;q=0.8"
PAGES = "text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"


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
        allow_hosts: What may be asked although it is inside; see `netguard.allowance`.
        allow_ports: Ports of all other hosts that may be asked beside `netguard.PORTS`.
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
        fresh_until: Until when it need not be asked again, by its server's word, in seconds since 1970; 0 for at once.
        final_url: The address after redirects.
        attempts: How often it, or the robots.txt that decides about it, was asked.
        error: What went wrong, for people.
        passing: Whether the fault may be gone on another attempt.
        retry_after: Seconds that the server asks to wait.
        leads_to: Where a redirect leads, while it is being followed.
    """

    status: Status
    http_status: int | None = None
    body: bytes = b""
    content_type: str = ""
    etag: str | None = None
    last_modified: str | None = None
    fresh_until: int = 0
    final_url: str = ""
    attempts: int = 1
    error: str | None = None
    passing: bool = False
    retry_after: float = 0.0
    leads_to: str = ""


@dataclass(frozen=True)
class _Wish:
    """What is asked for beside the address: headers, and whether robots.txt and opting out count."""

    headers: dict[str, str]
    conditional: bool = False
    picture: bool = False
    robots: bool = True


class _Host:
    """One host's share: how many requests at a time, when the next may start, and what its robots.txt says."""

    def __init__(self, width: int, delay: float) -> None:
        self.gate = asyncio.Semaphore(width)
        self.reading = asyncio.Lock()
        self.rules: Rules | Fetched | None = None  # what went wrong, where robots.txt could not be asked for
        self.delay = delay
        self._next_start = 0.0

    async def turn(self) -> None:
        now = time.monotonic()
        start = max(now, self._next_start)
        self._next_start = start + self.delay
        if start > now:
            await asyncio.sleep(start - now)

    def pause(self, seconds: float) -> None:
        """Starts no request in the next `seconds`: what a host asks of one request, it asks of all."""
        self._next_start = max(self._next_start, time.monotonic() + seconds)


class _Pool:
    """Connections that are kept open, and how many requests are using them."""

    def __init__(self, session: "aiohttp.ClientSession") -> None:
        self.session = session
        self.users = 0


class Http:
    """A crawl's client; use it as `async with Http(limits) as http`.

    Args:
        limits: How hard, and what, it may ask.
        resolver: Who turns names into addresses; the system where it is None. Its answers are checked.

    Attributes:
        max_bytes: A longer body is given up.
    """

    def __init__(self, limits: Limits, resolver: "AbstractResolver | None" = None) -> None:
        self.max_bytes = limits.max_bytes
        self._limits = limits
        self._guard = Guard.of(limits.allow_hosts, limits.allow_ports)
        self._agent = name_of(limits.user_agent)
        self._inner = resolver
        self._hosts: OrderedDict[URL, _Host] = OrderedDict()
        self._places = asyncio.Semaphore(limits.concurrency)
        self._seen = 0
        self._pool: _Pool | None = None  # made for the first request: a crawl of what is fresh needs none

    async def __aenter__(self) -> "Http":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            await self._pool.session.close()

    def _new_pool(self) -> _Pool:
        import aiohttp

        limits = self._limits
        contact = f" (+{limits.contact})" if limits.contact else ""
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=checked_resolver(self._guard, self._inner)),
            timeout=aiohttp.ClientTimeout(limits.timeout, sock_read=limits.idle_timeout),
            headers={"User-Agent": limits.user_agent + contact, "Accept-Encoding": ENCODINGS},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return _Pool(session)

    async def get(self, url: str, etag: str | None = None, last_modified: str | None = None) -> Fetched:
        """Fetches a picture, again after faults that may pass.

        Args:
            url: Its address.
            etag: What is here already, by the server's own word.
            last_modified: The same, by date.
        """
        headers = {"Accept": PICTURES, "If-None-Match": etag, "If-Modified-Since": last_modified}
        asked = {name: value for name, value in headers.items() if value}
        return await self._ask(url, _Wish(asked, len(asked) > 1, self._limits.obey_opt_out, self._limits.obey_robots))

    async def page(self, url: str) -> Fetched:
        """Fetches a page on which pictures are listed; what its headers say of indexing is not about them."""
        return await self._ask(url, _Wish({"Accept": PAGES}, robots=self._limits.obey_robots))

    async def interface(self, url: str) -> Fetched:
        """Fetches what an interface for programs answers; robots.txt is for those who follow links, not about it."""
        return await self._ask(url, _Wish({"Accept": "application/json"}, robots=False))

    async def _ask(self, url: str, wish: _Wish) -> Fetched:
        attempt = 0
        while True:
            attempt += 1
            result = await self._follow(url, wish)
            if not result.passing or attempt > self._limits.retries:
                return result if attempt == 1 else replace(result, attempts=attempt)
            await asyncio.sleep(self._wait(attempt, result.retry_after))

    def _wait(self, attempt: int, retry_after: float) -> float:
        """Exponential back-off; the jitter keeps requests that failed together from coming back together."""
        backoff = self._limits.backoff * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
        return min(max(backoff, retry_after), self._limits.longest_wait)

    async def _follow(self, link: str, wish: _Wish) -> Fetched:
        """One attempt: the address, and where it leads; each hop is checked, and has a turn at its own host."""
        from yarl import URL

        url, answer, fresh = None, None, sys.maxsize
        for hop in range(MAX_REDIRECTS + 1):
            try:
                url = url.join(URL(link)) if url else URL(link)
            except ValueError as fault:
                answer = _blocked(fault)
            else:
                answer = await self._hop(url, wish)
            if hop and answer.status is Status.BLOCKED_ADDRESS:
                return replace(answer, error=f"after a redirect: {answer.error}", attempts=1)
            fresh = min(fresh, answer.fresh_until)  # of what led there as well as of what is there
            if not answer.leads_to:
                return replace(answer, fresh_until=fresh) if hop else answer
            link = answer.leads_to
        assert answer is not None
        return replace(answer, leads_to="", error=f"more than {MAX_REDIRECTS} redirects")

    async def _hop(self, url: "URL", wish: _Wish) -> Fetched:
        """Asks one address, if it may be asked."""
        try:
            self._guard.check(url)
        except (BlockedAddressError, ValueError) as fault:
            return _blocked(fault)
        host = self._host(url)
        if wish.robots:
            refused = await self._refused(host, url)
            if refused is not None:
                return refused
        async with host.gate:
            await host.turn()
            async with self._places:
                answer = await self._once(url, wish)
        if answer.retry_after:
            host.pause(min(answer.retry_after, self._limits.longest_wait))
        return answer

    def _host(self, url: "URL") -> _Host:
        origin = url.origin()
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host(self._limits.per_host, self._limits.delay)
            self._seen += 1
            if len(self._hosts) > MAX_HOSTS:
                self._hosts.popitem(last=False)
        self._hosts.move_to_end(origin)
        return host

    async def _refused(self, host: _Host, url: "URL") -> Fetched | None:
        """What robots.txt makes of the address; None when it may be asked. Read once, whoever asks first."""
        if host.rules is None:
            async with host.reading:
                if host.rules is None:
                    host.rules = await self._rules(host, url)
        if isinstance(host.rules, Fetched):
            return host.rules
        reason = host.rules.refusal(str(url))
        return Fetched(Status.ROBOTS, error=reason, attempts=0) if reason else None

    async def _rules(self, host: _Host, url: "URL") -> Rules | Fetched:
        from yarl import URL

        answer = await self._ask(str(url.join(URL("/robots.txt"))), _Wish({"Accept": "text/plain,*/*"}, robots=False))
        if answer.http_status is None:  # no host, or none that answers: what its pictures would end with as well
            known = answer.status in (Status.BLOCKED_ADDRESS, Status.DNS)
            return answer if known else replace(answer, error=f"robots.txt: {answer.error}")
        if answer.http_status == 200 and answer.status is not Status.OK:
            return Rules(self._agent, closed=f"robots.txt cannot be read: {answer.error}")
        rules = read_rules(answer.http_status, answer.body, self._agent)
        host.delay = max(host.delay, min(rules.delay, self._limits.longest_wait))
        return rules

    async def _once(self, url: "URL", wish: _Wish) -> Fetched:
        if self._seen >= HOSTS_PER_POOL:
            self._seen, old, self._pool = 0, self._pool, None
            if old is not None and not old.users:
                await old.session.close()
        pool = self._pool = self._pool or self._new_pool()
        pool.users += 1
        try:
            async with pool.session.get(url, headers=wish.headers, allow_redirects=False) as answer:
                return await self._read(answer, wish)
        except Exception as fault:  # whatever a server can make the library trip over is that server's fault
            if lacks_files(fault):
                raise
            return _fault(fault, self._limits)
        finally:
            pool.users -= 1
            if pool is not self._pool and not pool.users:
                await pool.session.close()

    async def _read(self, answer: "aiohttp.ClientResponse", wish: _Wish) -> Fetched:
        headers = answer.headers
        about: dict[str, Any] = {
            "http_status": answer.status,
            "content_type": headers.get("Content-Type", ""),
            "etag": headers.get("ETag"),
            "last_modified": headers.get("Last-Modified"),
            "fresh_until": fresh_until(headers, time.time()),
            "final_url": str(answer.url),
        }
        if answer.status in (301, 302, 303, 307, 308) and headers.get("Location"):
            return Fetched(Status.HTTP_ERROR, **about, leads_to=headers["Location"])
        unchanged = answer.status == 304 and wish.conditional
        if answer.status != 200 and not unchanged:
            return _refused(about, headers.get("Retry-After", ""))
        if wish.picture and "X-Robots-Tag" in headers:
            word = opted_out(headers.getall("X-Robots-Tag"), self._agent)
            if word:
                return Fetched(Status.OPTED_OUT, **about, error=f"X-Robots-Tag: {word}")
        if unchanged:
            return Fetched(Status.UNCHANGED, **about)
        try:
            return Fetched(Status.OK, **about, body=await read_body(answer, self._limits.max_bytes))
        except BodyError as fault:
            return Fetched(fault.status, **about, error=fault.message)


def _blocked(fault: Exception) -> Fetched:
    what = fault.message if isinstance(fault, BlockedAddressError) else f"not a valid address: {fault}"
    return Fetched(Status.BLOCKED_ADDRESS, error=what, attempts=0)


def _fault(fault: Exception, limits: Limits) -> Fetched:
    import aiohttp

    if isinstance(fault, BlockedAddressError):
        return _blocked(fault)
    if isinstance(fault, aiohttp.SocketTimeoutError):
        return Fetched(Status.TIMEOUT, error=f"nothing came for {limits.idle_timeout:g} s", passing=True)
    if isinstance(fault, TimeoutError):
        return Fetched(Status.TIMEOUT, error=f"no whole answer in {limits.timeout:g} s", passing=True)
    if isinstance(fault, aiohttp.ClientConnectorDNSError):
        return Fetched(Status.DNS, error=f"no address for {fault.host}", passing=True)
    if isinstance(fault, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return Fetched(Status.TLS, error=str(fault))
    if isinstance(fault, aiohttp.InvalidURL | UnicodeError):
        return Fetched(Status.BLOCKED_ADDRESS, error=f"not a valid address: {fault}")
    if isinstance(fault, aiohttp.ClientConnectorError):
        why = os.strerror(fault.os_error.errno) if fault.os_error.errno else str(fault.os_error)
        return Fetched(Status.HTTP_ERROR, error=f"cannot connect to {fault.host}:{fault.port}: {why}", passing=True)
    if isinstance(fault, aiohttp.ClientPayloadError):
        return Fetched(Status.HTTP_ERROR, error="the answer broke off before its end", passing=True)
    return Fetched(Status.HTTP_ERROR, error=str(fault) or type(fault).__name__, passing=True)


def _refused(about: dict[str, Any], retry_after: str) -> Fetched:
    code = about["http_status"]
    status = Status.HTTP_ERROR
    if code in (404, 410):
        status = Status.GONE
    elif code == 429:
        status = Status.RATE_LIMITED
    passing = code in (408, 425, 429) or code >= 500
    wait = _seconds(retry_after) if passing else 0.0
    return Fetched(status, **about, error=f"HTTP {code}", passing=passing, retry_after=wait)


def _seconds(retry_after: str) -> float:
    """`Retry-After` in seconds from now; it comes as a number or as a date, and counts as 0 when it is neither."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    date = http_date(retry_after)
    return max(0.0, date - time.time()) if date is not None else 0.0
