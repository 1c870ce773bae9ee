"""A plain picture is answered without Bottle, and nobody can tell by the answer."""

import io
from collections.abc import Callable, Iterable
from http.client import HTTPResponse
from pathlib import Path

import pytest
from test_serve_http import RED, ask, assert_problem

from imageloom.serving.app import create_app
from imageloom.serving.gate import Gate
from imageloom.serving.observer import Observer
from imageloom.serving.plain import Plain
from imageloom.serving.settings import Settings
from imageloom.serving.slot import ModelSlot

RAW = "application/octet-stream"  # goes through Bottle


class ReachedError(Exception):
    """Bottle was asked."""


def to_bottle(environ: dict, start: Callable) -> Iterable[bytes]:
    raise ReachedError


def headers(reply: HTTPResponse) -> dict[str, str]:
    """All but those of the moment."""
    return {name: value for name, value in reply.getheaders() if name not in ("Date", "Server-Timing")}


@pytest.fixture(scope="module")
def plainly(exported_model: Path) -> Callable[..., str]:
    """Posts a picture to an application that has no Bottle; gives the status."""
    slot, gate = ModelSlot(str(exported_model)), Gate(1)

    def post(settings: Settings | None = None, **more: str) -> str:
        observer: Observer = create_app(slot, gate, settings or Settings())
        plain = observer._app
        assert isinstance(plain, Plain)
        plain._app = to_bottle
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/predict",
            "CONTENT_TYPE": "image/png",
            "CONTENT_LENGTH": str(len(RED)),
            "wsgi.input": io.BytesIO(RED),
        } | more
        said: list[str] = []
        observer(environ, lambda status, headers, exc_info=None: said.append(status))
        return said[0]

    yield post
    gate.shutdown()


def test_the_answer_is_bottles(address):
    plain, through_bottle = (ask(address, "/predict", RED, Content_Type=kind) for kind in ("image/png", RAW))
    assert plain[1] == through_bottle[1]
    assert headers(plain[0]) == headers(through_bottle[0])
    assert plain[0].headers["Server-Timing"].startswith("predict;dur=")


@pytest.mark.parametrize("body", [b"no picture", RED[:-40]])
def test_what_is_wrong_is_said_as_bottle_says_it(address, body):
    plain, through_bottle = (ask(address, "/predict", body, Content_Type=kind) for kind in ("image/png", RAW))
    assert assert_problem(*plain, through_bottle[0].status) == assert_problem(*through_bottle, plain[0].status)
    assert headers(plain[0]) == headers(through_bottle[0])


@pytest.mark.parametrize("whose", ["cross-site", "same-site"])
def test_another_sites_page_gets_no_plain_answer(address, whose):
    reply, body = ask(address, "/predict", RED, Content_Type="image/png", Sec_Fetch_Site=whose)
    assert "--cors" in assert_problem(reply, body, 403)


def test_answers_and_faults_are_counted_once(address):
    def counted(line: str) -> float:
        text = ask(address, "/metrics")[1].decode()
        return sum(float(one.rpartition(" ")[2]) for one in text.splitlines() if one.startswith(line))

    lines = ["imageloom_requests_total", "imageloom_predictions_total", "imageloom_rejects_total"]
    lines[0] += '{method="POST",route="/predict"'
    before = [counted(line) for line in lines]
    ask(address, "/predict", RED, Content_Type="image/png")
    ask(address, "/predict", b"no picture", Content_Type="image/png")
    assert [counted(line) - old for line, old in zip(lines, before, strict=True)] == [2, 1, 1]


def test_only_what_is_plain_goes_past_bottle(plainly, tmp_path):
    assert plainly() == "200 OK"
    others = [
        {"QUERY_STRING": "top_k=1"},
        {"PATH_INFO": "/heatmap"},
        {"REQUEST_METHOD": "PUT"},
        {"CONTENT_TYPE": "multipart/form-data"},
        {"CONTENT_LENGTH": "0"},
        {"HTTP_ORIGIN": "https://elsewhere.example"},
        {"wsgi.input": io.BytesIO(b"no picture")},
    ]
    for more in others:
        with pytest.raises(ReachedError):
            plainly(**more)
    for settings in (Settings(rate=1.0), Settings(cors=("*",)), Settings(keep_unsure=True), Settings(max_bytes=20)):
        with pytest.raises(ReachedError):
            plainly(settings)
