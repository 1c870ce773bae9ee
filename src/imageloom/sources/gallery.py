"""Galleries on the web: pages of pictures, one after another, for each class."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Discriminator, Field, PrivateAttr, Tag, model_validator

from imageloom.errors import DataError
from imageloom.params import folder_safe
from imageloom.sources.page import is_selector
from imageloom.sources.source import Candidate, Context, GetPage, Source, gave_nothing, known_class
from imageloom.sources.values import Encoding, OneOrMore, Pages, Pictures
from imageloom.sources.walk import Walk


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
Attributes = Annotated[list[Annotated[str, Field(min_length=1)]], OneOrMore, Field(min_length=1)]


def _shape(value: object) -> str:
    return "each" if isinstance(value, dict) else "one"


# The tags let pydantic blame the form that was meant, not both.
Start = Annotated[Annotated[Address, Tag("one")] | Annotated[ByClass, Tag("each")], Discriminator(_shape)]


class Gallery(Source):
    """A gallery, whose classes have pages of their own."""

    kind: Literal["gallery"] = Field(description="Pages of pictures on the web.")
    start: Start = Field(description="First page: one address with {class} in it, or `class: address` for each class.")
    follow: Annotated[list[Selector], OneOrMore] = Field(
        default=[],
        max_length=3,
        description="CSS selectors of links to the pages that show the item, one a level deep.",
    )
    item: Selector = Field(description="CSS selector of the elements that name a picture, such as `.result img`.")
    attribute: Attributes = Field(
        default=["src"],
        description="Attribute that holds the picture's address; of several, the first that has one: [data-src, src].",
    )
    title: str = Field(default="alt", description="Attribute that holds the picture's title.")
    next: Selector | None = Field(default=None, description="CSS selector of the link to the next page.")
    page_count: Selector | None = Field(default=None, description="CSS selector of the text that says how many pages.")
    pages: Pages | None = Field(default=None, description="How many pages each class has, where it is known.")
    page_address: str | None = Field(
        default=None,
        description="Address of a page, with {page}, such as `?page={page}`; alone, read until nothing new comes.",
    )
    first_page: int = Field(default=1, ge=0, le=1_000_000, description="Number of the first page.")
    page_step: int = Field(
        default=1, ge=1, le=10_000, description="What to add for the next one; 20 where {page} counts pictures."
    )
    max_pages: Pages = Field(default=1000, description="Read no more pages of a class than this.")
    max_per_class: Pictures | None = Field(default=None, description="Take this many of each class; all if not given.")
    encoding: Encoding | None = Field(default=None, description="What pages are in that do not say it, such as gbk.")
    author: str | None = Field(default=None, description="Who made the pictures.")
    licence: str | None = Field(default=None, description="What allows their use; else the page's rel=license link.")

    _turned: bool = PrivateAttr(default=False)  # whether any page had a next one, or no more were wanted

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

    @property
    def doubt(self) -> str:
        """A selector `next` that no page has."""
        return f"no page has {self.next!r}, check next" if self.next and not self._turned else ""

    def turn(self) -> None:
        """Notes that a page has a next one, or that no more are wanted."""
        self._turned = True

    async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """Every picture of every class's pages, in the pages' order."""
        faults: dict[str, DataError] = {}
        for name in self.classes(context):
            count = 0
            try:
                async with aclosing(Walk(self, name, context).candidates(self._start_of(name), get)) as walk:
                    async for candidate in walk:
                        yield candidate
                        count += 1
                        if count == self.max_per_class:
                            self.turn()
                            break
            except DataError as fault:  # one dead page does not keep the other classes from being listed
                faults[name] = fault
                context.unread.add(name)
        if faults:
            raise gave_nothing(faults)

    def _start_of(self, name: str) -> str:
        if isinstance(self.start, dict):
            return self.start[name]
        return self.start.replace("{class}", quote(name, safe=""))
