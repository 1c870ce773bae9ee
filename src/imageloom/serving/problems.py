"""What is wrong with pictures, and errors for clients of TensorFlow Serving; all else is as `web.problems` says."""

import difflib
from typing import TypeVar

from bottle import HTTPError, request, response

from imageloom.errors import ImageError
from imageloom.web import problems
from imageloom.web.problems import TYPE, RequestError, body, content, encoded

__all__ = ["TYPE", "RequestError", "body", "content", "encoded", "handler", "of_picture"]

Fault = TypeVar("Fault", bound=Exception)

# What is wrong with a picture (`ImageError.kind`) -> the status that says so.
STATUS_OF_KIND = {"not_image": 415, "corrupt": 422, "bomb": 422}

# Characters of a path that is not there, of which the nearest that is is looked for.
_COMPARED = 40

# The prefix of the routes that answer as TensorFlow Serving does, errors included.
_TENSORFLOW_SERVING = "/v1/"


def of_picture(fault: ImageError) -> RequestError:
    """What is wrong with a picture, as an answer."""
    return RequestError(STATUS_OF_KIND[fault.kind], fault.message)


def without_frames(fault: Fault) -> Fault:
    """The same fault, without the frames that it came through.

    These hold the picture, and one of them holds the fault: a cycle that would stay until the collector comes.
    """
    fault.__context__ = None
    return fault.with_traceback(None)


def _nearest(path: str) -> str:
    rules = [route.rule for route in request.app.routes if "<" not in route.rule]
    near = difflib.get_close_matches(path[:_COMPARED], rules, n=1, cutoff=0.8)
    return f"did you mean {near[0]}? " if near else ""


def handler(fault: HTTPError) -> bytes:
    """Bottle's handler of errors."""
    without_frames(fault)
    if request.path.startswith(_TENSORFLOW_SERVING):
        response.headers.update({"Cache-Control": "no-store", "Content-Type": "application/json"})
        return encoded({"error": problems.detail(fault)})
    if fault.status_code == 404 and not isinstance(fault, RequestError):
        fault = RequestError(404, f"{problems.detail(fault)}; {_nearest(request.path)}/docs lists what there is")
    return problems.handler(fault)
