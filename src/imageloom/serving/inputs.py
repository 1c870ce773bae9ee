"""The pictures of a request, in whatever way they came: raw, in a form, at an address, as base64, or in a zip file."""

import base64
import binascii
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bottle import request

from imageloom.serving import forms, zips
from imageloom.serving.problems import RequestError
from imageloom.serving.remote import Remote

# Six pictures as numbers. A body of empty lists takes forty times its own size when it is read.
_MAX_ITEMS = 1_000_000


@dataclass(frozen=True)
class Upload:
    """One picture of a request.

    Args:
        name: What its sender calls it; empty where there is no name.
        data: Its bytes.
        fault: Why there are none.
    """

    name: str
    data: bytes
    fault: RequestError | None = None


def check_deadline(deadline: float) -> None:
    """Gives up a request whose sender has waited too long already.

    Args:
        deadline: By when it must be answered, as `time.monotonic` tells it.

    Raises:
        RequestError: 503, it is too late.
    """
    if time.monotonic() > deadline:
        raise RequestError(503, "too busy to answer in time: ask again", Retry_After="1")


def parameter(name: str) -> str | None:
    """A parameter of the request's address; None where it is not there.

    Raises:
        RequestError: 400, it is not UTF-8.
    """
    value = request.query.get(name)
    try:
        return None if value is None else str(value).encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise RequestError(400, f"{name} is not UTF-8") from None


def uploads(remote: Remote, max_bytes: int) -> list[Upload]:
    """The pictures of the request: at the address in `url`, or in the body.

    Raises:
        RequestError: There is none, or they cannot be had.
    """
    url = parameter("url")
    if url is not None:
        return [Upload(url, remote.get(url))]
    data, content_type = body(max_bytes), kind()
    if forms.is_form(content_type) and data:
        return [Upload(file.name, file.data) for file in form_files(content_type, data)]
    if content_type.partition(";")[0].strip().lower() == "application/json" and data:
        return [_from_json(data, remote)]
    if data.startswith((b"{", b"[")):  # no picture does
        raise RequestError(415, "not a picture but JSON: say so by the header Content-Type: application/json")
    if not data:
        raise RequestError(400, "there is no picture in the body: send its bytes, a form with files, or JSON")
    return [Upload("", data)]


def one_upload(remote: Remote, max_bytes: int) -> Upload:
    """The only picture of the request.

    Raises:
        RequestError: There is none, or there are several.
    """
    found = uploads(remote, max_bytes)
    if len(found) != 1:
        raise RequestError(400, f"this takes one picture at a time; found {len(found)}")
    return found[0]


def kind() -> str:
    """The request's Content-Type; Bottle's own headers fail on one that is not UTF-8."""
    return str(request.environ.get("CONTENT_TYPE", ""))


def body(max_bytes: int) -> bytes:
    """The body of the request.

    Raises:
        RequestError: 413, it is too large.
    """
    length = request.content_length
    if length > max_bytes:
        raise RequestError(413, f"{length:,} bytes are more than the {max_bytes:,} allowed")
    data: bytes = request.environ["wsgi.input"].read(length) if length > 0 else b""
    return data


def form_files(content_type: str, data: bytes) -> list[forms.File]:
    """The files of a form, of which there is at least one.

    Raises:
        RequestError: 400, it is no form, or there is none.
    """
    try:
        files = forms.files(content_type, data)
    except forms.FormError as fault:
        raise RequestError(400, str(fault)) from None
    if not files:
        raise RequestError(400, "the form holds no file")
    if not any(file.data for file in files):
        raise RequestError(400, "there is no picture in the form: its files are empty")
    return files


def json_object(data: bytes) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises:
        RequestError: 400, it is none; 413, it holds too much.
    """
    if sum(data.count(sign) for sign in (b",", b"[", b"{")) > _MAX_ITEMS:
        raise RequestError(413, f"the JSON holds more than the {_MAX_ITEMS:,} items allowed: send pictures as they are")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise RequestError(400, "the body is not JSON") from None
    if not isinstance(content, dict):
        raise RequestError(400, "the body must be a JSON object")
    return content


def from_base64(text: Any) -> bytes:
    """What base64 stands for, in the usual or the URL's alphabet, with or without the padding at its end.

    Raises:
        RequestError: 400, it is no base64.
    """
    if not isinstance(text, str) or not text.isascii() or not text:
        raise RequestError(400, "b64 must be a picture in base64")
    plain = text.translate(_URL_TO_USUAL)
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise RequestError(400, "b64 must be a picture in base64") from None


_URL_TO_USUAL = str.maketrans("-_", "+/")


def zip_uploads(data: bytes, max_bytes: int) -> Iterator[Upload]:
    """The pictures in a zip file.

    Raises:
        RequestError: 400 or 413, it is none that can be taken.
    """
    try:
        for name, content in zips.members(data, max_bytes):
            if isinstance(content, zips.ZipError):
                yield Upload(name, b"", RequestError(422, str(content)))
            else:
                yield Upload(name, content)
    except zips.ZipError as fault:
        raise RequestError(413 if "more than" in str(fault) else 400, str(fault)) from None


def _from_json(data: bytes, remote: Remote) -> Upload:
    content = json_object(data)
    if content.keys() == {"url"}:
        if not isinstance(content["url"], str):
            raise RequestError(400, "url must be an address")
        return Upload(content["url"], remote.get(content["url"]))
    if content.keys() == {"b64"}:
        return Upload("", from_base64(content["b64"]))
    raise RequestError(400, 'the JSON must be {"url": ADDRESS} or {"b64": BASE64} and nothing else')
