"""Openverse and Wikimedia Commons, spoken by servers on loopback as their documentation and their answers show."""

import io
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from listings import CATS, listing, partial_listing
from PIL import Image

from imageloom import cli, tables
from imageloom.errors import DataError
from imageloom.sources.source import Candidate, Context

BOTH = Context(Path(), ("cat", "dog"), "scrape.sources.0")


class Engine:
    """A server of one path; each question is a dictionary in `questions`, and `faults` are answered first."""

    def __init__(self, site: Any, path: str) -> None:
        self.base = site.address + path
        self.questions: list[dict[str, str]] = []
        self.faults: list[tuple[int, dict[str, str], bytes]] = []
        self.site = site
        site.routes = _Paths(site.routes)
        site.routes[path] = self._answer

    def _answer(self, handler: Any) -> Any:
        question = {name: values[0] for name, values in parse_qs(urlsplit(handler.path).query).items()}
        self.questions.append(question)
        if self.faults:
            return self.faults.pop(0)
        answer = self.answer(question)
        if isinstance(answer, tuple):
            return answer
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    def answer(self, question: dict[str, str]) -> Any:
        raise NotImplementedError


class _Paths(dict[str, Any]):
    """Routes by path, whatever the query."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key, super().get(key.partition("?")[0], default))


class Openverse(Engine):
    """https://api.openverse.org/v1/images/ for those who do not log in: 20 a page, no page beyond page_count."""

    def __init__(self, site: Any, pictures: list[dict[str, Any]]) -> None:
        super().__init__(site, "/v1/images/")
        self.pictures = pictures

    def answer(self, question: dict[str, str]) -> Any:
        size, page = int(question.get("page_size", 20)), int(question.get("page", 1))
        allowed = question["license"].split(",") if "license" in question else None
        found = [each for each in self.pictures if allowed is None or each["license"] in allowed]
        count = -(-len(found) // size)
        if size > 20:
            return 401, {}, b'{"detail": "page_size may not exceed 20 for anonymous requests"}'
        if page > max(count, 1):
            return 400, {}, b'{"error": "InputError", "detail": "Invalid page requested."}'
        shown = found[(page - 1) * size : page * size]
        about = {"result_count": len(found), "page_count": count, "page_size": size, "page": page}
        return about | {"results": shown}


def picture(number: int, address: str = "https://live.staticflickr.com", **more: Any) -> dict[str, Any]:
    """One entry of `results`, with the fields that the interface gives."""
    return {
        "id": f"4bc43a04-ef46-4544-a0c1-{number:012}",
        "title": f"Cat No. {number} 猫",
        "foreign_landing_url": f"https://www.flickr.com/photos/47140246@N02/{number}",
        "url": f"{address}/4070/{number}_b.jpg",
        "creator": "Etenil",
        "creator_url": "https://www.flickr.com/photos/47140246@N02",
        "license": "by-sa",
        "license_version": "2.0",
        "license_url": "https://creativecommons.org/licenses/by-sa/2.0/",
        "provider": "flickr",
        "source": "flickr",
        "filetype": None,
        "mature": False,
        "height": 768,
        "width": 1024,
        "unstable__sensitivity": [],
    } | more


def openverse(engine: Engine, **more: Any) -> dict[str, Any]:
    return {"kind": "openverse", "base": engine.base} | more


def test_openverse_is_read_page_by_page_with_authors_and_licences(site: Any) -> None:
    engine = Openverse(site, [picture(n) for n in range(45)])
    found = listing(openverse(engine), CATS)
    assert [candidate.url[-8:] for candidate in found] == [f"/{n}_b.jpg"[-8:] for n in range(45)]
    assert found[7] == Candidate(
        "https://live.staticflickr.com/4070/7_b.jpg",
        "cat",
        "openverse",
        "https://www.flickr.com/photos/47140246@N02/7",
        "Cat No. 7 猫",
        "Etenil",
        "CC BY-SA 2.0",
    )
    assert engine.questions == [{"q": "cat", "page_size": "20", "page": str(page)} for page in (1, 2, 3)]


def test_openverse_is_asked_for_terms_licences_and_what_else_it_knows(site: Any) -> None:
    licences = [("cc0", "1.0"), ("pdm", "1.0"), ("by", "4.0"), ("by-nc", "2.0"), ("sampling+", "1.0"), ("by", None)]
    engine = Openverse(site, [picture(n, license=a, license_version=b) for n, (a, b) in enumerate(licences)])
    everything = [candidate.licence for candidate in listing(openverse(engine), CATS)]
    assert everything == ["CC0 1.0", "Public Domain Mark 1.0", "CC BY 4.0", "CC BY-NC 2.0", "CC SAMPLING+ 1.0", "CC BY"]
    engine.questions.clear()
    entry = openverse(
        engine,
        search={"cat": ["猫", "house cat"], "dog": "dog"},
        licences=["cc0", "by"],
        licence_types=["commercial", "modification"],
        filters={"category": "photograph"},
    )
    found = listing(entry, BOTH)
    assert [(candidate.class_name, candidate.licence) for candidate in found] == [
        (name, licence) for name in ("cat", "dog") for licence in ("CC0 1.0", "CC BY 4.0", "CC BY")
    ]
    assert [question["q"] for question in engine.questions] == ["猫", "house cat", "dog"]
    assert engine.questions[0] == {
        "q": "猫",
        "license": "cc0,by",
        "license_type": "commercial,modification",
        "category": "photograph",
        "page_size": "20",
        "page": "1",
    }


def test_a_licence_that_was_not_asked_for_is_not_taken(site: Any) -> None:
    engine = Openverse(site, [picture(1), picture(2, license="by-nd"), picture(3, license=None)])
    engine.answer = lambda question: {"page_count": 1, "results": engine.pictures}
    found = listing(openverse(engine, licences=["by-sa"]), CATS)
    assert [candidate.url[-7:] for candidate in found] == ["1_b.jpg"]


def test_no_more_is_asked_than_the_class_needs(site: Any) -> None:
    engine = Openverse(site, [picture(n) for n in range(200)])
    assert len(listing(openverse(engine, max_per_class=25), CATS)) == 25
    assert len(engine.questions) == 2
    assert len(listing(openverse(engine, max_per_class=20, search=["{class}", "house {class}"]), CATS)) == 20
    assert [question["q"] for question in engine.questions[2:]] == ["cat"]


def test_a_rate_limit_is_waited_for_as_long_as_it_says(site: Any) -> None:
    engine = Openverse(site, [picture(n) for n in range(25)])
    engine.faults = [
        (429, {"Retry-After": "1"}, b'{"detail": "Request was throttled. Expected available in 1 second."}')
    ]
    began = time.monotonic()
    found = listing(openverse(engine), CATS, retries=1, backoff=0.01)
    assert len(found) == 25
    assert 1 <= time.monotonic() - began < 30  # no wait is longer than 60 s
    assert [question["page"] for question in engine.questions] == ["1", "1", "2"]


def test_a_rate_limit_that_does_not_end_keeps_what_was_found_and_is_told(site: Any, capsys: Any) -> None:
    engine = Openverse(site, [picture(n) for n in range(60)])
    throttled = (429, {"Retry-After": "86400"}, b"{}")
    answer = engine.answer
    engine.answer = lambda question: answer(question) if question["page"] == "1" else throttled
    found = listing(openverse(engine), CATS, retries=1, backoff=0.01, longest_wait=0.1)
    assert len(found) == 20
    assert "allows no more requests now" in capsys.readouterr().err
    engine.answer = lambda question: throttled
    with pytest.raises(DataError, match="allows no more requests now") as fault:
        listing(openverse(engine), CATS, longest_wait=0.1)
    assert "scrape.longest_wait" in fault.value.hint


def test_pages_that_repeat_themselves_are_left(site: Any) -> None:
    engine = Openverse(site, [])
    engine.answer = lambda question: {"page_count": 10**9, "results": [picture(1)]}
    assert len(listing(openverse(engine), CATS)) == 1
    assert len(engine.questions) == 4


def test_what_is_refused_or_no_json_is_an_error_that_names_the_term(site: Any) -> None:
    engine = Openverse(site, [picture(n) for n in range(45)])
    engine.faults = [(401, {}, b'{"detail": "Authentication credentials were not provided."}')]
    with pytest.raises(DataError, match=r"scrape\.sources\.0 \(openverse\), class 'cat', 'cat': .*HTTP 401"):
        listing(openverse(engine), CATS)
    engine.faults = [(200, {}, b"<html>maintenance")]
    with pytest.raises(DataError, match="answered no JSON object"):
        listing(openverse(engine), CATS)
    engine.pictures = []
    with pytest.raises(DataError, match="class 'cat': finds nothing"):
        listing(openverse(engine), CATS)


def test_odd_entries_are_left_out_and_the_others_taken(site: Any) -> None:
    odd = [None, 7, {}, {"url": None}, {"url": " "}, picture(1, title=None, creator=None, foreign_landing_url=7)]
    engine = Openverse(site, [])
    engine.answer = lambda question: {"page_count": "x", "results": odd}
    found = listing(openverse(engine), CATS)
    assert [(each.title, each.author, each.page) for each in found] == [(None, None, None)]


@pytest.mark.parametrize("kind", ["openverse", "commons"])
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((503, {}, b""), "the service is down or busy: crawl again later"),
        ((400, {}, b""), "parameters against what the interface allows"),
        ((403, {}, b""), "set scrape.contact"),
        ((200, {}, b"[" * 100_000), "check base"),
        ((200, {}, b'{"results": {"a": 1}, "query": {"pages": [{"imageinfo": {"url": "x"}}]}}'), ""),
        (None, "this machine's network, or the service, is down or busy: crawl again later"),
    ],
    ids=["down", "refused", "who asks", "deep", "other shape", "no network"],
)
def test_parameters_are_blamed_for_what_was_refused_only(site: Any, kind: str, answer: Any, hint: str) -> None:
    site.routes = _Paths({"/api": answer})
    if answer is None:
        site.server.shutdown()
        site.server.server_close()
    with pytest.raises(DataError) as fault:
        listing({"kind": kind, "base": f"{site.address}/api"}, CATS)
    assert hint in fault.value.hint
    assert ("parameters" in fault.value.hint) == ("parameters" in hint)
    assert (" gave no answer: cannot connect" in fault.value.message) == (answer is None)


@pytest.mark.parametrize("kind", ["openverse", "commons"])
def test_a_base_where_nothing_is_names_itself(site: Any, kind: str) -> None:
    with pytest.raises(DataError, match=r"/nowhere\?.*HTTP 404") as fault:
        listing({"kind": kind, "base": f"{site.address}/nowhere"}, CATS)
    assert fault.value.hint == "check base: it must be the interface's address"


def test_one_class_that_is_not_found_does_not_hide_the_others(site: Any) -> None:
    engine = Openverse(site, [picture(1)])
    answer = engine.answer
    engine.answer = lambda question: answer(question) if question["q"] == "dog" else (500, {}, b"")
    found: list[Candidate] = []
    with pytest.raises(DataError, match=r"class 'cat', 'cat'.*HTTP 500"):
        partial_listing(openverse(engine), BOTH, found)
    assert [candidate.class_name for candidate in found] == ["dog"]
    engine.answer = lambda question: (500, {}, b"")
    with pytest.raises(DataError, match=r"class 'cat', 'cat'.*HTTP 500; and nothing of 'dog'$"):
        listing(openverse(engine), BOTH)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"licences": ["gpl"]}, "by-nc-sa"),
        ({"base": "ftp://a/"}, "must be an http"),
        ({"search": {"cat": []}}, "at least 1"),
        ({"search": {"cta": "x"}}, "no class 'cta'"),
        ({"search": "excavator"}, "the same terms for every class"),
        ({"page_size": 21}, "less than or equal to 20"),
        ({"kind": "commons", "page_size": 501}, "less than or equal to 500"),
        ({"max_per_class": 10**9}, "less than or equal to"),
        ({"max_per_class": True}, "must be a number"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_asked(more: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, DataError), match=message):
        listing({"kind": "openverse", **more}, BOTH)


class Commons(Engine):
    """https://commons.wikimedia.org/w/api.php: a generator's pages in no order, `index` their rank, and `continue`."""

    def __init__(self, site: Any, files: list[dict[str, Any]]) -> None:
        super().__init__(site, "/w/api.php")
        self.files = files

    def answer(self, question: dict[str, str]) -> Any:
        offset, limit = int(question.get("gsroffset", 0)), int(question["gsrlimit"])
        some = [{**file, "index": n + 1} for n, file in enumerate(self.files)][offset : offset + limit]
        wanted = question["iiprop"].split("|")
        assert question["gsrnamespace"] == "6"
        assert {"url", "extmetadata", "mime"} <= set(wanted)
        answer: dict[str, Any] = {"batchcomplete": True, "query": {"pages": some[::-1]}}
        if offset + limit < len(self.files):
            answer["continue"] = {"gsroffset": offset + limit, "continue": "gsroffset||"}
        return answer


def file(number: int, address: str = "https://upload.wikimedia.org", **more: Any) -> dict[str, Any]:
    """One entry of `pages`, with the fields that the API gives."""
    campaign = "utm_source=commons.wikimedia.org&utm_campaign=imageinfo"
    about = {
        "ObjectName": {"value": f"Excavator {number}", "source": "mediawiki-metadata"},
        "Artist": {
            "value": '<b><a href="//commons.wikimedia.org/wiki/User:Tsca">Tomasz\n Sienicki</a></b> '
            '<span style="color:grey"><i>[user: Tsca &amp; friends]</i></span>'
        },
        "LicenseShortName": {"value": "CC BY-SA 3.0"},
        "License": {"value": "cc-by-sa-3.0"},
    }
    info = {
        "size": 372133,
        "width": 1600,
        "height": 1200,
        "thumburl": f"{address}/thumb/5/57/Bagger_{number}.jpg/960px-Bagger_{number}.jpg?{campaign}&utm_content=thumb",
        "url": f"{address}/5/57/Bagger_{number}.jpg?{campaign}&utm_content=original",
        "descriptionurl": f"https://commons.wikimedia.org/wiki/File:Bagger_{number}.jpg",
        "mime": "image/jpeg",
        "extmetadata": about,
    }
    return {"pageid": number, "ns": 6, "title": f"File:Bagger {number}.jpg", "imageinfo": [info | more]}


def commons(engine: Engine, **more: Any) -> dict[str, Any]:
    return {"kind": "commons", "base": engine.base} | more


def licensed(code: str | None, short: str | None = None) -> dict[str, Any]:
    values = {"License": code, "LicenseShortName": short}
    return {"extmetadata": {name: {"value": value} for name, value in values.items() if value is not None}}


def test_commons_is_read_to_its_end_in_the_search_s_order(site: Any) -> None:
    engine = Commons(site, [file(n) for n in range(23)])
    found = listing(commons(engine, page_size=10, search="{class} excavator"), CATS)
    assert [candidate.page for candidate in found] == [
        f"https://commons.wikimedia.org/wiki/File:Bagger_{n}.jpg" for n in range(23)
    ]
    assert found[3] == Candidate(
        "https://upload.wikimedia.org/thumb/5/57/Bagger_3.jpg/960px-Bagger_3.jpg",
        "cat",
        "commons",
        "https://commons.wikimedia.org/wiki/File:Bagger_3.jpg",
        "Excavator 3",
        "Tomasz Sienicki [user: Tsca & friends]",
        "CC BY-SA 3.0",
    )
    assert [question.get("gsroffset") for question in engine.questions] == [None, "10", "20"]
    assert engine.questions[1]["continue"] == "gsroffset||"
    assert engine.questions[0]["gsrsearch"] == "cat excavator filetype:bitmap"


def test_commons_gives_originals_where_no_width_is_wanted(site: Any) -> None:
    def without_thumbnail(entry: dict[str, Any]) -> dict[str, Any]:
        del entry["imageinfo"][0]["thumburl"]
        return entry

    engine = Commons(
        site, [without_thumbnail(file(1)), without_thumbnail(file(2, url="https://u/a%20b.jpg?x=1&utm_a=2"))]
    )
    found = listing(commons(engine, width=None), CATS)
    assert [candidate.url for candidate in found] == [
        "https://upload.wikimedia.org/5/57/Bagger_1.jpg",
        "https://u/a%20b.jpg?x=1",
    ]
    assert "iiurlwidth" not in engine.questions[0]


def test_commons_licences_are_told_apart(site: Any) -> None:
    codes = ["cc0", "pd", "pd-old-100", "cc-by-4.0", "cc-by-sa-3.0-de", "cc-by-sa-3.0,2.5,2.0", "gfdl", "cc-by", None]
    engine = Commons(site, [file(n, **licensed(code, code and code.upper())) for n, code in enumerate(codes)])

    def taken(*licences: str) -> list[str | None]:
        return [
            candidate.licence and candidate.licence.lower()
            for candidate in listing(commons(engine, licences=licences), CATS)
        ]

    assert taken() == codes
    assert taken("by") == ["cc-by-4.0", "cc-by"]
    assert taken("by-sa") == ["cc-by-sa-3.0-de", "cc-by-sa-3.0,2.5,2.0"]
    assert taken("cc0", "pdm") == ["cc0", "pd", "pd-old-100"]


def test_what_is_no_photograph_or_says_too_little_is_left_out(site: Any) -> None:
    bare = {"pageid": 9, "ns": 6, "title": "File:Missing.jpg"}
    files = [file(1, mime="image/svg+xml"), file(2, mime="application/pdf"), bare, file(4, extmetadata=None), file(5)]
    found = listing(commons(Commons(site, files)), CATS)
    assert [(candidate.title, candidate.author, candidate.licence) for candidate in found] == [
        ("Bagger 4", None, None),
        ("Excavator 5", "Tomasz Sienicki [user: Tsca & friends]", "CC BY-SA 3.0"),
    ]


def test_what_is_known_of_files_may_come_in_a_later_answer(site: Any) -> None:
    """The API ends an answer that grows too long, and gives the rest of the same files in the next ones."""
    whole = [file(n) for n in range(6)]
    bare = [{name: entry[name] for name in ("pageid", "ns", "title")} for entry in whole]
    engine = Commons(site, [])

    def answer(question: dict[str, str]) -> Any:
        part = int(question.get("iicontinue", "0"))
        pages = [whole[n] if n == part else bare[n] for n in range(6)]
        more = {"continue": {"iicontinue": str(part + 1), "continue": "||"}} if part < 5 else {"batchcomplete": True}
        return {"query": {"pages": pages}} | more

    engine.answer = answer
    assert len(listing(commons(engine), CATS)) == 6


def test_an_error_of_the_api_is_told_although_it_comes_as_success(site: Any) -> None:
    engine = Commons(site, [])
    engine.answer = lambda question: {
        "error": {"code": "ratelimited", "info": "You've exceeded your rate limit."},
        "servedby": "mw1",
    }
    with pytest.raises(DataError, match="ratelimited: You've exceeded"):
        listing(commons(engine), CATS)


def test_an_interface_is_asked_whatever_robots_txt_says_and_the_pictures_are_not(site: Any, tmp_path: Path) -> None:
    """Commons' robots.txt refuses /w/, where its API is; what it says of pictures is for crawlers, as we are."""
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(buffer, "JPEG")
    engine = Commons(site, [file(n, site.address) for n in range(2)])
    site.routes["/robots.txt"] = b"User-agent: *\nDisallow: /w/\nDisallow: /thumb/5/57/Bagger_1.jpg/"
    for n in range(2):
        site.routes[f"/thumb/5/57/Bagger_{n}.jpg/960px-Bagger_{n}.jpg"] = buffer.getvalue()
    (tmp_path / "params.yaml").write_text(
        f"scrape:\n  allow_hosts: [127.0.0.1]\n  sources:\n  - kind: commons\n    base: {engine.base}\n"
        "    search: {cat: cat, dog: dog}\n"
    )
    cli.main(["scrape", "-C", str(tmp_path)])
    table = tables.read(tmp_path / "data/raw/manifest.parquet", tables.MANIFEST, "scrape").to_pylist()
    assert {(row["title"], row["status"]) for row in table} == {("Excavator 0", "ok"), ("Excavator 1", "robots")}
    assert {row["licence"] for row in table} == {"CC BY-SA 3.0"}
