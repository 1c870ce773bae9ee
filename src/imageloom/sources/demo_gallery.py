"""The demo's gallery: photographs of solar cells as category pages on loopback, a small web to crawl."""

import asyncio
import hashlib
import importlib.util
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from imageloom.errors import DataError, ImageloomError

if TYPE_CHECKING:
    from aiohttp import web

PER_PAGE = 48
DEFAULT_PORT = 8780
AUTHOR = (
    "Sergiu Deitsch, Vincent Christlein, Stephan Berger, Claudia Buerhop-Lutz, Andreas Maier, Florian Gallwitz, "
    "Christian Riess"
)
CITATION = "https://doi.org/10.1016/j.solener.2019.02.067"
LICENCE = "CC BY-NC-SA 4.0"
LICENCE_ADDRESS = "https://creativecommons.org/licenses/by-nc-sa/4.0/"

# What the data set's experts said of a cell -> the class shown here; their 401 doubtful cells are in none.
CLASSES = {"0.0": "functional", "1.0": "defective"}

# One date for every picture: the files' own dates are those of their installation, and differ between machines.
_LAST_MODIFIED = "Tue, 01 Jan 2019 00:00:00 GMT"


@dataclass(frozen=True)
class Photograph:
    """One cell's picture: its class, its file, and what is written below it."""

    class_name: str
    file: Path
    title: str


@cache
def photographs() -> tuple[Photograph, ...]:
    """The pictures of the `elpv-dataset` package whose class is certain, in its order.

    Raises:
        DataError: The package is not installed, or is not what it should be.
    """
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or not spec.origin:
        raise DataError("the demo's pictures are not installed", "`make run` does it; or install the group `demo`")
    data = Path(spec.origin).parent / "data"
    try:
        lines = (data / "labels.csv").read_text(encoding="utf-8").splitlines()
    except OSError as fault:
        hint = "install the group `demo` again"
        raise DataError(f"cannot read the demo's labels: {fault.strerror}", hint) from None
    found = []
    for line in lines:
        name, probability, kind = line.split()
        if probability in CLASSES:
            file = data / name
            title = f"{file.stem.replace('cell', 'Cell ')}, {kind}crystalline"
            found.append(Photograph(CLASSES[probability], file, title))
    return tuple(found)


class DemoGallery:
    """A web server on loopback in a thread of its own; use it as `with DemoGallery() as gallery`.

    Args:
        limit: Show the first so many pictures of each class, all where it is None. Raise it to add pictures while
            the gallery is served.
        port: Where to listen; 0 takes any free port.
        port_setting: What a person sets to listen elsewhere, for the hint.

    Attributes:
        address: Where it is served, such as `http://127.0.0.1:8780`.
        bodies: How many pictures were sent; an answer 304 sends none.
    """

    def __init__(self, limit: int | None = None, port: int = 0, port_setting: str = "--port") -> None:
        self.limit = limit
        self.bodies = 0
        self.address = ""
        self._port = port
        self._port_setting = port_setting
        self._photographs: dict[str, list[Photograph]] = {name: [] for name in CLASSES.values()}
        self._places: dict[tuple[str, str], int] = {}
        for photo in photographs():
            shelf = self._photographs[photo.class_name]
            self._places[photo.class_name, photo.file.name] = len(shelf)
            shelf.append(photo)
        self._tags: dict[Path, str] = {}
        self._ready = threading.Event()
        self._fault: Exception | None = None
        self._loop: asyncio.AbstractEventLoop
        self._done: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> "DemoGallery":
        self._thread.start()
        self._ready.wait()
        if self._fault is not None:
            number = getattr(self._fault, "errno", None)
            why = os.strerror(number) if number else self._fault
            message = f"the demo's gallery cannot listen on port {self._port}: {why}"
            raise ImageloomError(message, f"close what listens there, or set {self._port_setting} to a free port")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    def pictures(self, class_name: str) -> list[Photograph]:
        """What is shown of one class now."""
        return self._photographs.get(class_name, [])[: self.limit]

    async def _serve(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._listening():
                self._ready.set()
                await self._done.wait()
        except (OSError, OverflowError) as fault:  # taken, not allowed, or no port's number
            self._fault = fault
        finally:
            self._ready.set()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        from aiohttp import web

        application = web.Application()
        application.router.add_get("/", self._front)
        application.router.add_get("/{class}/", self._category)
        application.router.add_get("/{class}/{name}", self._picture)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self._port)
            await site.start()
            self.address = "http://{}:{}".format(*runner.addresses[0][:2])
            yield
        finally:
            await runner.cleanup()

    async def _front(self, request: "web.Request") -> "web.Response":
        cards = []
        for name in CLASSES.values():
            shown = self.pictures(name)
            images = "".join(_thumbnail(photo, lazy=False) for photo in shown[:4])
            cards.append(f'<a class="card" href="/{name}/"><div>{images}</div><b>{name}</b> {len(shown):,} cells</a>')
        return _html("Solar cells", f"<p>Electroluminescence photographs.</p><nav>{''.join(cards)}</nav>")

    async def _category(self, request: "web.Request") -> "web.Response":
        from aiohttp import web

        name, number = request.match_info["class"], request.query.get("page", "1")
        shown = self.pictures(name)
        count = max(1, -(-len(shown) // PER_PAGE))
        if not shown or not number.isdecimal() or not 1 <= int(number) <= count:
            raise web.HTTPNotFound
        page = int(number)
        figures = (_figure(photo) for photo in shown[(page - 1) * PER_PAGE : page * PER_PAGE])
        back = f'<a rel="prev" href="?page={page - 1}">previous</a>' if page > 1 else ""
        on = f'<a rel="next" href="?page={page + 1}">next</a>' if page < count else ""
        box = f'<p class="pages">{back} <span class="page-count">page {page} of {count}</span> {on}</p>'
        return _html(name.capitalize(), f'<p><a href="/">all classes</a></p>{box}<main>{"".join(figures)}</main>{box}')

    async def _picture(self, request: "web.Request") -> "web.Response":
        from aiohttp import web

        class_name = request.match_info["class"]
        place = self._places.get((class_name, request.match_info["name"]))
        if place is None or (self.limit is not None and place >= self.limit):
            raise web.HTTPNotFound
        photo = self._photographs[class_name][place]
        headers = {"Last-Modified": _LAST_MODIFIED, "Cache-Control": "no-cache"}
        body = b""
        if photo.file not in self._tags:
            body = photo.file.read_bytes()
            self._tags[photo.file] = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers["ETag"] = self._tags[photo.file]
        asked = request.headers.get("If-None-Match")
        dated = asked is None and request.headers.get("If-Modified-Since") == _LAST_MODIFIED
        if dated or (asked is not None and headers["ETag"] in asked):
            return web.Response(status=304, headers=headers)
        self.bodies += 1
        return web.Response(body=body or photo.file.read_bytes(), content_type="image/png", headers=headers)


def _thumbnail(photo: Photograph, lazy: bool = True) -> str:
    loading = ' loading="lazy"' if lazy else ""
    address = f"/{photo.class_name}/{photo.file.name}"
    return f'<img src="{address}" alt="{escape(photo.title)}" width="300" height="300"{loading}>'


def _figure(photo: Photograph) -> str:
    return f'<figure class="item">{_thumbnail(photo)}<figcaption>{escape(photo.title)}</figcaption></figure>'


def _html(title: str, content: str) -> "web.Response":
    from aiohttp import web

    credit = (
        f'<footer>Photographs by <a rel="author" href="{CITATION}">{AUTHOR}</a>, '
        f'<a rel="license" href="{LICENCE_ADDRESS}">{LICENCE}</a>.</footer>'
    )
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    meta = '<meta name="viewport" content="width=device-width">'
    return web.Response(text=f"{head}{meta}<h1>{title}</h1>{content}{credit}", content_type="text/html")


_STYLE = """
:root { color-scheme: light dark; --edge: color-mix(in srgb, currentColor 18%, transparent) }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem }
nav { display: flex; flex-wrap: wrap; gap: 1.5rem }
figure, .card { margin: 0; border: 1px solid var(--edge); border-radius: .6rem; overflow: hidden; color: inherit }
.card { padding-bottom: .6rem; width: 20rem; text-align: center; text-decoration: none }
.card div { display: grid; grid-template-columns: 1fr 1fr; margin-bottom: .6rem }
.card:hover { border-color: currentColor }
img { display: block; width: 100%; height: auto }
figcaption { padding: .4rem .6rem; font-size: .8rem }
.pages { text-align: center }
footer { margin-top: 2rem; padding-top: 1rem; border-top: 1px solid var(--edge); font-size: .85rem }
"""
