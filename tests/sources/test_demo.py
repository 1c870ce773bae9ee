"""The demo's gallery, asked as a browser asks it."""

import io
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest
from PIL import Image

from imageloom.errors import ImageloomError
from imageloom.sources.demo_gallery import DemoGallery, photographs


def get(url: str, **headers: str) -> tuple[int, Any, bytes]:
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


def test_the_pictures_are_those_whose_class_is_certain() -> None:
    names = [photo.class_name for photo in photographs()]
    assert (names.count("functional"), names.count("defective"), len(names)) == (1508, 715, 2223)


def test_pages_show_the_pictures_with_their_licence_and_makers() -> None:
    with DemoGallery(limit=50) as gallery:
        _, _, front = get(f"{gallery.address}/")
        assert b"/functional/" in front
        assert b"50 cells" in front
        _, _, first = get(f"{gallery.address}/defective/?page=1")
        _, _, second = get(f"{gallery.address}/defective/?page=2")
        assert get(f"{gallery.address}/defective/?page=3")[0] == 404
        assert get(f"{gallery.address}/nothing/")[0] == 404
        assert (first.count(b"<figure"), second.count(b"<figure")) == (48, 2)
        assert b"page 1 of 2" in first
        assert b'rel="next"' in first
        assert b'rel="next"' not in second
        for part in (b"CC BY-NC-SA 4.0", b"Deitsch"):
            assert part in first
        outside = re.findall(rb"(?:src|<link[^>]*href)=\"(http[^\"]*)", front + first)
        assert outside == []


def test_a_picture_is_sent_once_and_then_unchanged() -> None:
    with DemoGallery(limit=1) as gallery:
        url = f"{gallery.address}/functional/cell0004.png"
        status, headers, body = get(url)
        assert status == 200
        assert Image.open(io.BytesIO(body)).size == (300, 300)
        assert get(url, If_None_Match=headers["ETag"])[0] == 304
        assert get(url, If_Modified_Since=headers["Last-Modified"])[0] == 304
        assert gallery.bodies == 1
        assert get(url, If_None_Match='"other"')[0] == 200
        assert gallery.bodies == 2


def test_pictures_can_be_added_while_it_is_served() -> None:
    with DemoGallery(limit=1) as gallery:
        assert get(f"{gallery.address}/functional/")[2].count(b"<figure") == 1
        gallery.limit = 16
        assert get(f"{gallery.address}/functional/")[2].count(b"<figure") == 16


def test_a_taken_port_is_an_error_with_what_to_set(site: Any) -> None:
    port = site.server.server_address[1]
    with pytest.raises(ImageloomError, match=f"port {port}") as fault, DemoGallery(1, port, "scrape.sources.0.port"):
        pass
    assert "scrape.sources.0.port" in fault.value.hint


def test_the_command_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "imageloom.cli", "demo", "--port", "0", "--limit", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    address = process.stdout.readline().split(" is at ")[1].split()[0]
    assert get(address)[0] == 200
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
