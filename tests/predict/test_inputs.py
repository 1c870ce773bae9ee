"""What `imageloom predict` can be given: patterns, lists, addresses and what is piped in."""

import contextlib
import csv
import io
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

RED, GREEN = (240, 20, 10), (20, 230, 10)


def imageloom(*arguments: object, **options: Any) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "imageloom.cli", "predict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, **options)


def answers(run: subprocess.CompletedProcess) -> list[dict[str, Any]]:
    assert run.stdout, run.stderr.decode()
    return json.loads(run.stdout)


def picture(colour: tuple[int, int, int] = RED) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 40), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "红.png").write_bytes(picture())
    (tmp_path / "sub" / "a [1].png").write_bytes(picture(GREEN))
    (tmp_path / "sub" / "deep" / "b.png").write_bytes(picture(GREEN))
    return tmp_path


def test_a_pattern_finds_files_in_the_order_of_their_names(exported_model, folder):
    run = imageloom("**/*.png", "--json", "--model", exported_model, cwd=folder)
    assert [one["file"] for one in answers(run)] == ["sub/a [1].png", "sub/deep/b.png", "红.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(exported_model, folder):
    run = imageloom("sub/a [1].png", "--json", "--model", exported_model, cwd=folder)
    assert [one["file"] for one in answers(run)] == ["sub/a [1].png"]


def test_a_pattern_that_matches_nothing_is_an_error(exported_model, folder):
    run = imageloom("nothing/*.png", "--model", exported_model, cwd=folder)
    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr.startswith(b"error: nothing matches nothing/*.png\nhint: ")


def test_a_picture_is_piped_in(exported_model):
    run = imageloom("-", "--json", "--model", exported_model, input=picture(GREEN))
    (answer,) = answers(run)
    assert (answer["file"], answer["label"], run.returncode) == ("-", "green", 0)


def test_a_cameras_frame_as_ppm_is_piped_in(exported_model):
    frame = b"P6\n64 48\n255\n" + bytes(RED) * (64 * 48)
    assert answers(imageloom("-", "--json", "--model", exported_model, input=frame))[0]["label"] == "红"


@pytest.mark.parametrize("data", [b"", b"<html>", picture()[:60]])
def test_what_is_piped_in_and_is_no_picture_is_an_error(exported_model, data):
    run = imageloom("-", "--model", exported_model, input=data)
    assert run.returncode == 2
    assert run.stderr.startswith(b"error: -: ")
    assert b"Traceback" not in run.stderr


@pytest.mark.parametrize("piped", [True, False])
def test_a_list_names_pictures(exported_model, folder, piped):
    text = "sub/deep/b.png\r\n\n红.png\n".encode()
    (folder / "list.txt").write_bytes(text)
    source = {"input": text} if piped else {}
    run = imageloom(
        "--files-from", "-" if piped else "list.txt", "--json", "--model", exported_model, cwd=folder, **source
    )
    assert [one["file"] for one in answers(run)] == ["sub/deep/b.png", "红.png"]


@pytest.mark.parametrize("words", [[], ["--files-from", "missing.txt"]])
def test_nothing_named_is_an_error(exported_model, tmp_path, words):
    run = imageloom(*words, "--model", exported_model, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr.count(b"\n") == 2


def test_a_terminal_is_not_waited_for(exported_model):
    master, slave = pty.openpty()
    try:
        run = imageloom("-", "--model", exported_model, stdin=slave, timeout=60)
    finally:
        os.close(master)
        os.close(slave)
    assert run.returncode == 2
    assert run.stderr.startswith(b"error: nothing is piped in\n")


def test_addresses_are_fetched_and_keep_their_order(exported_model, site, folder):
    site.routes |= {"/a.png": picture(GREEN), "/slow.png": lambda _: time.sleep(0.5) or picture()}
    site.routes |= {"/moved.png": (302, {"Location": "/a.png"}, b"")}
    words = [f"{site.address}/slow.png", folder / "红.png", f"{site.address}/moved.png", f"{site.address}/none.png"]
    run = imageloom(*words, "--json", "--model", exported_model, "--allow-host", "127.0.0.1")
    found = answers(run)
    assert [one["file"] for one in found] == [str(word) for word in words]
    assert [one.get("label") for one in found] == ["红", "红", "green", None]
    assert found[3]["error"] == "HTTP 404"
    assert run.returncode == 2
    assert run.stderr.decode() == f"error: {site.address}/none.png: HTTP 404\n"


@pytest.mark.parametrize("allowed", [[], ["--allow-host", "10.0.0.0/8"], ["--allow-host", "127.0.0.1:1"]])
def test_what_is_inside_is_not_asked_unless_it_is_allowed(exported_model, site, allowed):
    site.routes["/a.png"] = picture()
    run = imageloom(f"{site.address}/a.png", "--model", exported_model, *allowed)
    assert run.returncode == 2
    assert f"asked only with --allow-host {site.address[7:]}".encode() in run.stderr
    assert b"scrape" not in run.stderr
    assert site.asked == []


def test_a_redirect_inside_is_not_followed(exported_model, site):
    site.routes["/a.png"] = (302, {"Location": "http://127.0.0.2/b.png"}, b"")
    run = imageloom(f"{site.address}/a.png", "--model", exported_model, "--allow-host", site.address[7:])
    assert run.returncode == 2
    assert b"127.0.0.2 is loopback" in run.stderr


def test_a_host_that_is_none_is_an_error(exported_model):
    run = imageloom("http://127.0.0.1/a.png", "--model", exported_model, "--allow-host", "http://x/")
    assert run.returncode == 2
    assert run.stderr.startswith(b"error: --allow-host: ")


def test_table_has_a_column_per_class_and_a_row_per_picture(exported_model, folder):
    (folder / "bad, really.png").write_bytes(b"no picture")
    (folder / "grey.png").write_bytes(picture((120, 120, 120)))
    run = imageloom(folder, "--csv", "--model", exported_model)
    header, *rows = csv.reader(io.StringIO(run.stdout.decode()))
    assert header == ["file", "label", "known", "probability", "error", "red", "green", "blue"]
    by_name = {Path(row[0]).name: dict(zip(header, row, strict=True)) for row in rows}
    assert by_name["红.png"]["label"] == "红"
    assert by_name["红.png"]["known"] == "true"
    assert by_name["红.png"]["probability"] == by_name["红.png"]["red"]
    assert by_name["grey.png"]["known"] == "false"
    assert by_name["bad, really.png"]["error"].startswith("not a picture")
    assert sum(float(by_name["红.png"][name]) for name in ("red", "green", "blue")) == pytest.approx(1)
    assert run.returncode == 2


def test_table_names_as_many_classes_as_asked_for_and_files_by_their_bytes(exported_model, folder):
    name = os.fsencode(folder) + b"/sub/deep/\xff.png"
    Path(os.fsdecode(name)).write_bytes(picture())
    run = imageloom(folder / "sub" / "deep", "--csv", "--top", 1, "--model", exported_model)
    row = run.stdout.splitlines()[-1].split(b",")
    assert row[0] == name
    assert row[5:] == [row[3], b"", b""]


def test_unknown_pictures_are_said_to_be(exported_model, folder):
    (folder / "grey.png").write_bytes(picture((120, 120, 120)))
    run = imageloom(folder / "grey.png", folder / "红.png", "--model", exported_model)
    titles = [line for line in run.stdout.decode().splitlines() if not line.startswith(" ")]
    assert [title.rpartition(": ")[2] for title in titles] == ["unknown, most like 红", "红"]


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_bar_is_shown_on_the_terminal_and_stays_out_of_what_programs_read(exported_model, tmp_path, form):
    for number in range(60):
        (tmp_path / f"{number:02}.png").write_bytes(picture())
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "imageloom.cli", "predict", str(tmp_path), form, "--model", str(exported_model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=slave) as run:
        os.close(slave)
        output, seen = run.stdout.read(), b""
        with contextlib.suppress(OSError):  # how Linux tells that the other side was closed
            while more := os.read(master, 65536):
                seen += more
    os.close(master)
    assert run.returncode == 0
    assert b"predict" in seen
    assert b"/60" in seen
    assert (len(json.loads(output)) if form == "--json" else output.count(b"\n") - 1) == 60


def test_without_a_terminal_there_is_no_bar(exported_model, tmp_path):
    for number in range(60):
        (tmp_path / f"{number:02}.png").write_bytes(picture())
    run = imageloom(tmp_path, "--json", "--model", exported_model)
    assert (run.stderr, len(answers(run))) == (b"", 60)


def test_a_film_that_is_named_by_mistake_is_not_read(exported_model, tmp_path):
    with (tmp_path / "film.mp4").open("wb") as film:
        film.truncate(600 * 2**20)
    run = imageloom(tmp_path / "film.mp4", "--model", exported_model)
    assert run.returncode == 2
    assert b"film.mp4: larger than 512 MB" in run.stderr
