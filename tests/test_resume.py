"""A crawl that is killed at any moment and started again ends as one that was left alone."""

import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from noted import NotedCrawl
from PIL import Image

from imageloom import cli, tables

MOMENTS = 25 if os.environ.get("IMAGELOOM_TORTURE") else 2  # of a first crawl, and as many of a recrawl
PICTURES = 60


def picture(number: int, red: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (red, number, 255 - number)).save(file, "PNG")
    return file.getvalue()


def serve(site: Any, changed: bool = False) -> None:
    """Two classes of pictures, with what goes wrong on the web among them; `changed` is the same site a week later.

    When it has answered all that `left` gives, it answers no more pictures until the crawl is killed.
    """
    site.left, site.killed = itertools.count(), threading.Event()

    def slowly(status: int, tag: str, body: bytes) -> Any:
        def answer(handler: Any) -> tuple[int, dict[str, str], bytes]:
            time.sleep(0.03)
            if next(site.left, None) is None:
                site.killed.wait(60)
            if handler.headers.get("If-None-Match") == tag:
                return 304, {}, b""
            return status, {"ETag": tag} if status == 200 else {}, body

        return answer

    for name in ("cat", "dog"):
        for number in range(PICTURES // 2):
            other = changed and number % 5 == 0
            body = picture(number + (name == "dog") * 100, red=200 if other else 0)
            route = slowly(200, f'"{name}{number}{other}"', body)
            if number % 11 == 3:
                route = slowly(404, "", b"")
            if number % 11 == 4:
                route = slowly(200, '"page"', b"<html>sold")
            if changed and number % 11 == 5:
                route = slowly(410, "", b"")
            site.routes[f"/{name}/{number}.png"] = route
        listed = range(PICTURES // 2 + (2 if changed else 0))  # the last two are new, and the same as others
        site.routes |= {f"/{name}/{n}.png": slowly(200, f'"{n}"', picture(n % 2)) for n in listed[PICTURES // 2 :]}
        site.routes[f"/{name}"] = "".join(f"<img src=/{name}/{n}.png>" for n in listed).encode()


def project(folder: Path, site: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(
        "classes: [{name: cat}, {name: dog}]\n"
        "scrape:\n  allow_hosts: ['127.0.0.1']\n  backoff: 0.01\n  retries: 1\n  concurrency: 3\n"
        "  timeout: 300\n  idle_timeout: 300\n"
        f"  sources: [{{kind: gallery, start: '{site.address}/{{class}}', item: img}}]\n"
    )
    return folder


def end_state(folder: Path) -> dict[str, Any]:
    """Everything that a crawl leaves, its dates aside, of which it has only the order."""
    rows = tables.read(folder / "data/raw/manifest.parquet", tables.MANIFEST, "scrape").to_pylist()
    dates = sorted({row[column] for row in rows for column in ("first_seen", "last_seen")})
    for row in rows:
        row |= {column: dates.index(row[column]) for column in ("first_seen", "last_seen")}
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("manifest.parquet", "params.yaml")
    }
    return {"rows": rows, "files": files}


def crawl(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "imageloom.cli", "scrape", "-C", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill(folder: Path, site: Any, moment: float, noted: int = 0) -> None:
    """Crawls until about `moment` of the site's pictures were asked, or a while after the last, and kills it.

    Where it is to be killed before it ends, no picture is answered from that moment on.

    Args:
        folder: The project.
        site: What it crawls.
        moment: When.
        noted: How many addresses it must have noted before, so that a kill does not lose them.
    """
    before = len(site.asked)
    if moment < PICTURES:
        site.left = iter(range(int(moment)))
    crawl = NotedCrawl(folder, seconds_to_lose=-1 if noted else 0.1)
    process = crawl.process
    while (len(site.asked) - before < min(moment, PICTURES) or crawl.noted < noted) and process.poll() is None:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.02) + max(0.0, moment - PICTURES) * 0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    site.killed.set()
    site.left, site.killed = itertools.count(), threading.Event()


def finish(folder: Path) -> str:
    """Crawls to the end, unless the kill came after it."""
    if not (folder / "data/.crawl.db").exists() and (folder / "data/raw/manifest.parquet").exists():
        return ""
    process = crawl(folder)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("again", [False, True], ids=["first crawl", "recrawl"])
def test_a_crawl_killed_at_any_moment_ends_as_one_left_alone(site: Any, tmp_path: Path, again: bool) -> None:
    serve(site)
    alone = project(tmp_path / "alone", site)
    if again:
        assert cli.main(["scrape", "-C", str(alone)]) == 0
        shutil.copytree(alone, tmp_path / "week before")
        serve(site, changed=True)
        time.sleep(1.1)  # dates are kept to the second
    assert cli.main(["scrape", "-C", str(alone)]) == 0
    expected = end_state(alone)
    statuses = {row["status"] for row in expected["rows"]}
    assert statuses == ({"ok", "unchanged", "gone", "not_image"} if again else {"ok", "gone", "not_image"})
    went_on = []
    for number in range(MOMENTS):
        folder = tmp_path / f"killed {number}"
        if again:
            shutil.copytree(tmp_path / "week before", folder)
        project(folder, site)
        # Short of the end for the first, so that there is something to go on with.
        moments = [random.uniform(0 if number else 30, PICTURES + 30 * bool(number)) for _ in range(1 + number % 2)]
        for moment in moments:
            if moment == moments[0] or (folder / "data/.crawl.db").exists():
                kill(folder, site, moment, noted=0 if number else 1)
        went_on += re.findall(r"goes on with .*, after (\d+) address", finish(folder))
        assert end_state(folder) == expected, moments
    assert any(0 < int(done) < PICTURES for done in went_on)


def test_what_a_killed_crawl_had_is_not_asked_again(site: Any, tmp_path: Path) -> None:
    serve(site)
    folder = project(tmp_path / "p", site)
    kill(folder, site, PICTURES * 0.9, noted=PICTURES // 2)
    before = len(site.asked)
    said = finish(folder)
    assert "goes on with the crawl of 2" in said
    assert len(site.asked) - before < 0.6 * PICTURES


def test_half_written_files_of_a_killed_crawl_are_swept(site: Any, tmp_path: Path) -> None:
    serve(site)
    folder = project(tmp_path / "p", site)
    kill(folder, site, 20)
    for name in ("data/raw/cat/.abc.jpg.77.tmp", "data/raw/.manifest.parquet.77.tmp"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"half")
    finish(folder)
    assert not list(folder.rglob("*.tmp"))
    assert not list((folder / "data").glob(".crawl*"))


def test_a_picture_that_a_power_cut_took_is_asked_again(site: Any, tmp_path: Path) -> None:
    serve(site)
    alone, folder = project(tmp_path / "alone", site), project(tmp_path / "p", site)
    assert cli.main(["scrape", "-C", str(alone)]) == 0
    kill(folder, site, PICTURES * 0.9, noted=PICTURES // 2)
    pictures = list((folder / "data/raw").glob("*/*.png"))
    assert len(pictures) > 5
    for path in pictures[:5]:
        path.write_bytes(b"")
    finish(folder)
    assert end_state(folder) == end_state(alone)


@pytest.mark.parametrize("damage", ["junk", "torn", "no tables"])
def test_a_damaged_ledger_is_left_and_the_crawl_begins_anew(site: Any, tmp_path: Path, damage: str) -> None:
    serve(site)
    folder = project(tmp_path / "p", site)
    ledger = folder / "data/.crawl.db"
    ledger.parent.mkdir()
    if damage == "no tables":
        sqlite3.connect(ledger).close()
        ledger.touch()
    else:
        ledger.write_bytes(b"junk" * 5000 if damage == "junk" else b"SQLite format 3\0" + b"x" * 50)
    assert cli.main(["scrape", "-C", str(folder)]) == 0
    assert len(end_state(folder)["rows"]) == PICTURES
    assert not ledger.exists()


def test_a_ledger_of_another_manifest_is_left(site: Any, tmp_path: Path, capsys: Any) -> None:
    serve(site)
    folder = project(tmp_path / "p", site)
    assert cli.main(["scrape", "-C", str(folder)]) == 0
    first = (folder / "data/raw/manifest.parquet").read_bytes()
    time.sleep(1.1)
    assert cli.main(["scrape", "-C", str(folder)]) == 0
    assert cli.main(["scrape", "-C", str(folder), "--max", "3"]) == 0
    (folder / "data/raw/manifest.parquet").write_bytes(first)  # as `dvc checkout` does
    assert cli.main(["scrape", "-C", str(folder)]) == 0
    assert "a new crawl begins" in capsys.readouterr().err
    assert not (folder / "data/.crawl.db").exists()


def test_two_crawls_of_one_project_at_a_time_are_refused(site: Any, tmp_path: Path, capsys: Any) -> None:
    serve(site)
    wait, page = threading.Event(), site.routes["/dog"]
    site.routes["/dog"] = lambda handler: wait.wait(300) and page
    folder = project(tmp_path / "p", site)
    first = crawl(folder)
    while not site.asked:
        time.sleep(0.01)
    assert cli.main(["scrape", "-C", str(folder)]) == 2
    assert "error: another crawl of this project is at work" in capsys.readouterr().err
    wait.set()
    said, _ = first.communicate(timeout=60)
    assert first.returncode == 0, said
    assert len(end_state(folder)["rows"]) == PICTURES


def test_the_diff_says_what_is_new_changed_and_gone(site: Any, tmp_path: Path, capsys: Any) -> None:
    serve(site)
    folder = project(tmp_path / "p", site)
    assert cli.main(["scrape", "-C", str(folder)]) == 0
    assert "since the last crawl" not in capsys.readouterr().out
    diff = json.loads((folder / "reports/scrape/diff.json").read_text())
    bad = len([n for n in range(PICTURES // 2) if n % 11 in (3, 4)])
    nothing = {"new": 0, "changed": 0, "gone": 0, "unchanged": 0, "failed": 0, "forgotten": 0, "not_listed": 0}
    assert diff["total"] == nothing | {"new": PICTURES - 2 * bad, "failed": 2 * bad}
    serve(site, changed=True)
    site.routes["/dog"] = site.routes["/dog"].replace(b"<img src=/dog/2.png>", b"")
    assert cli.main(["scrape", "-C", str(folder)]) == 0
    diff = json.loads((folder / "reports/scrape/diff.json").read_text())
    assert [(row["class"], row["host"]) for row in diff["by_class_and_host"]] == [
        (name, site.address.removeprefix("http://")) for name in ("cat", "dog")
    ]
    cat, dog = diff["by_class_and_host"]
    numbers = range(PICTURES // 2)
    gone = len([n for n in numbers if n % 11 == 5])
    changed = len([n for n in numbers if n % 5 == 0 and n % 11 not in (3, 4, 5)])
    same = PICTURES // 2 - gone - changed - bad
    counts = {"new": 2, "changed": changed, "gone": gone, "unchanged": same, "failed": bad, "not_listed": 0}
    assert {key: cat[key] for key in counts} == counts
    assert {key: dog[key] for key in counts} == counts | {"unchanged": same - 1, "not_listed": 1}
    assert "since the last crawl" in capsys.readouterr().out
