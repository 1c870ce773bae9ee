"""The HTTP interface of an exported model, as a WSGI application.

`openapi.yaml`, which the server shows at /docs, tells all routes. Every error is JSON of the type
`application/problem+json` (RFC 9457), except where TensorFlow Serving's clients expect another.
"""

import importlib
from collections.abc import Callable
from contextlib import suppress

from bottle import Bottle, HTTPError, HTTPResponse, request

from imageloom.serving import api, classify, page, problems, tensorflow_serving
from imageloom.serving.door import Door
from imageloom.serving.inbox import Inbox
from imageloom.serving.metrics import Metrics
from imageloom.serving.observer import Observer, open_log
from imageloom.serving.plain import Plain
from imageloom.serving.problems import RequestError
from imageloom.serving.remote import Remote
from imageloom.serving.service import Gate, Service, Slot
from imageloom.serving.settings import Settings

# What can be shown beside the model -> the module whose `application()` it is. By name: neither knows the other.
_REVIEW = ("/review/", "imageloom.review.mounted")


def create_app(slot: Slot, gate: Gate, settings: Settings) -> Observer:
    """The application.

    Args:
        slot: The model that answers.
        gate: The queue of requests.
        settings: What the command line set.

    Raises:
        ImageloomError: The file of tokens or the access log cannot be used, `allow_hosts` names no host, or there is
            nothing to review.
    """
    inbox = Inbox(settings.inbox, settings.inbox_bytes) if settings.inbox else None
    service = Service(slot, gate, settings, Door(settings), Remote(settings), Metrics(), inbox)
    app = Bottle()
    app.default_error_handler = problems.handler
    app.add_hook("before_request", _check(app, service.door))
    app.add_hook("after_request", service.door.add_headers)
    for routes in (api, classify, tensorflow_serving, page):
        routes.add(app, service)
    if settings.review:
        prefix, module = _REVIEW
        app.mount(prefix, importlib.import_module(module).application())
    return Observer(Plain(app, service), service, open_log(settings.access_log))


def _check(app: Bottle, door: Door) -> Callable[[], None]:
    """What is done before Bottle looks which route is asked for; who is refused there is counted by it all the same."""

    def check() -> None:
        environ = request.environ
        given = environ["bottle.raw_path"]
        if not given.isascii() and environ["PATH_INFO"].encode() != given.encode("latin-1"):
            raise RequestError(400, "the address is not UTF-8")  # Bottle has left out what is none
        try:
            door.check()
        except HTTPResponse:
            with suppress(HTTPError):  # there is none
                environ["bottle.route"] = app.match(environ)[0]
            raise

    return check
