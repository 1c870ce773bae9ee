"""Reads a web page: its text in any encoding, its links resolved, and what CSS selectors find on it."""

import codecs
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urljoin

from imageloom.fetch.http import Fetched
from imageloom.sources.values import is_encoding

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

# Encodings that pages name and that browsers read as a larger one (WHATWG Encoding Standard).
_READ_AS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis_620": "cp874",
}

# Names that pages give them and Python does not know.
_CALLED = {"x-gbk": "gb18030", "x-sjis": "cp932", "x-x-big5": "big5hkscs", "x-euc-jp": "euc_jp", "utf-8mb4": "utf-8"}

_DECLARED = re.compile(r"<\?xml[^>]*encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,9}")  # no site has more pages, and int() refuses thousands of digits
_THOUSANDS = re.compile(r"(?<=\d)[,.](?=\d{3}(?!\d))")


@dataclass(frozen=True)
class Page:
    """A page that was fetched.

    Args:
        url: Where it stands, after redirects.
        html: Its text.
    """

    url: str
    html: str

    @cached_property
    def _tree(self) -> "LexborHTMLParser":
        from selectolax.lexbor import LexborHTMLParser

        return LexborHTMLParser(self.html)

    @cached_property
    def _base(self) -> str:
        """What the page's links are relative to."""
        base = self._tree.css_first("base[href]")
        try:
            return urljoin(self.url, base.attributes.get("href") or "") if base else self.url
        except ValueError:
            return self.url

    def select(self, selector: str) -> "list[LexborNode]":
        """The elements that a CSS selector finds, in the page's order."""
        return self._tree.css(selector)

    def resolve(self, link: str) -> str | None:
        """A link's whole address without its fragment; None for what is not on the web, such as `data:`."""
        from yarl import URL

        try:
            address = str(URL(urldefrag(urljoin(self._base, link.strip())).url))
        except ValueError:
            return None
        return address if address.startswith(("http://", "https://")) else None

    def number(self, selector: str) -> int | None:
        """The largest number in the first element found, as in `page 1 of 1,024`."""
        nodes = self.select(selector)
        text = _THOUSANDS.sub("", nodes[0].text(separator=" ")) if nodes else ""
        return max((int(digits) for digits in _NUMBER.findall(text)), default=None)


def read_page(fetched: Fetched, encoding: str | None = None) -> Page:
    """The page in an answer.

    Args:
        fetched: The answer.
        encoding: What it is in; None reads it by its byte order mark, its header, its `meta`, or as UTF-8.
    """
    body = fetched.body
    if encoding is not None:
        return Page(fetched.final_url, body.decode(encoding, "replace"))
    if body.startswith(codecs.BOM_UTF8):
        return Page(fetched.final_url, body.decode("utf-8-sig", "replace"))
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Page(fetched.final_url, body.decode("utf-16", "replace"))
    head = body[:2048].decode("latin-1")
    named = _CHARSET.search(fetched.content_type) or _DECLARED.search(head) or _CHARSET.search(head)
    return Page(fetched.final_url, body.decode(_codec(named[1]) if named else "utf-8", "replace"))


def is_selector(text: str) -> bool:
    """Whether `text` is a CSS selector."""
    from selectolax.lexbor import LexborHTMLParser, SelectolaxError

    try:
        LexborHTMLParser("<p></p>").css(text)
    except SelectolaxError:
        return False
    return True


def _codec(charset: str) -> str:
    charset = _CALLED.get(charset.lower(), charset)
    if not is_encoding(charset):
        return "utf-8"
    name = codecs.lookup(charset).name
    return _READ_AS.get(name, name)
