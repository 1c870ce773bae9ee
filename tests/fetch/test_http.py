"""The client on a real loopback site that answers as the web does."""

import asyncio
import gzip
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest

from imageloom.fetch.http import Fetched, Http, Limits
from imageloom.fetch.status import Status


def fetch(url: str, etag: str | None = None, **limits: Any) -> Fetched:
    settings = {"backoff": 0.01, "timeout": 60.0, "idle_timeout": 60.0, "allow_hosts": ("127.0.0.1",)}

    async def once() -> Fetched:
        async with Http(Limits(**settings | limits)) as http:
            return await http.get(url, etag)

    return asyncio.run(once())


def in_turn(*answers: Any) -> Any:
    """A route that gives one answer after another, and the last for ever."""
    left = list(answers)
    return lambda handler: left.pop(0) if len(left) > 1 else left[0]


def test_a_good_answer_gives_its_body_and_what_to_ask_with_next_time(site: Any) -> None:
    site.routes["/a"] = (200, {"ETag": '"1"', "Last-Modified": "Tue, 01 Jan 2019 00:00:00 GMT"}, b"abc")
    got = fetch(f"{site.address}/a", user_agent="tester (me@example.org)")
    assert (got.status, got.http_status, got.body, got.etag) == (Status.OK, 200, b"abc", '"1"')
    assert got.last_modified == "Tue, 01 Jan 2019 00:00:00 GMT"
    assert got.attempts == 1
    assert site.headers[0]["user-agent"] == "tester (me@example.org)"


@pytest.mark.parametrize("fault", [503, 500, 429, 408])
def test_a_fault_that_passes_is_asked_again(site: Any, fault: int) -> None:
    site.routes["/a"] = in_turn((fault, {}, b""), (fault, {}, b""), b"at last")
    got = fetch(f"{site.address}/a")
    assert (got.status, got.body, got.attempts) == (Status.OK, b"at last", 3)


@pytest.mark.parametrize(
    ("code", "status", "attempts"),
    [(404, "gone", 1), (410, "gone", 1), (403, "http_error", 1), (503, "http_error", 3), (429, "rate_limited", 3)],
)
def test_what_stays_wrong_has_its_status_and_is_asked_no_more_than_allowed(
    site: Any, code: int, status: str, attempts: int
) -> None:
    site.routes["/a"] = (code, {}, b"no")
    got = fetch(f"{site.address}/a", retries=2)
    assert (got.status, got.http_status, got.attempts) == (status, code, attempts)
    assert site.count("/a") == attempts
    assert got.body == b""


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_waited_for(site: Any, as_date: bool) -> None:
    wait = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
    site.routes["/a"] = in_turn((429, {"Retry-After": wait}, b""), b"ok")
    start = time.monotonic()
    assert fetch(f"{site.address}/a").status is Status.OK
    assert 0.9 <= time.monotonic() - start < 30  # no wait is longer than 60 s


def test_retry_after_is_capped(site: Any) -> None:
    site.routes["/a"] = in_turn((503, {"Retry-After": "86400"}, b""), b"ok")
    start = time.monotonic()
    assert fetch(f"{site.address}/a", longest_wait=0.2).status is Status.OK
    assert 0.15 <= time.monotonic() - start < 30  # of a day


def test_redirects_are_followed_ten_times_and_no_further(site: Any) -> None:
    for number in range(20):
        site.routes[f"/{number}"] = (302, {"Location": f"/{number + 1}"}, b"")
    site.routes["/20"] = b"end"
    got = fetch(f"{site.address}/11")
    assert (got.status, got.body, got.final_url) == (Status.OK, b"end", f"{site.address}/20")
    got = fetch(f"{site.address}/0")
    assert (got.status, got.attempts) == (Status.HTTP_ERROR, 1)
    assert "10 redirects" in (got.error or "")


def test_a_redirect_out_of_the_web_is_not_followed(site: Any) -> None:
    site.routes["/a"] = (302, {"Location": "file:///etc/passwd"}, b"")
    assert fetch(f"{site.address}/a").status is Status.BLOCKED_ADDRESS


@pytest.mark.parametrize("url", ["ftp://a/b.jpg", "file:///etc/passwd", "no address", "", "http://", "http://[x/"])
def test_what_is_no_web_address_is_never_asked(url: str) -> None:
    got = fetch(url)
    assert (got.status, got.attempts) == (Status.BLOCKED_ADDRESS, 0)


def test_a_body_that_says_it_is_too_large_is_not_read(site: Any) -> None:
    site.routes["/a"] = b"x" * 2000
    assert fetch(f"{site.address}/a", max_bytes=2000).status is Status.OK
    got = fetch(f"{site.address}/a", max_bytes=1999)
    assert (got.status, got.body) == (Status.TOO_LARGE, b"")


def test_a_small_answer_that_unfolds_to_a_large_one_is_a_bomb(site: Any) -> None:
    packed = gzip.compress(b"\0" * 5_000_000)
    site.routes["/a"] = (200, {"Content-Encoding": "gzip"}, packed)
    assert len(packed) < 10_000
    assert fetch(f"{site.address}/a", max_bytes=100_000).status is Status.BOMB


def test_an_endless_body_without_a_length_is_given_up(site: Any) -> None:
    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 10_000)

    site.routes["/a"] = endless
    assert fetch(f"{site.address}/a", max_bytes=100_000).status is Status.TOO_LARGE


def test_a_slow_answer_times_out(site: Any) -> None:
    given_up = threading.Event()
    site.routes["/a"] = lambda handler: given_up.wait(60) and b"late"
    got = fetch(f"{site.address}/a", timeout=0.2, retries=1, obey_robots=False)
    given_up.set()
    assert (got.status, got.attempts, got.error) == (Status.TIMEOUT, 2, "no whole answer in 0.2 s")


def test_an_answer_that_falls_silent_times_out_long_before_its_whole_time(site: Any) -> None:
    given_up = threading.Event()

    def silent(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
        given_up.wait(60)

    site.routes["/a"] = silent
    got = fetch(f"{site.address}/a", timeout=300, idle_timeout=0.2, retries=0, obey_robots=False)
    given_up.set()
    assert (got.status, got.error) == (Status.TIMEOUT, "nothing came for 0.2 s")


def test_one_connection_serves_many_requests(site: Any) -> None:
    links = set()
    site.routes = {f"/{n}": lambda handler: links.add(handler.client_address) or b"x" for n in range(20)}

    async def one_after_another() -> None:
        async with Http(Limits(allow_hosts=("127.0.0.1",))) as http:
            for n in range(20):
                assert (await http.get(f"{site.address}/{n}")).status is Status.OK

    asyncio.run(one_after_another())
    assert len(links) == 1


def test_a_body_that_breaks_off_is_asked_again(site: Any) -> None:
    def cut(handler: Any) -> tuple[int, dict[str, str], bytes]:
        handler.close_connection = True
        return 200, {"Content-Length": "100"}, b"only this"

    site.routes["/a"] = cut
    got = fetch(f"{site.address}/a", retries=2)
    assert (got.status, got.attempts) == (Status.HTTP_ERROR, 3)
    assert got.error == "the answer broke off before its end"


def test_a_closed_port_and_an_unknown_host_are_statuses(site: Any) -> None:
    site.server.server_close()
    got = fetch(f"{site.address}/a", retries=1)
    assert (got.status, got.attempts) == (Status.HTTP_ERROR, 2)
    assert "refused" in (got.error or "")
    assert fetch("http://no-such-host.invalid/", retries=0).status is Status.DNS


def test_a_server_that_speaks_no_tls_is_a_tls_fault(site: Any) -> None:
    assert fetch(site.address.replace("http:", "https:") + "/", retries=0).status is Status.TLS


def test_unchanged_is_believed_only_when_it_was_asked(site: Any) -> None:
    site.routes["/a"] = (304, {}, b"")
    assert fetch(f"{site.address}/a", etag='"1"').status is Status.UNCHANGED
    assert site.headers[0]["if-none-match"] == '"1"'
    assert fetch(f"{site.address}/a").status is Status.HTTP_ERROR


def test_a_host_gets_no_more_requests_at_a_time_than_allowed(site: Any) -> None:
    lock, now, most, three = threading.Lock(), [0], [0], threading.Barrier(3, timeout=60)

    def busy(handler: Any) -> bytes:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        three.wait()
        time.sleep(0.05)  # for more, which must not come
        with lock:
            now[0] -= 1
        return b"x"

    site.routes = {f"/{n}": busy for n in range(12)}

    async def many() -> None:
        async with Http(Limits(per_host=3, allow_hosts=("127.0.0.1",))) as http:
            await asyncio.gather(*(http.get(f"{site.address}/{n}") for n in range(12)))

    asyncio.run(many())
    assert most[0] == 3


def test_requests_to_a_host_start_a_delay_apart(site: Any) -> None:
    starts: list[float] = []
    site.routes = {f"/{n}": lambda handler: starts.append(time.monotonic()) or b"x" for n in range(4)}

    async def many() -> None:
        async with Http(Limits(delay=0.1, allow_hosts=("127.0.0.1",))) as http:
            await asyncio.gather(*(http.get(f"{site.address}/{n}") for n in range(4)))

    began = time.monotonic()
    asyncio.run(many())
    assert max(starts) - began >= 0.38  # after that for robots.txt


def test_a_crawl_of_many_hosts_keeps_few_connections_open() -> None:
    now, most = 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            now -= 1
            writer.close()

    async def many() -> set[Status]:
        server = await asyncio.start_server(serve, "0.0.0.0", 0)
        port = server.sockets[0].getsockname()[1]
        hosts = iter([f"127.1.{number // 250}.{number % 250 + 1}" for number in range(600)])
        seen = set()

        async def work() -> None:
            for host in hosts:
                seen.add((await http.get(f"http://{host}:{port}/")).status)

        async with Http(Limits(allow_hosts=("127.0.0.0/8",), allow_ports=(port,))) as http:
            await asyncio.gather(*(work() for _ in range(24)))
        server.close()
        return seen

    assert asyncio.run(many()) == {Status.OK}
    assert 24 <= most < 150
