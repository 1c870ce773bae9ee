"""What hosts ask of crawlers is read once, and obeyed unless a parameter says otherwise."""

import asyncio
import time
from typing import Any

import pytest

from imageloom.fetch.http import Fetched, Http, Limits
from imageloom.fetch.robots import opted_out, read_rules
from imageloom.fetch.status import Status


def crawl(*urls: str, pages: bool = False, **limits: Any) -> list[Fetched]:
    settings = {"backoff": 0.01, "timeout": 60.0, "retries": 1, "allow_hosts": ("127.0.0.1",), "user_agent": "loom/2"}

    async def all_at_once() -> list[Fetched]:
        async with Http(Limits(**settings | limits)) as http:
            return await asyncio.gather(*((http.page if pages else http.get)(url) for url in urls))

    return asyncio.run(all_at_once())


def test_robots_txt_is_asked_for_once_whoever_comes_first(site: Any) -> None:
    site.routes = {f"/{number}": b"x" for number in range(30)} | {"/robots.txt": lambda handler: time.sleep(0.1) or b""}
    got = crawl(*(f"{site.address}/{number}" for number in range(30)))
    assert {answer.status for answer in got} == {Status.OK}
    assert site.count("/robots.txt") == 1
    assert site.asked[0] == "/robots.txt"


def test_what_robots_txt_refuses_is_never_asked(site: Any) -> None:
    site.routes = {"/robots.txt": b"User-agent: *\nDisallow: /no\nAllow: /no/but\n", "/no/but": b"x", "/yes": b"x"}
    got = crawl(*(f"{site.address}{path}" for path in ("/no/1", "/no/but", "/yes")))
    assert [(answer.status, answer.attempts) for answer in got] == [("robots", 0), ("ok", 1), ("ok", 1)]
    assert "robots.txt" in (got[0].error or "")
    assert sorted(site.asked) == ["/no/but", "/robots.txt", "/yes"]


def test_pages_are_refused_as_pictures_are(site: Any) -> None:
    site.routes = {"/robots.txt": b"User-agent: *\nDisallow: /", "/page": b"<p>"}
    assert crawl(f"{site.address}/page", pages=True)[0].status is Status.ROBOTS
    assert site.asked == ["/robots.txt"]


def test_where_a_redirect_leads_is_asked_of_robots_txt_too(site: Any) -> None:
    site.routes = {"/robots.txt": b"User-agent: *\nDisallow: /no", "/a": (302, {"Location": "/no"}, b""), "/no": b"x"}
    assert crawl(f"{site.address}/a")[0].status is Status.ROBOTS
    assert site.asked == ["/robots.txt", "/a"]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((404, {}, b""), "ok"),
        ((403, {}, b"User-agent: *\nDisallow: /"), "ok"),
        ((500, {}, b""), "robots"),
        ((503, {}, b""), "robots"),
        ((429, {}, b""), "robots"),
        ((302, {"Location": "/rules"}, b""), "robots"),
        ((302, {"Location": "/robots.txt"}, b""), "ok"),
        (b"\xef\xbb\xbfUser-agent: *\nDisallow: /\n", "robots"),
        (b"USER-AGENT: LOOM\r\nDISALLOW: /\r\n", "robots"),
        (b"User-agent: loomer\nDisallow: /\n", "ok"),
        (b"User-agent: *\nDisallow: /\n\nUser-agent: loom\nDisallow:\n", "ok"),
        (b"User-agent: *\nDisallow: /*.jpg$\n", "robots"),
        (b"User-agent: *\nDisallow: /%E7%8C%AB\n", "robots"),
        (b"#" * 600_000 + b"\nUser-agent: *\nDisallow: /\n", "ok"),
        (b"\0\xff" * 1000, "ok"),
    ],
)
def test_the_answer_for_robots_txt_decides(site: Any, answer: Any, status: str) -> None:
    site.routes = {"/robots.txt": answer, "/rules": b"User-agent: *\nDisallow: /", "/%E7%8C%AB.jpg": b"x"}
    assert crawl(f"{site.address}/猫.jpg")[0].status == status


def test_robots_txt_that_was_down_for_a_moment_is_asked_again(site: Any) -> None:
    left = [(503, {}, b"")]
    site.routes = {"/robots.txt": lambda handler: left.pop() if left else b"", "/a": b"x"}
    assert crawl(f"{site.address}/a")[0].status is Status.OK


def test_a_host_that_is_down_is_found_out_once(site: Any) -> None:
    site.server.shutdown()
    site.server.server_close()
    got = crawl(*(f"{site.address}/{number}" for number in range(9)), retries=2)
    assert {(answer.status, answer.attempts) for answer in got} == {("http_error", 3)}


def test_crawl_delay_is_kept_and_capped(site: Any) -> None:
    starts: list[float] = []
    site.routes = {f"/{number}": lambda handler: starts.append(time.monotonic()) or b"x" for number in range(4)}
    site.routes["/robots.txt"] = b"User-agent: *\nCrawl-delay: 0.2\n"
    began = time.monotonic()
    crawl(*(f"{site.address}/{number}" for number in range(4)))
    assert max(starts) - began >= 0.58
    starts.clear()
    site.routes["/robots.txt"] = b"User-agent: *\nCrawl-delay: 86400\n"
    began = time.monotonic()
    crawl(*(f"{site.address}/{number}" for number in range(3)), longest_wait=0.1)
    assert 0.18 <= max(starts) - began < 60  # of a day


def test_robots_txt_is_not_even_asked_for_when_it_is_not_to_be_obeyed(site: Any) -> None:
    site.routes = {"/robots.txt": b"User-agent: *\nDisallow: /\nCrawl-delay: 50", "/a": b"x"}
    assert crawl(f"{site.address}/a", obey_robots=False)[0].status is Status.OK
    assert site.asked == ["/a"]


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ("noai", "noai"),
        ("NoImageAI", "noimageai"),
        ("noindex, nofollow", "noindex"),
        ("nofollow , none", "none"),
        ("loom: noai", "noai"),
        ("*: noindex", "noindex"),
        ("otherbot: nofollow, loom: noindex", "noindex"),
        ("max-snippet: 20, noindex", "noindex"),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST, noindex", "noindex"),
        ("otherbot: noindex, noai", None),
        ("nofollow, noarchive", None),
        ("max-image-preview: none", None),
        ("all", None),
        ("", None),
        (",:,,::", None),
    ],
)
def test_a_picture_whose_answer_opts_out_is_not_taken(site: Any, header: str, word: str | None) -> None:
    assert opted_out([header], "loom") == word
    site.routes["/a"] = (200, {"X-Robots-Tag": header}, b"x")
    got = crawl(f"{site.address}/a")[0]
    assert (got.status, got.body) == (("opted_out", b"") if word else ("ok", b"x"))
    assert crawl(f"{site.address}/a", obey_opt_out=False)[0].status is Status.OK


def test_every_header_of_an_answer_counts(site: Any) -> None:
    assert opted_out(["otherbot: noindex", "nofollow", "noai"], "loom") == "noai"


def test_a_picture_that_was_taken_before_can_opt_out_by_an_answer_304(site: Any) -> None:
    site.routes["/a"] = (304, {"X-Robots-Tag": "noai"}, b"")

    async def again() -> Fetched:
        async with Http(Limits(allow_hosts=("127.0.0.1",))) as http:
            return await http.get(f"{site.address}/a", '"1"')

    assert asyncio.run(again()).status is Status.OPTED_OUT


def test_a_page_that_is_not_to_be_indexed_still_lists_its_pictures(site: Any) -> None:
    site.routes["/page"] = (200, {"X-Robots-Tag": "noindex"}, b"<p>")
    assert crawl(f"{site.address}/page", pages=True)[0].status is Status.OK


def test_every_request_says_who_asks_and_how_to_reach_them(site: Any) -> None:
    site.routes = {"/robots.txt": b"", "/a": b"x"}
    crawl(f"{site.address}/a", contact="https://example.org/bot")
    assert {headers["user-agent"] for headers in site.headers} == {"loom/2 (+https://example.org/bot)"}
    assert len(site.headers) == 2


def test_rules_without_a_file_allow_all() -> None:
    rules = read_rules(404, b"", "loom")
    assert (rules.refusal("http://a/"), rules.delay) == (None, 0.0)
