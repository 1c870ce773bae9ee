"""What sources that ask a search engine for pictures have in common: terms for each class, pages, and licences."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import AfterValidator, Discriminator, Field, Tag

from imageloom.console import warn
from imageloom.errors import DataError
from imageloom.fetch.http import Fetched, Http
from imageloom.fetch.status import Status
from imageloom.params import folder_safe
from imageloom.sources.source import Candidate, Context, GetPage, Source, gave_nothing, known_class
from imageloom.sources.values import OneOrMore, Pictures

# Licences by Creative Commons' own short names; `pdm` is all that is marked as in the public domain.
Licence = Literal["by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd", "cc0", "pdm"]

Query = dict[str, str]

IDLE_PAGES = 3  # answers in a row without a new picture, after which nothing new is expected


def _address(text: str) -> str:
    if not text.startswith(("http://", "https://")) or "?" in text:
        raise ValueError("must be an http or https address without a query")
    return text


def _shape(value: object) -> str:
    return "each" if isinstance(value, dict) else "every"


Address = Annotated[str, AfterValidator(_address)]
Terms = Annotated[list[Annotated[str, Field(min_length=1)]], OneOrMore, Field(min_length=1)]
ByClass = dict[Annotated[str, AfterValidator(folder_safe)], Terms]
Search = Annotated[Annotated[Terms, Tag("every")] | Annotated[ByClass, Tag("each")], Discriminator(_shape)]


@dataclass(frozen=True)
class Found:
    """One picture in an answer.

    Args:
        url: The picture's address.
        page: Where it is described.
        title: What it is called.
        author: Who made it.
        licence: What allows its use, as people write it.
        code: The licence, where it is one of `Licence`.
    """

    url: str
    page: str | None
    title: str | None
    author: str | None
    licence: str | None
    code: str | None


@dataclass(frozen=True)
class _Wanted:
    """A term that is searched for, for a class of one entry of `scrape.sources`."""

    kind: str
    class_name: str
    term: str
    context: Context

    def __str__(self) -> str:
        return f"{self.context.where} ({self.kind}), class {self.class_name!r}, {self.term!r}"


class SearchSource(Source):
    """A search engine, asked for each class; a subclass speaks its language."""

    base: Address = Field(description="Address of its interface.")
    search: Search = Field(
        default=["{class}"], description="What to search for: terms with {class} in them, or `class: terms` for each."
    )
    licences: list[Licence] = Field(default=[], description="Take pictures under one of these only; all if not given.")
    max_per_class: Pictures = Field(default=200, description="Take this many pictures of each class.")

    def query(self, term: str) -> Query:
        """What to ask first."""
        raise NotImplementedError

    def found(self, answer: dict[str, Any]) -> list[Found]:
        """The pictures in an answer, the best first; what lacks an address is left out."""
        raise NotImplementedError

    def following(self, answer: dict[str, Any], asked: Query) -> Query | None:
        """What to ask after an answer; None where it was the last."""
        raise NotImplementedError

    def asks(self, http: Http) -> GetPage:
        """By an interface for programs, whose own terms bind; for the pictures, robots.txt does as ever."""
        return http.interface

    def classes(self, context: Context) -> tuple[str, ...]:
        """The classes that have terms."""
        if isinstance(self.search, dict):
            return tuple(known_class(name, context, f"{context.where}.search") for name in self.search)
        if not context.classes:
            raise DataError(f"{context.where}.search: no classes to put for {{class}}", "list them under `classes`")
        if len(context.classes) > 1 and not any("{class}" in term for term in self.search):
            hint = "write {class} where the class's name belongs, or give `class: terms` for each"
            raise DataError(f"{context.where}.search: the same terms for every class", hint)
        return context.classes

    async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """What the terms of every class find, class by class and term by term."""
        faults: dict[str, DataError] = {}
        for name in self.classes(context):
            seen: set[str] = set()
            count = 0
            try:
                for term in self._terms_of(name):
                    wanted = _Wanted(self.kind, name, term, context)
                    async with aclosing(self._results(wanted, seen, get)) as results:
                        async for found in results:
                            yield self._candidate(found, name)
                            count += 1
                            if count >= self.max_per_class:
                                break
                    if count >= self.max_per_class:
                        break
                if not count:
                    hint = "try other terms" + (" or more licences" if self.licences else "")
                    raise DataError(f"{context.where} ({self.kind}), class {name!r}: finds nothing", hint)
            except DataError as fault:  # one class that is not found does not keep the others from being listed
                faults[name] = fault
                context.unread.add(name)
        if faults:
            raise gave_nothing(faults)

    def _terms_of(self, name: str) -> list[str]:
        if isinstance(self.search, dict):
            return self.search[name]
        return [term.replace("{class}", name) for term in self.search]

    def _candidate(self, found: Found, name: str) -> Candidate:
        return Candidate(found.url, name, self.kind, found.page, found.title, found.author, found.licence)

    async def _results(self, wanted: _Wanted, seen: set[str], get: GetPage) -> AsyncGenerator[Found, None]:
        """What one term finds, page after page; a fault after the first page ends it with a warning."""
        asked: Query | None = (query := self.query(wanted.term))
        idle = 0
        while asked is not None and idle < IDLE_PAGES:
            try:
                answer = await self._ask(asked, wanted, get)
                shown = self._read(answer, wanted)
            except DataError as fault:
                if asked is query:
                    raise
                warn(f"{fault.message}: what it would list from there on is left out")
                wanted.context.unread.add(wanted.class_name)
                return
            idle += 1
            for found in shown:
                if found.url in seen:
                    continue
                seen.add(found.url)
                idle = 0
                if not self.licences or found.code in self.licences:
                    yield found
            asked = self.following(answer, asked)

    async def _ask(self, query: Query, wanted: _Wanted, get: GetPage) -> dict[str, Any]:
        address = f"{self.base}?{urlencode(query)}"
        fetched = await get(address)
        if fetched.status is Status.RATE_LIMITED:
            hint = "wait, take fewer pictures or classes, or raise scrape.longest_wait and scrape.retries"
            raise DataError(f"{wanted}: {self.base} allows no more requests now ({fetched.error})", hint)
        if fetched.status is not Status.OK:
            what = "answered" if fetched.http_status else "gave no answer:"
            message = f"{wanted}: {address} {what} {fetched.error or fetched.http_status}"
            raise DataError(message, self._hint(fetched))
        try:
            answer = json.loads(fetched.body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise DataError(f"{wanted}: {address} answered no JSON object", "check base: it must be the interface")
        if isinstance(answer.get("error"), dict):  # MediaWiki's errors come as HTTP 200
            error = answer["error"]
            raise DataError(f"{wanted}: {address}: {error.get('code')}: {error.get('info')}", "see what it says")
        return answer

    def _read(self, answer: dict[str, Any], wanted: _Wanted) -> list[Found]:
        try:
            return self.found(answer)
        except (AttributeError, LookupError, TypeError):  # lists where its documentation has names, and such
            message = f"{wanted}: {self.base} answered in another shape than {self.kind} does"
            raise DataError(message, "check base: it must be the interface") from None

    def _hint(self, fetched: Fetched) -> str:
        """What to do about an answer that is none: only what was refused can be for the parameters."""
        if fetched.passing:
            whose = "the service" if fetched.http_status else "this machine's network, or the service,"
            return f"{whose} is down or busy: crawl again later"
        if fetched.http_status == 403:
            return "it refuses who asks, not what: set scrape.contact, as its terms want"
        if fetched.status is Status.HTTP_ERROR:
            return f"check {self.kind}'s parameters against what the interface allows"
        return "check base: it must be the interface's address"


def text(value: object) -> str | None:
    """A field of an answer that should be text, without space around it; None where it is missing or empty."""
    return (value.strip() or None) if isinstance(value, str) else None
