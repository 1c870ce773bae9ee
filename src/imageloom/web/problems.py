"""Every error in one shape: problem details for HTTP interfaces (RFC 9457)."""

import json
from http.client import responses
from typing import Any

from bottle import HTTPError, request, response

TYPE = "application/problem+json"

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


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


def content(status: int, detail: str) -> dict[str, Any]:
    """The members of RFC 9457; where several things were asked, an answer holds one for each that failed."""
    return {"type": "about:blank", "title": responses.get(status, "Error"), "status": status, "detail": detail}


def body(status: int, detail: str) -> bytes:
    """The body of an error."""
    return encoded(content(status, detail))


def encoded(content: Any) -> bytes:
    """JSON in the labels' own script."""
    return _json.encode(content).encode("utf-8", "replace")


def detail(fault: HTTPError) -> str:
    """What is wrong, for people; Bottle's own errors (404, 405, 500) are put into words as well."""
    if isinstance(fault, RequestError):
        return fault.detail
    status = fault.status_code
    details = {
        400: "the address is not UTF-8",
        404: f"there is nothing at {request.path}",
        405: f"{request.path} does not take {request.method}",
        500: "the server failed; its log says why",
    }
    return details.get(status, responses.get(status, "Error"))


def handler(fault: HTTPError) -> bytes:
    """Bottle's handler of errors."""
    response.headers.update({"Cache-Control": "no-store", "Content-Type": TYPE})
    return body(fault.status_code, detail(fault))
