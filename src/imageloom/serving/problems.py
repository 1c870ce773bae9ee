"""Every error in one shape: problem details for HTTP interfaces (RFC 9457)."""

import json
from http.client import responses
from typing import Any

from bottle import HTTPError, request, response

from imageloom.errors import ImageError

TYPE = "application/problem+json"

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False)

# What is wrong with a picture (`ImageError.kind`) -> the status that says so.
STATUS_OF_KIND = {"not_image": 415, "corrupt": 422, "bomb": 422}

# The prefix of the routes that answer as TensorFlow Serving does, errors included.
_TENSORFLOW_SERVING = "/v1/"


class RequestError(HTTPError):
    """A request that cannot be answered.

    Args:
        status: The HTTP status.
        detail: What is wrong with this request, for people.
        headers: More headers of the answer.
    """

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(status, detail, **headers)
        self.detail = detail


def of_picture(fault: ImageError) -> RequestError:
    """What is wrong with a picture, as an answer."""
    return RequestError(STATUS_OF_KIND[fault.kind], fault.message)


def content(status: int, detail: str) -> dict[str, Any]:
    """The members of RFC 9457; where several pictures were sent, an answer holds one for each that failed."""
    return {"type": "about:blank", "title": responses.get(status, "Error"), "status": status, "detail": detail}


def body(status: int, detail: str) -> bytes:
    """The body of an error."""
    return encoded(content(status, detail))


def encoded(content: Any) -> bytes:
    """JSON in the labels' own script."""
    return _json.encode(content).encode("utf-8", "replace")


def handler(fault: HTTPError) -> bytes:
    """Bottle's handler of errors: those of its own (404, 405, 500) get the same shape."""
    status = fault.status_code
    detail = fault.detail if isinstance(fault, RequestError) else _bottles_own(status)
    response.headers["Cache-Control"] = "no-store"
    if request.path.startswith(_TENSORFLOW_SERVING):
        response.headers["Content-Type"] = "application/json"
        return encoded({"error": detail})
    response.headers["Content-Type"] = TYPE
    return body(status, detail)


def _bottles_own(status: int) -> str:
    details = {
        400: "the address is not UTF-8",
        404: f"there is nothing at {request.path}; /docs lists what there is",
        405: f"{request.path} does not take {request.method}",
        500: "the server failed; its log says why",
    }
    return details.get(status, responses.get(status, "Error"))
