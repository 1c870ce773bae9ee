"""`imageloom demo`: serves the demo's gallery of photographs. As a source it is served while it is crawled."""

import argparse
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Literal

from pydantic import Field

from imageloom.console import say
from imageloom.sources.demo_gallery import AUTHOR, CLASSES, DEFAULT_PORT, LICENCE, DemoGallery, photographs
from imageloom.sources.gallery import Gallery
from imageloom.sources.source import Candidate, Context, GetPage, Source, known_class
from imageloom.sources.values import Pictures


class Demo(Source):
    """The demo's gallery, crawled like any other."""

    kind: Literal["demo"] = Field(description="The embedded gallery of solar cells.")
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535, description="Where to serve it.")
    limit: Pictures | None = Field(default=None, description="Show so many pictures of each class; all if not given.")

    def classes(self, context: Context) -> tuple[str, ...]:
        """Its two classes."""
        photographs()
        return tuple(known_class(name, context, f"{context.where} (demo)") for name in CLASSES.values())

    @property
    def home(self) -> str:
        """Where it is served: at another port it is the same gallery."""
        return f"127.0.0.1:{self.port}"

    def allowed_hosts(self, context: Context) -> Sequence[str]:
        """Where it is served."""
        return (self.home,)

    def opened(self, context: Context) -> AbstractContextManager[object]:
        """Serves the gallery."""
        return DemoGallery(self.limit, self.port, f"{context.where}.port")

    async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
        """What the gallery's pages show, by the code that crawls galleries."""
        address = f"http://{self.home}"
        gallery = Gallery(
            kind="gallery",
            start={name: f"{address}/{name}/?page=1" for name in CLASSES.values()},
            item=".item img",
            next="a[rel=next]",
            author=AUTHOR,
            licence=LICENCE,
        )
        async for candidate in gallery.candidates(context, get):
            yield replace(candidate, source=self.kind)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `imageloom demo`."""
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"0: any free one (default: {DEFAULT_PORT})")
    parser.add_argument("--limit", type=_positive, metavar="N", help="show N pictures of each class only")


def run(arguments: argparse.Namespace) -> None:
    """Serves the gallery until Ctrl-C."""
    with DemoGallery(arguments.limit, arguments.port) as gallery:
        say(f"the demo's gallery is at {gallery.address}/ (Ctrl-C ends it)")
        while True:
            time.sleep(3600)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more; found {text!r}")
    return int(text)
