"""How long an answer stays fresh, by what its server says."""

import time
from email.utils import formatdate

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from imageloom.fetch.freshness import LONGEST, fresh_until, http_date

NOW = 1_800_000_000


def at(seconds: int) -> str:
    return formatdate(NOW + seconds, usegmt=True)


def seconds_left(*headers: tuple[str, str]) -> int:
    until = fresh_until(CIMultiDictProxy(CIMultiDict(headers)), NOW)
    return until - NOW if until else 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("Cache-Control", "max-age=3600")], 3600),
        ([("cache-control", "public, MAX-AGE=3600, immutable")], 3600),
        ([("Cache-Control", 'max-age="3600"')], 3600),
        ([("Cache-Control", "max-age=3600"), ("Cache-Control", "public")], 3600),  # as nginx sends it
        ([("Cache-Control", "max-age=3600, must-revalidate")], 3600),
        ([("Cache-Control", "max-age=3600, s-maxage=9")], 3600),
        ([("Cache-Control", "max-age=3600, max-age=9")], 3600),
        ([("Cache-Control", "max-age=3600"), ("Expires", at(9))], 3600),
        ([("Cache-Control", "max-age=3600"), ("Age", "600")], 3000),
        ([("Cache-Control", "max-age=3600"), ("Date", at(-600))], 3000),
        ([("Cache-Control", "max-age=3600"), ("Date", at(-600)), ("Age", "700")], 2900),
        ([("Cache-Control", "max-age=3600"), ("Date", at(600))], 3600),  # its clock is fast
        ([("Cache-Control", "max-age=3600"), ("Age", "-5")], 3600),
        ([("Cache-Control", "max-age=" + "9" * 5000)], LONGEST),
        ([("Expires", at(3600))], 3600),
        ([("Expires", at(3000)), ("Date", at(-600))], 3000),
        ([("Expires", at(10**9))], LONGEST),
        ([("Cache-Control", "public"), ("Expires", at(3600))], 3600),
        ([("Cache-Control", "max-age=3600"), ("Vary", "Accept")], 3600),
    ],
)
def test_an_answer_is_fresh_as_long_as_its_server_says(headers: list[tuple[str, str]], seconds: int) -> None:
    assert seconds_left(*headers) == seconds


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Last-Modified", at(-(10**8)))],  # the standard allows a guess here
        [("Cache-Control", "public, immutable")],
        [("Cache-Control", "s-maxage=3600")],
        [("Cache-Control", "max-age=0")],
        [("Cache-Control", "max-age=-1")],
        [("Cache-Control", "max-age")],
        [("Cache-Control", "max-age=soon")],
        [("Cache-Control", "max-age=3600, no-cache")],
        [("Cache-Control", "max-age=3600, no-store")],
        [("Cache-Control", "max-age=3600"), ("Cache-Control", "no-store")],
        [("Cache-Control", 'no-cache="Set-Cookie", max-age=3600')],
        [("Cache-Control", "no-cache"), ("Expires", at(3600))],
        [("Cache-Control", "max-age=3600"), ("Age", "3600")],
        [("Cache-Control", "max-age=3600"), ("Date", at(-3600))],
        [("Cache-Control", "max-age=3600"), ("Vary", "*")],
        [("Expires", "0")],
        [("Expires", at(-1))],
        [("Expires", "Tue, 01 Jan 99999999999999999999 00:00:00 GMT")],
        [("Expires", at(3600)), ("Date", at(3600))],
    ],
)
def test_an_answer_that_is_stale_or_says_nothing_must_be_asked_again(headers: list[tuple[str, str]]) -> None:
    assert seconds_left(*headers) == 0


def test_a_directive_inside_quotes_is_none() -> None:
    assert seconds_left(("Cache-Control", 'x="no-store, a", max-age=60')) == 60


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_a_date_is_read_in_the_three_forms_that_http_knows(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    http_date.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "Asia/Tokyo")  # the third names no zone, and means Greenwich's
            time.tzset()
            assert http_date(text) == 784_111_777
    finally:
        time.tzset()
