"""Galleries on the web: pages of pictures, one after another, for each class."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal
from urllib.parse import quote, urljoin

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from imageloom.console import warn
from imageloom.errors import DataError
from imageloom.fetch.http import Fetched
from imageloom.fetch.status import Status
from imageloom.params import folder_safe
from imageloom.sources.page import Page, is_selector, read_page
from imageloom.sources.source import Candidate, Context, GetPage, Source, known_class


def _selector(text: str) -> str:
    if not is_selector(text):
        raise ValueError("must be a CSS selector")
    return text


def _address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("must be an http or https address")
    return text


Selector = Annotated[str, AfterValidator(_selector)]
Address = Annotated[str, AfterValidator(_address)]
ByClass = dict[Annotated[str, AfterValidator(folder_safe)], Address]


def _shape(value: object) -> str:
    return "each" if isinstance(value, dict) else "one"


# The tags let pydantic blame the form that was meant, not both.
Start = Annotated[Annotated[Address, Tag("one")] | Annotated[ByClass, Tag("each")], Discriminator(_shape)]


class Gallery(Source):
    """A gallery, whose classes have pages of their own."""

    kind: Literal["gallery"] = Field(description="Pages of pictures on the web.")
    start: Start = Field(description="First page: one address with {class} in it, or `class: address` for each class.")
    item: Selector = Field(description="CSS selector of the elements that name a picture, such as `.result img`.")
    attribute: str = Field(default="src", min_length=1, description="Attribute that holds the picture's address.")
    title: str = Field(default="alt", description="Attribute that holds the picture's title.")
    next: Selector | None = Field(default=None, description="CSS selector of the link to the next page.")
    page_count: Selector | None = Field(default=None, description="CSS selector of the text that says how many pages.")
    pages: int | None = Field(default=None, ge=1, description="How many pages each class has, where it is known.")
    page_address: str | None = Field(
        default=None,
        description="Address of a page, with {page}, such as `?page={page}`; alone, read until nothing new comes.",
    )
    first_page: int = Field(default=1, ge=0, description="Number of the first page.")
    max_pages: int = Field(default=1000, ge=1, description="Read no more pages of a class than this.")
    author: str | None = Field(default=None, description="Who made the pictures.")
    licence: str | None = Field(default=None, description="What allows their use; else the page's rel=license link.")

    @model_validator(mode="after")
    def _one_way_to_the_next_page(self) -> "Gallery":
        ways = [name for name in ("next", "page_count", "pages") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"must have one way to the next page, not {' and '.join(ways)}")
        if self.next and self.page_address:
            raise ValueError("must have one way to the next page, not next and page_address")
        if (self.page_count or self.pages) and self.page_address is None:
            raise ValueError(f"{ways[0]} needs a page_address, such as `?page={{page}}`")
        if self.page_address is not None and "{page}" not in self.page_address:
            raise ValueError("page_address must have {page} in it, such as `?page={page}`")
        if isinstance(self.start, str) and "{class}" not in self.start:
            raise ValueError("start must have {class} in it, or be an address for each class")
        return self

    def classes(self, context: Context) -> tuple[str, ...]:
        """The classes that have a start page."""
        if isinstance(self.start, dict):
            return tuple(known_class(name, context, f"{context.where}.start") for name in self.start)
        if not context.classes:
            raise DataError(f"{context.where}.start: no classes to put for {{class}}", "list them under `classes`")
        return context.classes

    async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """Every picture of every class's pages, in the pages' order."""
        faults = []
        for name in self.classes(context):
            walk = _Walk(self, name, context.where)
            try:
                async for candidate in walk.candidates(self._start_of(name), get):
                    yield candidate
            except DataError as fault:  # one dead page does not keep the other classes from being listed
                faults.append(fault)
        if faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise DataError(faults[0].message + more, faults[0].hint)

    def _start_of(self, name: str) -> str:
        if isinstance(self.start, dict):
            return self.start[name]
        return self.start.replace("{class}", quote(name, safe=""))


@dataclass
class _Walk:
    """One class's way through a gallery."""

    gallery: Gallery
    class_name: str
    where: str
    seen_pages: set[str] = field(default_factory=set)
    seen_pictures: set[str] = field(default_factory=set)
    read: int = 0

    async def candidates(self, start: str, get: GetPage) -> AsyncIterator[Candidate]:
        fetched = await get(start)
        if fetched.status is not Status.OK:
            raise self._fault(f"{start} answered {_answer(fetched)}", "look at the address in a browser")
        page = read_page(fetched)
        numbered = self._numbered(page, start)
        pictures = list(self._new_on(page))
        if not pictures:
            hint = f"check {self.where}.item and .attribute against the page's source"
            raise self._fault(f"{start} answered {_answer(fetched)}, with no {self.gallery.item!r} on it", hint)
        address: str | None = start
        while address is not None:
            self.read += 1
            self.seen_pages |= {address, page.url}
            for candidate in pictures:
                yield candidate
            address = self._next(page, numbered)
            if address is None:
                return
            fetched = await get(address)
            if fetched.status is not Status.OK:
                self._leave(f"{address} answered {_answer(fetched)}: the pages from there on are not listed")
                return
            page = read_page(fetched)
            pictures = list(self._new_on(page))
            if not pictures:
                self._leave(f"{address} shows nothing new, which looks like a loop: left there")
                return

    def _numbered(self, first: Page, start: str) -> Iterator[str] | None:
        """The addresses of the pages after the first, where they are numbered."""
        gallery = self.gallery
        if gallery.page_address is None:
            return None
        count = gallery.pages
        if gallery.page_count is not None:
            count = first.number(gallery.page_count)
            if count is None:
                hint = f"check {self.where}.page_count against the page's source"
                raise self._fault(f"no number of pages under {gallery.page_count!r} on {start}", hint)
        last = gallery.first_page + (count or gallery.max_pages)
        template = gallery.page_address.replace("{class}", quote(self.class_name, safe=""))
        numbers = range(gallery.first_page + 1, last)
        return (urljoin(start, template.replace("{page}", str(number))) for number in numbers)

    def _new_on(self, page: Page) -> Iterator[Candidate]:
        """The page's pictures that no page before it showed."""
        gallery = self.gallery
        licence = gallery.licence or next((node.text(strip=True) for node in page.select("[rel~=license]")), None)
        for node in page.select(gallery.item):
            url = page.resolve(node.attributes.get(gallery.attribute) or "")
            if not node.attributes.get(gallery.attribute) or url is None or url in self.seen_pictures:
                continue
            self.seen_pictures.add(url)
            title = (node.attributes.get(gallery.title) or "").strip() or None
            yield Candidate(url, self.class_name, gallery.kind, page.url, title, gallery.author, licence)

    def _next(self, page: Page, numbered: Iterator[str] | None) -> str | None:
        address = None
        if numbered is not None:
            address = next(numbered, None)
        elif self.gallery.next is not None:
            links = [node.attributes.get("href") for node in page.select(self.gallery.next)]
            address = next((page.resolve(link) for link in links if link), None)
        if address is None:
            return None
        if address in self.seen_pages:
            self._warn(f"{page.url} leads back to {address}, a loop: left there")
            return None
        if self.read >= self.gallery.max_pages:
            self._warn(f"left after max_pages = {self.gallery.max_pages}")
            return None
        return address

    def _fault(self, message: str, hint: str) -> DataError:
        return DataError(f"{self.where} ({self.gallery.kind}), class {self.class_name!r}: {message}", hint)

    def _leave(self, message: str) -> None:
        """Warns of an early end; where no number of pages was given, that is how a class ends."""
        gallery = self.gallery
        if gallery.page_address is None or gallery.page_count or gallery.pages:
            self._warn(message)

    def _warn(self, message: str) -> None:
        warn(f"{self.where} ({self.gallery.kind}), class {self.class_name!r}: {message}")


def _answer(fetched: Fetched) -> str:
    what = fetched.error or f"HTTP {fetched.http_status}"
    return what + (f" after {fetched.attempts} attempts" if fetched.attempts > 1 else "")
