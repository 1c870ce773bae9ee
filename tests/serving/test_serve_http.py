"""The server answers as the command line and the predictor do, and tells every fault in one shape."""

import contextlib
import io
import json
import random
import socket
import subprocess
import sys
import time
import tomllib
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from PIL import Image

from imageloom import heatmap
from imageloom.predictor import Predictor
from imageloom.serving import forms
from imageloom.serving.settings import MAX_BYTES

COLOURS = {"红": (240, 20, 10), "green": (20, 230, 10), "blue": (10, 20, 240)}


def encoded(colour: tuple[int, int, int], kind: str = "PNG", size: tuple[int, int] = (60, 40)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


RED = encoded(COLOURS["红"])


def ask(
    address: str, path: str, body: bytes | None = None, method: str | None = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=60)
    try:
        renamed = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, renamed)
        reply = connection.getresponse()
        return reply, reply.read()
    finally:
        connection.close()


def form(*parts: tuple[str, str | None, bytes], boundary: str = "x-1") -> tuple[bytes, str]:
    """A multipart body of (field, file name, content), and its Content-Type."""
    body = b""
    for field, file, content in parts:
        disposition = f'form-data; name="{field}"' + (f'; filename="{file}"' if file is not None else "")
        body += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def assert_problem(reply: HTTPResponse, body: bytes, status: int) -> str:
    """Checks the shape of RFC 9457 and gives the detail."""
    assert reply.status == status, body
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    content = json.loads(body)
    assert content.keys() == {"type", "title", "status", "detail"}
    assert content["status"] == status
    assert content["detail"]
    return content["detail"]


def test_command_line_raw_body_form_and_predictor_agree(address, exported_model, tmp_path):
    path = tmp_path / "a rose 🌹.jpg"
    path.write_bytes(encoded(COLOURS["红"], "JPEG", (333, 222)))
    expected = Predictor(exported_model).predict(path.read_bytes()).to_dict()
    raw = json.loads(ask(address, "/predict", path.read_bytes())[1])
    body, content_type = form(("anything", path.name, path.read_bytes()))
    sent_as_form = json.loads(ask(address, "/predict", body, Content_Type=content_type)[1])
    command = [sys.executable, "-m", "imageloom.cli", "predict", path, "--json", "--model", exported_model]
    printed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert raw == sent_as_form == expected
    assert printed == [{"file": str(path), **expected}]


def test_answer_is_json_in_the_labels_own_script_with_its_time(address):
    reply, body = ask(address, "/predict", RED)
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Server-Timing"].startswith("predict;dur=")
    assert "红".encode() in body


def test_curl_content_type_of_raw_bodies_does_not_matter(address):
    reply, body = ask(address, "/predict", RED, Content_Type="application/x-www-form-urlencoded")
    assert (reply.status, json.loads(body)["label"]) == (200, "红")


def test_chunked_body_is_read(address):
    connection = HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request("POST", "/predict", iter([RED[:50], RED[50:]]), encode_chunked=True)
    assert json.loads(connection.getresponse().read())["label"] == "红"
    connection.close()


def test_top_k_limits_the_answer(address):
    for number in (1, 2, 3):
        content = json.loads(ask(address, f"/predict?top_k={number}", RED)[1])
        assert len(content["predictions"]) == number


@pytest.mark.parametrize("value", ["0", "4", "-1", "two", "", "1.0", "9" * 5000, "٣", "1_0"])
def test_bad_top_k_is_refused(address, value):
    reply, body = ask(address, f"/predict?top_k={quote(value, safe='%')}", RED)
    assert "from 1 to 3" in assert_problem(reply, body, 400)


def test_heat_map_is_the_predictors_for_the_class_that_is_named(address, exported_model):
    pixels = np.full((32, 32, 3), COLOURS["blue"], np.uint8)
    pixels[4:12, 20:30] = COLOURS["红"]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    predictor, maps = Predictor(exported_model), {}
    for query, index in (("", 2), ("?class=blue", 2), ("?class=red", 0)):
        reply, body = ask(address, f"/heatmap{query}", buffer.getvalue())
        assert (reply.status, reply.headers["Content-Type"]) == (200, "image/jpeg")
        expected = heatmap.overlay(pixels, predictor.heatmap(pixels, index))
        assert body == heatmap.jpeg(expected)
        maps[query] = body
    assert maps[""] == maps["?class=blue"] != maps["?class=red"]


def test_heat_map_of_a_class_that_is_none_and_of_no_picture_is_refused(address):
    reply, body = ask(address, "/heatmap?class=%E7%B4%85", RED)
    assert "there is no class '紅'; /labels lists them" in assert_problem(reply, body, 400)
    assert_problem(*ask(address, "/heatmap", b"<html>404</html>"), 415)
    assert_problem(*ask(address, "/heatmap", RED[:60]), 422)
    assert_problem(*ask(address, "/heatmap", b""), 400)


def test_parameter_that_is_not_utf_8_is_refused(address):
    assert "top_k is not UTF-8" in assert_problem(*ask(address, "/predict?top_k=%ff", RED), 400)


def test_labels_come_in_the_models_order(address):
    content = json.loads(ask(address, "/labels")[1])
    assert content["labels"] == ["红", "green", "blue"]
    assert content["classes"][0] == {"name": "red", "label": "红"}


def test_health_is_ok(address):
    reply, body = ask(address, "/healthz")
    assert (reply.status, json.loads(body)) == (200, {"status": "ok"})


def test_eight_clients_at_once_get_their_own_answers(address):
    jobs = [(label, encoded(colour)) for label, colour in COLOURS.items()] * 24

    def right(job: tuple[str, bytes]) -> bool:
        return json.loads(ask(address, "/predict", job[1])[1])["label"] == job[0]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, jobs))


def bomb() -> bytes:
    """A PNG of a few kilobytes that claims 400 million pixels."""
    data = bytearray(RED)
    data[16:24] = (20_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"hello", 415),
        (b"<html>", 415),
        (b"{}", 415),
        (RED[:70], 422),
        (bomb(), 422),
        (b"\0" * 100_000, 415),
    ],
)
def test_body_that_is_no_picture_is_told_so(address, body, status):
    assert_problem(*ask(address, "/predict", body), status)


@pytest.mark.parametrize(
    ("parts", "detail"),
    [
        ([], "holds no file"),
        ([("note", None, b"hello")], "holds no file"),
        ([("a", "a.png", b"")], "its files are empty"),
        ([("a; filename=b", None, RED)], "holds no file"),
        ([("note", None, b"")] * 200, "segment count exceeded"),
    ],
)
def test_form_without_a_file_is_refused(address, parts, detail):
    body, content_type = form(*parts)
    assert detail in assert_problem(*ask(address, "/predict", body, Content_Type=content_type), 400)


def test_form_may_hold_other_fields_beside_the_file(address):
    body, content_type = form(
        ("note", None, b"an --x-1 amid a line is no boundary"), ("p", "玫瑰 🌹.png", RED), ("z", None, b"")
    )
    assert json.loads(ask(address, "/predict", body, Content_Type=content_type)[1])["label"] == "红"


def test_form_gives_the_files_bytes_unchanged():
    content = b"\r\n--x\r\n\r\n--x-\r\r\n\n --x-1\r\n" + bytes(range(256))
    body, content_type = form(("a", None, b"1"), ("f", "玫瑰.png", content))
    expected = [forms.File("f", "玫瑰.png", content)]
    assert forms.files(content_type, body) == expected
    other = 'Multipart/Form-Data; charset=none; boundary="x-1"'
    assert forms.files(other, b"preamble\r\n" + body + b"rest") == expected


def test_names_in_any_encoding_are_no_fault_of_the_form():
    for name in ("卡特.jpg".encode(), "卡特.jpg".encode("gbk"), b"\xff\xfe.jpg", b'a\\".jpg', b"", b"%22.jpg"):
        body, content_type = form(("f", "NAME", b"content"))
        assert forms.files(content_type, body.replace(b"NAME", name))[0].data == b"content"


FILE = b'--x-1\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'


@pytest.mark.parametrize(
    ("head", "filling"),
    [
        (b"", b"\r\n"),
        (b"", b"\r"),
        (b"", b"--x-1"),
        (b"--x-1\r\n", b"a"),
        (b"--x-1\r\n", b"a: b\r\n"),
        (b"", FILE + b"\r\n"),
        (FILE, b"\r\n"),
        (FILE, b"\r\n--x-"),
    ],
)
def test_no_form_keeps_the_server_busy(head, filling):
    """Of the largest size; Bottle's own parser takes a minute for the first."""
    body = head + filling * ((MAX_BYTES - len(head)) // len(filling))
    started = time.process_time()
    with contextlib.suppress(forms.FormError):
        assert forms.files("multipart/form-data; boundary=x-1", body) == []
    assert time.process_time() - started < 15


def test_broken_form_is_never_the_servers_fault(address):
    body, content_type = form(("f", "f.png", RED))
    broken = [body[:cut] for cut in (3, 40, 60, len(body) - 4)] + [
        b"--x-1--",
        b"x-1",
        b"\r\n" * 5000,
        body.replace(b":", b""),
    ]
    for wrong in broken:
        assert_problem(*ask(address, "/predict", wrong, Content_Type=content_type), 400)
    for wrong in ("", "; boundary=", "; boundary=\xff; charset=\xfe", "; boundary*=a; boundary*0=b", '; boundary="x-1'):
        assert_problem(*ask(address, "/predict", body, Content_Type="multipart/form-data" + wrong), 400)


def test_damaged_pictures_are_never_the_servers_fault(address):
    random.seed(1)
    statuses = set()
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM"):
        whole = encoded((200, 30, 30), kind)
        for _ in range(15):
            data = bytearray(whole)
            for _ in range(random.randint(1, 6)):
                data[random.randrange(min(len(data), 200))] = random.randrange(256)
            reply, body = ask(address, "/predict", bytes(data))
            statuses.add(reply.status)
            assert reply.status in (200, 415, 422), (kind, body)
    assert statuses >= {200, 415, 422}


def test_too_large_body_is_refused(address):
    detail = assert_problem(*ask(address, "/predict", b"\0" * (MAX_BYTES + 1)), 413)
    assert f"{MAX_BYTES:,}" in detail


def test_far_too_large_body_is_refused_unread(address):
    host = urlsplit(address)
    with socket.create_connection((host.hostname, host.port), timeout=60) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n")
        reply = HTTPResponse(connection)
        reply.begin()
        assert_problem(reply, reply.read(), 413)


def test_what_is_not_http_is_refused_in_the_same_shape(address):
    host = urlsplit(address)
    with socket.create_connection((host.hostname, host.port), timeout=60) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n")
        reply = HTTPResponse(connection)
        reply.begin()
        assert_problem(reply, reply.read(), 400)


def test_unknown_path_and_method_have_the_same_shape(address):
    assert "/nope" in assert_problem(*ask(address, "/nope"), 404)
    assert_problem(*ask(address, "/static/../app.py"), 404)
    assert_problem(*ask(address, "/static/app.py"), 404)
    assert_problem(*ask(address, "/%ff%00"), 404)
    reply, body = ask(address, "/heatmap")
    assert_problem(reply, body, 405)
    assert reply.headers["Allow"] == "POST"
    assert_problem(*ask(address, "/predict", method="DELETE"), 405)


def test_page_may_load_nothing_but_its_own_files(address):
    reply, body = ask(address, "/")
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = body.decode()
    assert "<title>imageloom" in page
    assert "{{" not in page
    assert "://" not in page
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        assert f"static/{name}" in page
        reply, _ = ask(address, f"/static/{name}")
        assert reply.status == 200
        assert reply.headers["Content-Type"].startswith(kind)


def test_page_files_are_declared_as_package_data():
    root = Path(__file__).resolve().parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["imageloom"]
    folder = root / "src" / "imageloom" / "serving"
    for path in folder.iterdir():
        assert path.suffix in (".py", "") or f"**/*{path.suffix}" in patterns, path
