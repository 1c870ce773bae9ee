"""The review page over HTTP, as a WSGI application."""

import getpass
import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from typing import Any

from bottle import Bottle, HTTPResponse, redirect, request, response

from imageloom import decisions
from imageloom.decisions import KINDS, Decision
from imageloom.errors import ImageError, ImageloomError
from imageloom.features import FeatureStore
from imageloom.files import Paths
from imageloom.review.board import DECIDED, Board
from imageloom.review.door import Door
from imageloom.review.neighbours import Neighbours
from imageloom.review.queues import QUEUES
from imageloom.review.thumbnails import SIDES, Thumbnails
from imageloom.web import problems
from imageloom.web.problems import RequestError

# The files of the page -> their types, spelt out since the machine's own list of types may lack or twist them.
STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "view.js": "text/javascript; charset=utf-8",
    "server.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml; charset=utf-8",
}
_HTML = "text/html; charset=utf-8"
_SHARED = "icon.svg"  # with the server's page

LONGEST_AGO = 30 * 24 * 3600  # seconds that a decision may have waited in a browser

MOST_AT_ONCE = 50  # entries of a batch
MOST_DECIDED = 1000  # decisions in a request: a group of near duplicates is decided about at once
NEIGHBOURS = 8

# A name of a file by its content never means another content.
_FOR_EVER = "private, max-age=31536000, immutable"

_SHA = "re:[0-9a-f]{64}"


class Review:
    """What the routes share.

    Args:
        paths: The project.
        door: Who is let in.
        who: Who decides, where a visitor does not say.

    Raises:
        ImageloomError: Nothing was crawled yet, or a table or the decisions are damaged.
    """

    def __init__(self, paths: Paths, door: Door, who: str) -> None:
        self.paths, self.door, self.who = paths, door, who
        # What tells projects apart that are reviewed at one address, one after the other.
        self.project = hashlib.sha256(str(paths.root.resolve()).encode()).hexdigest()[:16]
        self.board = Board(paths)
        self.thumbnails = Thumbnails(paths.thumbnails)
        self.neighbours = Neighbours(FeatureStore(paths.features))

    def shown(self, kind: str, sha256: str) -> bytes:
        """A picture for a browser.

        Raises:
            RequestError: 404 or 422, there is no such picture, or it cannot be opened.
        """
        path = self.board.pictures.path(sha256, self.paths)
        if path is None:
            raise RequestError(404, "the project has no such picture")
        try:
            return self.thumbnails.get(kind, sha256, path)
        except ImageError as fault:
            raise RequestError(422, fault.message) from None
        except (ImageloomError, OSError):
            raise RequestError(404, "the picture's file cannot be read") from None


def me() -> str:
    """The name of the user of this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "someone"


def create_app(review: Review) -> Bottle:
    """The application, which can be mounted in another: its page asks for everything by relative addresses."""
    app = Bottle()
    app.default_error_handler = problems.handler
    app.add_hook("before_request", review.door.check)
    app.add_hook("after_request", review.door.add_headers)
    _add_page(app, review)
    _add_session(app, review)
    _add_pictures(app, review)
    _add_decisions(app, review)
    return app


def _add_page(app: Bottle, review: Review) -> None:
    folder, shared = resources.files("imageloom.review"), resources.files("imageloom.web")
    static = {name: (shared if name == _SHARED else folder).joinpath(name).read_bytes() for name in STATIC}
    page = (folder / "page.html").read_bytes()

    @app.get("/")
    def index() -> bytes:
        if token := request.query.getunicode("token"):
            with suppress(RequestError):  # the page asks for another
                review.door.enter(token)
            redirect("./")  # so that the token does not stay in the address
        return _sent(page, _HTML)

    @app.get("/static/<name>")
    def file(name: str) -> bytes:
        if name not in static:
            raise RequestError(404, f"no /static/{name}")
        return _sent(static[name], STATIC[name])


def _add_session(app: Bottle, review: Review) -> None:
    def session(visitor: str) -> bytes:
        board = review.board
        labels = {spec.name: spec.label for spec in board.pictures.classes}
        content = {
            "csrf": review.door.csrf(visitor),
            "project": review.project,
            "who": review.who,
            "classes": [{"name": name, "label": labels.get(name, name)} for name in board.class_names()],
            "open_classes": board.pictures.open_classes,
            "queues": board.progress(),
            "edition": board.edition,
        }
        return _json(content)

    @app.get("/session")
    def begin() -> bytes:
        visitor = review.door.visitor()
        review.board.refresh()
        return session(visitor)

    @app.post("/session")
    def enter() -> bytes:
        return session(review.door.enter(str(_body().get("token", ""))))


def _add_pictures(app: Bottle, review: Review) -> None:
    @app.get("/queues/<name>")
    def batch(name: str) -> bytes:
        review.door.visitor()
        if name not in (*QUEUES, DECIDED):
            raise RequestError(404, f"no queue {name}")
        board = review.board
        board.refresh()
        start, count = _number("from", 0), min(_number("count", MOST_AT_ONCE), MOST_AT_ONCE)
        if _number("edition", board.edition) != board.edition:  # a stage has run: places mean others now
            start = 0
        entries, end = board.batch(name, start, count)
        return _json({"edition": board.edition, "entries": entries, "next": end, "queues": board.progress()})

    @app.get(f"/<kind:re:{'|'.join(SIDES)}>/<sha256:{_SHA}>.jpg")
    def picture(kind: str, sha256: str) -> bytes:
        review.door.visitor()
        content = review.shown(kind, sha256)
        response.headers.update({"Content-Type": "image/jpeg", "Cache-Control": _FOR_EVER})
        return content

    @app.get(f"/neighbours/<sha256:{_SHA}>")
    def neighbours(sha256: str) -> bytes:
        review.door.visitor()
        board = review.board
        found = review.neighbours.of(sha256, NEIGHBOURS, board.edition)
        known = [(name, similarity) for name, similarity in found if board.knows(name)]
        told = [{"id": name, "class": board.class_of(name), "similarity": similarity} for name, similarity in known]
        return _json({"neighbours": told})


def _add_decisions(app: Bottle, review: Review) -> None:
    @app.post("/decisions")
    def decide() -> bytes:
        review.door.check_write()
        body = _body()
        if body.get("project", review.project) != review.project:
            raise RequestError(409, "another project is reviewed at this address now")
        wanted = _decisions(body, review)
        board = review.board
        before = {one.sha256: board.class_of(one.sha256) for one in wanted}
        try:
            written = board.decide(wanted, str(body.get("id", ""))[:100])
        except ImageloomError as fault:
            raise RequestError(507, f"{fault.message}; {fault.hint}") from None
        overtaken = [
            one.sha256 for one in written if one.decision not in ("undo", "skip") and one.from_ != before[one.sha256]
        ]
        content = {
            "written": len(written),
            "overtaken": [board.told(sha256) for sha256 in overtaken],
            "queues": board.progress(),
            "classes": board.class_names(),
        }
        return _json(content)


def _decisions(content: dict[str, Any], review: Review) -> Sequence[Decision]:
    """The decisions that a request asks for.

    Raises:
        RequestError: 400, one is not what it must be.
    """
    queue, wanted = content.get("queue"), content.get("decisions")
    if queue not in (*QUEUES, DECIDED):
        raise RequestError(400, f"queue must be one of {', '.join(QUEUES)}")
    if not isinstance(wanted, list) or not 0 < len(wanted) <= MOST_DECIDED:
        raise RequestError(400, f"decisions must be a list of 1 to {MOST_DECIDED}")
    # A spreadsheet program takes what begins with one of these for a formula.
    who = str(content.get("who") or review.who).strip()[:100].lstrip("=+-@ ")
    moment = decisions.now(_seconds_ago(content.get("ago", 0)))
    found = [_decision(one, who, moment, str(queue)) for one in wanted]
    for one in found:
        if not review.board.knows(one.sha256):
            raise RequestError(400, "the project has no such picture")
        is_class = one.to in review.board.class_names() or review.board.pictures.open_classes
        if one.decision in ("label", "relabel") and not is_class:
            raise RequestError(400, "to must be one of the classes in params.yaml")
    return found


def _seconds_ago(content: Any) -> float:
    """How long a decision has waited to be sent; a browser whose clock is wrong cannot make it one of the future."""
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise RequestError(400, "ago must be a number of seconds")
    bounded = min(max(content, 0), LONGEST_AGO)  # first, as a whole number may be too large to be asked what it is
    if math.isnan(bounded):
        raise RequestError(400, "ago must be a number of seconds")
    return bounded


def _decision(content: Any, who: str, moment: str, queue: str) -> Decision:
    names = ("sha256", "decision", "from", "to")
    parts = [content.get(name, "") for name in names] if isinstance(content, dict) else [None]
    if not all(isinstance(part, str) and len(part) <= 200 for part in parts):
        raise RequestError(400, f"a decision has a sha256, a decision of {', '.join(KINDS)}, a from and a to")
    sha256, decision, from_, to = map(str, parts)
    try:
        return Decision(sha256, decision, from_, to, who, moment, queue)
    except ValueError as fault:
        raise RequestError(400, str(fault)) from None


def _body() -> dict[str, Any]:
    if request.content_type.partition(";")[0].strip().lower() != "application/json":
        raise RequestError(415, "send JSON")
    try:
        content = request.json
        json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair cannot be written down
    except (HTTPResponse, RecursionError, UnicodeEncodeError):  # the first is Bottle's answer to what is no JSON
        content = None
    if not isinstance(content, dict):
        raise RequestError(400, "the body must be a JSON object")
    return content


def _number(name: str, default: int) -> int:
    text = request.query.getunicode(name) or ""
    if not text:
        return default
    if not text.isdecimal() or len(text) > 12:
        raise RequestError(400, f"{name} must be a whole number")
    return int(text)


def _json(content: dict[str, Any]) -> bytes:
    return _sent(problems.encoded(content), "application/json", "no-store")


def _sent(content: bytes, kind: str, kept: str = "no-cache") -> bytes:
    response.headers.update({"Content-Type": kind, "Cache-Control": kept})
    return content
