"""Galleries at full strength: lazy pictures, pages one deeper, limits, encodings."""

import time
from pathlib import Path
from typing import Any

import pytest
from listings import CATS, listing, names

from imageloom.errors import DataError
from imageloom.sources import srcset
from imageloom.sources.source import Context


def cats(site: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "gallery", "start": {"cat": f"{site.address}/cats"}, "item": "img"} | more


@pytest.mark.parametrize(
    ("value", "best_first"),
    [
        ("a.jpg", ["a.jpg"]),
        ("a.jpg 480w, b.jpg 1200w, c.jpg 800w", ["b.jpg", "c.jpg", "a.jpg"]),
        ("a.jpg, b.jpg 2x, c.jpg 1.5x", ["b.jpg", "c.jpg", "a.jpg"]),
        ("a.jpg 1x,b.jpg 2x", ["b.jpg", "a.jpg"]),
        ("a,b.jpg 100w, c,d.jpg 200w", ["c,d.jpg", "a,b.jpg"]),  # commas are part of an address
        ("a.jpg,b.jpg 2x", ["a.jpg,b.jpg"]),  # ... as browsers read it
        ("data:image/png;base64,AAA= 1x, b.jpg .5x", ["data:image/png;base64,AAA=", "b.jpg"]),
        ("\n  a.jpg   480w ,\n\tb.jpg 1200w  ,\n", ["b.jpg", "a.jpg"]),
        ("a.jpg 100w 50h, b.jpg 200w 100h", ["b.jpg", "a.jpg"]),
        ("a.jpg 100w 2x, b.jpg 10w", ["b.jpg"]),  # a width and a density
        ("a.jpg 100h, b.jpg huge, c.jpg -1x, d.jpg 1w 2w, e.jpg 5w", ["e.jpg"]),
        ("a.jpg calc(1w, 2w), b.jpg 5w", ["b.jpg"]),
        ("a.jpg 9w,, b.jpg 10w", ["b.jpg", "a.jpg"]),
        (" , ", []),
        ("", []),
    ],
)
def test_a_srcset_is_read_as_browsers_read_it(value: str, best_first: list[str]) -> None:
    assert srcset.addresses(value) == best_first


def test_a_srcset_of_digits_without_end_takes_no_time() -> None:
    began = time.process_time()
    assert srcset.addresses(f"/1.jpg {'1' * 100_000}y, /2.jpg 2x") == ["/2.jpg"]
    assert time.process_time() - began < 20  # of minutes


def test_the_first_attribute_with_an_address_on_the_web_is_taken(site: Any) -> None:
    site.routes["/cats"] = b"""
        <img data-srcset="/1s.jpg 300w, /1l.jpg 900w" data-src=/no.jpg src="data:image/gif;base64,R0">
        <img data-src=/2.jpg src="data:image/gif;base64,R0">
        <img srcset="data:image/gif;base64,R0 9w" data-src=" " src=/3.jpg>
        <img src="data:image/gif;base64,R0"><img>"""
    found = listing(cats(site, attribute=["data-srcset", "data-src", "srcset", "src"]), CATS)
    assert names(found) == ["1l.jpg", "2.jpg", "3.jpg"]


def test_a_link_to_the_full_size_picture_is_an_attribute_like_any_other(site: Any) -> None:
    site.routes["/cats"] = b"<a class=big href=/full/1.jpg title=Tom><img src=/thumb/1.jpg></a>"
    found = listing(cats(site, item="a.big", attribute="href", title="title"), CATS)
    assert [(candidate.url, candidate.title) for candidate in found] == [(f"{site.address}/full/1.jpg", "Tom")]


def lists(site: Any, pages: int = 3, each: int = 20) -> dict[str, Any]:
    """Pages of links to pages with one picture each, next to a teaser that is not wanted."""
    for page in range(1, pages + 1):
        numbers = range((page - 1) * each, page * each)
        links = "".join(f"<p class=result><a href=cat/{n}.html#top>cat</a><img src=/teaser.jpg></p>" for n in numbers)
        more = f"<a rel=next href=/cats?p={page + 1}>on</a>" if page < pages else ""
        site.routes["/cats" if page == 1 else f"/cats?p={page}"] = (links + more).encode()
        for n in numbers:
            site.routes[f"/cat/{n}.html"] = f"<a href=/cats>back</a><img class=full src=../{n}.jpg alt=No{n}>".encode()
    return cats(site, follow=".result a", item="img.full", next="a[rel=next]")


def test_the_full_size_picture_is_found_one_page_deeper(site: Any) -> None:
    found = listing(lists(site), CATS)
    assert names(found) == [f"{n}.jpg" for n in range(60)]
    assert (found[7].page, found[7].title) == (f"{site.address}/cat/7.html", "No7")
    assert len(site.asked) == len(set(site.asked)) == 63


def test_pages_two_levels_deeper_are_followed_and_no_more_than_three_may_be(site: Any) -> None:
    site.routes["/cats"] = b"<a class=shelf href=/s1></a><a class=shelf href=/s2></a><a class=shelf href=/s1></a>"
    site.routes["/s1"] = b"<a class=cat href=/c1></a><a class=cat href=/c2></a>"
    site.routes["/s2"] = b"<a class=cat href=/c2></a><a class=cat href=/c3></a>"
    site.routes |= {f"/c{n}": f"<img src=/{n}.jpg>".encode() for n in (1, 2, 3)}
    assert names(listing(cats(site, follow=["a.shelf", "a.cat"]), CATS)) == ["1.jpg", "2.jpg", "3.jpg"]
    assert site.count("/c2") == 1
    with pytest.raises(ValueError, match="at most 3"):
        listing(cats(site, follow=["a"] * 4), CATS)


def test_dead_pages_below_a_list_are_told_and_hide_no_others(site: Any, capsys: Any) -> None:
    entry = lists(site, pages=2)
    for n in range(20, 40):  # a whole page of them is no loop
        del site.routes[f"/cat/{n}.html"]
    entry |= {"next": "a[rel=next]"}
    site.routes["/cats?p=2"] += b"<a rel=next href=/cats?p=3>on</a>"
    site.routes["/cats?p=3"] = b"<p class=result><a href=/last>cat</a></p>"
    site.routes["/last"] = b"<img class=full src=/last.jpg>"
    assert names(listing(entry, CATS)) == [*(f"{n}.jpg" for n in range(20)), "last.jpg"]
    warning = capsys.readouterr().err
    assert "dead: 20 followed links, such as" in warning
    assert "HTTP 404" in warning


def test_a_follow_or_an_item_that_finds_nothing_is_named(site: Any) -> None:
    entry = lists(site, pages=1, each=2)
    with pytest.raises(DataError, match=r"with no '\.nothing a' on it") as fault:
        listing(entry | {"follow": ".nothing a"}, CATS)
    assert "scrape.sources.0.follow" in fault.value.hint
    with pytest.raises(DataError, match=r"leads to 2 pages, with no 'img\.huge' on any"):
        listing(entry | {"item": "img.huge"}, CATS)


def test_no_more_pages_and_pictures_are_read_than_asked_for(site: Any) -> None:
    entry = lists(site)
    assert names(listing(entry | {"max_per_class": 5}, CATS)) == [f"{n}.jpg" for n in range(5)]
    assert len(site.asked) <= 1 + 8
    assert len(listing(entry | {"max_pages": 2}, CATS)) == 40


def test_pages_counted_in_pictures_are_stepped_through(site: Any) -> None:
    for start in (0, 20, 40):
        site.routes["/cats" if not start else f"/cats?start={start}"] = f"<img src=/{start}.jpg>".encode()
    entry = cats(site, page_address="?start={page}", first_page=0, page_step=20, pages=3)
    assert names(listing(entry, CATS)) == ["0.jpg", "20.jpg", "40.jpg"]


@pytest.mark.parametrize(
    ("encoding", "declared", "text"),
    [
        ("gbk", b"<meta http-equiv=Content-Type content='text/html; charset=x-gbk'>", "卡特彼勒"),
        ("shift_jis", b"<?xml version='1.0' encoding='Shift_JIS'?>", "小松製作所"),
        ("big5", b"<meta charset=big5>", "三一重工業"),
        ("euc_kr", b"<meta charset=ks_c_5601-1987>", "두산"),
        ("windows-1251", b"<meta charset=windows-1251>", "экскаватор"),
        ("iso-8859-1", b"<meta charset=latin1>", "Löffelbagger"),
        ("utf-16", b"", "沃尔沃"),  # by its byte order mark
        ("utf-8", b"<meta charset=no-such-thing>", "徐工"),
        ("utf-8", b"<meta charset=undefined>", "徐工"),  # a name that Python has for what fails on every byte
        ("utf-8", b"<meta charset=idna>", "徐工"),
        ("utf-8", b"<meta charset=unicode_escape>", r"徐工 \x"),
    ],
)
def test_pages_in_many_encodings_are_read(site: Any, encoding: str, declared: bytes, text: str) -> None:
    html = f"<img src=/1.jpg alt='{text}'>"
    site.routes["/cats"] = html.encode("utf-16") if encoding == "utf-16" else declared + html.encode(encoding)
    assert listing(cats(site), CATS)[0].title == text


def test_a_page_that_does_not_say_its_encoding_is_read_as_the_source_does(site: Any) -> None:
    site.routes["/cats"] = "<meta charset=utf-8><img src=/1.jpg alt='凯斯'>".encode("gbk")
    assert listing(cats(site, encoding="gbk"), CATS)[0].title == "凯斯"
    for name in ("klingon", "undefined", "punycode", "rot13", "a\0b"):
        with pytest.raises(ValueError, match="must be an encoding"):
            listing(cats(site, encoding=name), CATS)


def test_a_number_of_pages_that_nobody_has_does_not_end_the_crawl(site: Any) -> None:
    site.routes["/cats"] = b"<b class=pages>1 of " + b"9" * 5000 + b"</b><img src=/1.jpg>"
    entry = cats(site, page_count=".pages", page_address="?p={page}")
    assert names(listing(entry, CATS)) == ["1.jpg"]


def test_one_class_of_many_keeps_its_own_count(site: Any) -> None:
    site.routes["/cat"] = site.routes["/dog"] = b"<img src=/1.jpg><img src=/2.jpg><img src=/3.jpg>"
    entry = cats(site, start=f"{site.address}/{{class}}", max_per_class=2)
    found = listing(entry, Context(Path(), ("cat", "dog"), "here"))
    assert [candidate.class_name for candidate in found] == ["cat", "cat", "dog", "dog"]
