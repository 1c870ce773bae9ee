"""One class's way through a gallery: page after page, and from each to the pages that show its pictures."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin

from imageloom.console import counted, warn
from imageloom.errors import DataError
from imageloom.fetch.http import Fetched
from imageloom.fetch.status import Status
from imageloom.sources import srcset
from imageloom.sources.page import Page, read_page
from imageloom.sources.source import Candidate, Context, GetPage

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

    from imageloom.sources.gallery import Gallery

AT_A_TIME = 8  # of the pages that one page leads to; the client's own limits hold as well


@dataclass
class Walk:
    """One class's way through a gallery.

    Args:
        gallery: What to look for.
        class_name: The class.
        context: What the gallery is told.
    """

    gallery: "Gallery"
    class_name: str
    context: Context
    _seen_pages: set[str] = field(default_factory=set)
    _seen_links: set[str] = field(default_factory=set)
    _seen_pictures: set[str] = field(default_factory=set)
    _read: int = 0
    _new: int = 0  # pictures, or links to follow, that the page shows and none before it did
    _dead: list[str] = field(default_factory=list)  # what followed links answered

    async def candidates(self, start: str, get: GetPage) -> AsyncGenerator[Candidate, None]:
        """Every picture from the first page on.

        Raises:
            DataError: The first page is dead, or leads to no picture.
        """
        fetched = await get(start)
        if fetched.status is not Status.OK:
            raise self._fault(f"{start} answered {_answer(fetched)}", "look at the address in a browser")
        page = read_page(fetched, self.gallery.encoding)
        numbered = self._numbered(page, start)
        address: str | None = start
        while address is not None:
            self._read += 1
            self._seen_pages |= {address, page.url}
            count = self._new = 0
            async for candidate in self._shown_by(page, get):
                count += 1
                yield candidate
            if address == start and not count:
                raise self._nothing(start, fetched)
            if not self._new:
                self._leave(f"{address} shows nothing new, which looks like a loop: left there")
                break
            address = self._next(page, numbered)
            if address is None:
                break
            fetched = await get(address)
            if fetched.status is not Status.OK:
                self._break_off(address, fetched)
                break
            page = read_page(fetched, self.gallery.encoding)
        if self._dead:
            self._warn(f"dead: {counted(len(self._dead), 'followed link')}, such as {self._dead[0]}")

    def _numbered(self, first: Page, start: str) -> Iterator[str] | None:
        """The addresses of the pages after the first, where they are numbered."""
        gallery = self.gallery
        if gallery.page_address is None:
            return None
        count = gallery.pages
        if gallery.page_count is not None:
            count = first.number(gallery.page_count)
            if count is None:
                hint = f"check {self.context.where}.page_count against the page's source"
                raise self._fault(f"no number of pages under {gallery.page_count!r} on {start}", hint)
        template = gallery.page_address.replace("{class}", quote(self.class_name, safe=""))
        numbers = (gallery.first_page + number * gallery.page_step for number in range(1, count or gallery.max_pages))
        return (urljoin(start, template.replace("{page}", str(number))) for number in numbers)

    async def _shown_by(self, page: Page, get: GetPage, depth: int = 0) -> AsyncIterator[Candidate]:
        """The new pictures of a page, or of the pages that it leads to, `depth` levels below a list's page."""
        follow = self.gallery.follow
        if depth == len(follow):
            found = self._pictures(page)
            if not depth:
                self._new = len(found)
            for candidate in found:
                yield candidate
            return
        links = self._links(page, follow[depth])
        if not depth:
            self._new = len(links)
        for place in range(0, len(links), AT_A_TIME):
            some = links[place : place + AT_A_TIME]
            answers = await asyncio.gather(*(get(link) for link in some))
            for link, fetched in zip(some, answers, strict=True):
                if fetched.status is not Status.OK:
                    self._dead.append(f"{link} ({_answer(fetched)})")
                    if fetched.passing:  # else what it showed is listed no more
                        self.context.unread.add(self.class_name)
                    continue
                async for candidate in self._shown_by(read_page(fetched, self.gallery.encoding), get, depth + 1):
                    yield candidate

    def _links(self, page: Page, selector: str) -> list[str]:
        """Where the page's elements lead that none before it led to."""
        found = (page.resolve(node.attributes.get("href") or "") for node in page.select(selector))
        new = [link for link in dict.fromkeys(found) if link and link not in self._seen_links]
        self._seen_links |= {*new}
        return new

    def _pictures(self, page: Page) -> list[Candidate]:
        """The page's pictures that no page before it showed."""
        gallery = self.gallery
        licence = gallery.licence or next((node.text(strip=True) for node in page.select("[rel~=license]")), None)
        found = []
        for node in page.select(gallery.item):
            url = self._address_of(node, page)
            if url is None or url in self._seen_pictures:
                continue
            self._seen_pictures.add(url)
            title = (node.attributes.get(gallery.title) or "").strip() or None
            found.append(Candidate(url, self.class_name, gallery.kind, page.url, title, gallery.author, licence))
        return found

    def _address_of(self, node: "LexborNode", page: Page) -> str | None:
        """The picture's address: in the first attribute that holds one, the largest of those in a `srcset`."""
        for attribute in self.gallery.attribute:
            value = node.attributes.get(attribute) or ""
            links = srcset.addresses(value) if attribute.endswith("srcset") else [value]
            for link in links:
                url = page.resolve(link) if link.strip() else None
                if url is not None:
                    return url
        return None

    def _next(self, page: Page, numbered: Iterator[str] | None) -> str | None:
        address = None
        if numbered is not None:
            address = next(numbered, None)
        elif self.gallery.next is not None:
            links = [node.attributes.get("href") for node in page.select(self.gallery.next)]
            address = next((page.resolve(link) for link in links if link), None)
            if address is not None:
                self.gallery.turn()
        if address is None:
            return None
        if address in self._seen_pages:
            self._warn(f"{page.url} leads back to {address}, a loop: left there")
            return None
        if self._read >= self.gallery.max_pages:
            self._warn(f"left after max_pages = {self.gallery.max_pages}")
            return None
        return address

    def _nothing(self, start: str, fetched: Fetched) -> DataError:
        gallery = self.gallery
        if not gallery.follow:
            hint = f"check {self.context.where}.item and .attribute against the page's source"
            return self._fault(f"{start} answered {_answer(fetched)}, with no {gallery.item!r} on it", hint)
        if not self._seen_links:
            hint = f"check {self.context.where}.follow against the page's source"
            return self._fault(f"{start} answered {_answer(fetched)}, with no {gallery.follow[0]!r} on it", hint)
        hint = f"check {self.context.where}.follow, .item and .attribute against the source of such a page"
        dead = f"; dead are {len(self._dead):,}, such as {self._dead[0]}" if self._dead else ""
        pages = counted(len(self._seen_links), "page")
        return self._fault(f"{start} leads to {pages}, with no {gallery.item!r} on any{dead}", hint)

    def _fault(self, message: str, hint: str) -> DataError:
        return DataError(f"{self.context.where} ({self.gallery.kind}), class {self.class_name!r}: {message}", hint)

    def _break_off(self, address: str, fetched: Fetched) -> None:
        """Warns of a dead page; where no number of pages was given, one that its server does not have is the end."""
        is_none = fetched.status in (Status.GONE, Status.HTTP_ERROR) and not fetched.passing
        if not (is_none and self._is_open_ended):
            self.context.unread.add(self.class_name)
            self._warn(f"{address} answered {_answer(fetched)}: the pages from there on are not listed")

    @property
    def _is_open_ended(self) -> bool:
        gallery = self.gallery
        return gallery.page_address is not None and not (gallery.page_count or gallery.pages)

    def _leave(self, message: str) -> None:
        """Warns of an early end; where no number of pages was given, that is how a class ends."""
        if not self._is_open_ended:
            self._warn(message)

    def _warn(self, message: str) -> None:
        warn(f"{self.context.where} ({self.gallery.kind}), class {self.class_name!r}: {message}")


def _answer(fetched: Fetched) -> str:
    what = fetched.error or f"HTTP {fetched.http_status}"
    return what + (f" after {fetched.attempts} attempts" if fetched.attempts > 1 else "")
