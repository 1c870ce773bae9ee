"""The HTTP interface of an exported model, as a WSGI application.

| request | answer |
| --- | --- |
| `POST /predict?top_k=N` | what is on the picture that is the body or the one file of a form, and whether it is known |
| `GET /labels` | the classes, in the model's order, and the model's version |
| `GET /healthz` | `{"status": "ok"}` |
| `GET /` | a page to drop pictures on |

Every error is JSON of the type `application/problem+json` (RFC 9457).
"""

import html
import json
import time
from http.client import responses
from importlib import resources
from typing import Any

from bottle import Bottle, HTTPError, request, response

from imageloom.errors import ImageError
from imageloom.predictor import Predictor
from imageloom.serving import forms

MAX_BYTES = 32 * 2**20

PROBLEM = "application/problem+json"

# The files of the page -> their types, spelt out since the machine's own list of types may lack or twist them.
STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml; charset=utf-8",
}

# Nothing but our own files and the pictures that the visitor chose; no other site may frame the page.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

# What is wrong with a picture (`ImageError.kind`) -> the status that says so.
STATUS_OF_KIND = {"not_image": 415, "corrupt": 422, "bomb": 422}


def create_app(predictor: Predictor, max_bytes: int = MAX_BYTES) -> Bottle:
    """The application.

    Args:
        predictor: The model that answers.
        max_bytes: The largest body of a request.
    """
    app = Bottle()
    app.default_error_handler = _as_problem
    app.add_hook("after_request", lambda: response.headers.update(SECURITY_HEADERS))
    _add_api(app, predictor, max_bytes)
    _add_page(app, predictor, max_bytes)
    return app


def problem(status: int, detail: str) -> bytes:
    """The body of an error (RFC 9457)."""
    title = responses.get(status, "Error")
    return _json({"type": "about:blank", "title": title, "status": status, "detail": detail})


def _add_api(app: Bottle, predictor: Predictor, max_bytes: int) -> None:
    @app.post("/predict")
    def predict() -> bytes:
        top_k = _top_k(len(predictor.labels))
        data = _picture(max_bytes)
        started = time.perf_counter()
        try:
            prediction = predictor.predict(data)
        except ImageError as fault:
            raise HTTPError(STATUS_OF_KIND[fault.kind], fault.message) from None
        milliseconds = (time.perf_counter() - started) * 1000
        response.headers["Server-Timing"] = f"predict;dur={milliseconds:.1f}"
        return _answer(prediction.to_dict(top_k))

    @app.get("/healthz")
    def healthz() -> bytes:
        return _answer({"status": "ok"})

    @app.get("/labels")
    def labels() -> bytes:
        pairs = zip(predictor.names, predictor.labels, strict=True)
        classes = [{"name": name, "label": label} for name, label in pairs]
        return _answer({"labels": list(predictor.labels), "classes": classes, "model": predictor.version})


def _add_page(app: Bottle, predictor: Predictor, max_bytes: int) -> None:
    folder = resources.files("imageloom.serving")
    static = {name: (folder / name).read_bytes() for name in STATIC}
    page = (folder / "page.html").read_text(encoding="utf-8")
    for key, value in (("version", predictor.version), ("classes", len(predictor.labels)), ("max_bytes", max_bytes)):
        page = page.replace("{{" + key + "}}", html.escape(str(value)))
    body = page.encode()

    @app.get("/")
    def index() -> bytes:
        response.headers.update({"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache"})
        return body

    @app.get("/static/<name>")
    def file(name: str) -> bytes:
        if name not in static:
            raise HTTPError(404, f"no /static/{name}")
        response.headers.update({"Content-Type": STATIC[name], "Cache-Control": "no-cache"})
        return static[name]


def _top_k(classes: int) -> int | None:
    text = request.query.get("top_k")
    if text is None:
        return None
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not 1 <= number <= classes:
        raise HTTPError(400, f"top_k must be a whole number from 1 to {classes}")
    return number


def _picture(max_bytes: int) -> bytes:
    """The encoded picture of the request.

    Raises:
        HTTPError: 400 for an empty body or a broken form, 413 for a body that is too large.
    """
    length = request.content_length
    if length > max_bytes:
        raise HTTPError(413, f"{length:,} bytes are more than the {max_bytes:,} allowed")
    body = request.environ["wsgi.input"].read(length) if length > 0 else b""
    content_type = request.environ.get("CONTENT_TYPE", "")  # Bottle's headers fail on one that is not UTF-8
    if forms.is_form(content_type) and body:
        try:
            body = forms.picture(content_type, body)
        except forms.FormError as fault:
            raise HTTPError(400, str(fault)) from None
    if not body:
        raise HTTPError(400, "there is no picture in the body: send its bytes, or a form with one file")
    return body


def _answer(content: Any) -> bytes:
    response.headers.update({"Content-Type": "application/json", "Cache-Control": "no-store"})
    return _json(content)


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def _as_problem(fault: HTTPError) -> bytes:
    """Gives every error the one shape, those of Bottle's own (404, 405, 500) included."""
    response.headers.update({"Content-Type": PROBLEM, "Cache-Control": "no-store"})
    details = {
        404: f"there is nothing at {request.path}; see /, /predict, /labels and /healthz",
        405: f"{request.path} does not take {request.method}",
        500: "the server failed; its log says why",
    }
    body = fault.body if isinstance(fault.body, str) else ""
    is_ours = fault.status_code not in (405, 500) and body and not body.startswith("Not found:")
    return problem(fault.status_code, body if is_ours else details.get(fault.status_code, body))
