"""Wikimedia Commons, searched by the Action API that every MediaWiki has."""

import re
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pydantic import Field

from imageloom.sources.search import Address, Found, Query, SearchSource, text

# What Commons calls a licence, such as cc-by-sa-3.0-de, pd-old-100 or cc0.
_CODE = re.compile(r"cc-(by(?:-nc)?(?:-sa|-nd)?)(?:-\d.*)?")

# The rest of what is called a picture there are drawings and scans of books, which images.py does not open.
_TYPES = {"image/jpeg", "image/png", "image/gif", "image/webp", "image/tiff", "image/avif", "image/bmp"}

LONGEST_NAME = 200


class Commons(SearchSource):
    """Files of Wikimedia Commons, or of another MediaWiki, with the licence and author that their pages name."""

    kind: Literal["commons"] = Field(description="Pictures of Wikimedia Commons.")
    base: Address = Field(default="https://commons.wikimedia.org/w/api.php", description="Address of its Action API.")
    width: int | None = Field(
        default=960,
        ge=1,
        le=100_000,
        description="Take them scaled down to this many pixels across; null takes the originals.",
    )
    page_size: int = Field(default=50, ge=1, le=500, description="Pictures an answer; all may ask for 500.")

    def query(self, term: str) -> Query:
        """The first page's parameters."""
        asked = {
            "action": "query",
            "format": "json",
            "formatversion": "2",
            "generator": "search",
            "gsrsearch": f"{term} filetype:bitmap",
            "gsrnamespace": "6",  # files
            "gsrlimit": str(self.page_size),
            "prop": "imageinfo",
            "iiprop": "url|extmetadata|mime|size",
            "iiextmetadatafilter": "Artist|License|LicenseShortName|ObjectName",
        }
        return asked | ({"iiurlwidth": str(self.width)} if self.width else {})

    def found(self, answer: dict[str, Any]) -> list[Found]:
        """The files of an answer, in the search's order; the rest of what is known of them may come in the next one."""
        query = answer.get("query")
        pages = query.get("pages") if isinstance(query, dict) else None
        entries = list(pages.values()) if isinstance(pages, dict) else pages or []  # formatversion 1, 2
        entries = [entry for entry in entries if isinstance(entry, dict) and entry.get("imageinfo")]
        found = [_found(entry) for entry in sorted(entries, key=lambda entry: entry.get("index", 0))]
        return [each for each in found if each is not None]

    def following(self, answer: dict[str, Any], asked: Query) -> Query | None:
        """The same with what the answer says under `continue`; where it says nothing, it was the last."""
        more = answer.get("continue")
        return {**asked, **{name: str(value) for name, value in more.items()}} if isinstance(more, dict) else None


def _found(entry: dict[str, Any]) -> Found | None:
    info = entry["imageinfo"][0]
    url = text(info.get("thumburl")) or text(info.get("url"))
    if url is None or info.get("mime") not in _TYPES:
        return None
    about = info.get("extmetadata") or {}
    told = {name: _plain(value.get("value")) for name, value in about.items() if isinstance(value, dict)}
    name = (text(entry.get("title")) or "").partition(":")[2]
    return Found(
        url=_without_campaign(url),
        page=text(info.get("descriptionurl")),
        title=told.get("ObjectName") or PurePosixPath(name).stem or None,
        author=told.get("Artist"),
        licence=told.get("LicenseShortName") or told.get("License"),
        code=_code(told.get("License") or ""),
    )


def _code(licence: str) -> str | None:
    licence = licence.lower()
    match = _CODE.fullmatch(licence)
    if match is not None:
        return match[1]
    if licence in ("cc0", "cc-zero") or licence.startswith("cc0-"):
        return "cc0"
    return "pdm" if licence == "pd" or licence.startswith("pd-") else None


def _plain(value: object) -> str | None:
    """What is written in a piece of HTML, in one line."""
    if not isinstance(value, str):
        return None
    from selectolax.lexbor import LexborHTMLParser

    root = LexborHTMLParser(value).root
    words = root.text().split() if root is not None else []
    return " ".join(words)[:LONGEST_NAME] or None


def _without_campaign(url: str) -> str:
    """The address without the `utm_` parameters that the API adds, which are no part of where the picture stands."""
    parts = urlsplit(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query) if not name.startswith("utm_")]
    return urlunsplit(parts._replace(query=urlencode(kept)))
