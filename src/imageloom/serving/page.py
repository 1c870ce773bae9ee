"""What people see: the page to drop pictures on, and the page that tells about the interface."""

import functools
import html
from importlib import resources
from typing import Any

from bottle import Bottle, response

from imageloom.serving import answers, docs, problems
from imageloom.serving.problems import RequestError
from imageloom.serving.service import Service

# The files of the pages -> their types, spelt out since the machine's own list of types may lack or twist them.
STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "cards.js": "text/javascript; charset=utf-8",
    "server.js": "text/javascript; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml; charset=utf-8",
}

SHARED = ("icon.svg",)  # with the review page

_HTML = "text/html; charset=utf-8"


def add(app: Bottle, service: Service) -> None:
    """Adds the routes."""
    folder = resources.files("imageloom.serving")
    shared = resources.files("imageloom.web")
    static = {name: (shared if name in SHARED else folder).joinpath(name).read_bytes() for name in STATIC}
    template = (folder / "page.html").read_text(encoding="utf-8")

    @app.get("/")
    def index() -> bytes:
        return _sent(_filled(template, service).encode(), _HTML)

    @app.get("/static/<name>")
    def file(name: str) -> bytes:
        if name not in static:
            raise RequestError(404, f"no /static/{name}")
        return _sent(static[name], STATIC[name])

    @functools.lru_cache(maxsize=1)
    def description(reloads: int) -> tuple[bytes, bytes]:
        """For programs and for people; made once for each model, since it takes long: `reloads` tells when."""
        content = docs.description(service)
        return problems.encoded(content), docs.page(content).encode()

    @app.get("/openapi.json")
    def for_programs() -> bytes:
        response.headers.update(answers.HEADERS)
        return description(service.slot.reloads)[0]

    @app.get("/docs")
    def for_people() -> bytes:
        return _sent(description(service.slot.reloads)[1], _HTML)


def _sent(content: bytes, kind: str) -> bytes:
    response.headers.update({"Content-Type": kind, "Cache-Control": "no-cache"})
    return content


def _filled(template: str, service: Service) -> str:
    settings, model = service.settings, service.slot.current
    values: dict[str, Any] = {
        "version": model.version,
        "classes": len(model.labels),
        "max_bytes": settings.max_bytes,
        "fetches": str(service.remote.is_allowed).lower(),
        "corrects": str(service.inbox is not None).lower(),
        "kept": _kept(service),
    }
    for key, value in values.items():
        template = template.replace("{{" + key + "}}", html.escape(str(value)))
    return template


def _kept(service: Service) -> str:
    """What becomes of the pictures, as the visitor is told."""
    where = "Pictures stay on the machine that runs this server"
    if service.inbox is None:
        return f"{where} and are not kept."
    unsure = ", and those that the model is not sure of," if service.settings.keep_unsure else ""
    return f"{where}. It keeps those that you say are wrong{unsure} for review, and no others."
