"""The processes that decode: they end with the crawl, and the crawl outlives what ends them."""

import io
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from noted import NotedCrawl, wait_until
from PIL import Image

from imageloom import cli, tables

PICTURES = 40


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


class Crawl:
    """`imageloom scrape` in a session of its own, of a site that gives its last pictures when it is told to."""

    def __init__(self, site: Any, folder: Path) -> None:
        self.folder = folder
        self.site = site
        self.go_on = threading.Event()
        for number in range(PICTURES):
            late = number >= PICTURES // 2
            site.routes[f"/{number}.png"] = lambda handler, n=number, late=late: (
                (late and not self.go_on.wait(300)) or picture(n)
            )
        (folder / "data/urls").mkdir(parents=True)
        for name, numbers in (("one", range(10)), ("two", range(10, PICTURES))):
            lines = [f"{site.address}/{number}.png" for number in numbers]
            (folder / f"data/urls/urls_{name}.csv").write_text("\n".join(lines))
        (folder / "params.yaml").write_text(
            "classes: [{name: one}, {name: two}]\n"
            "scrape: {allow_hosts: [127.0.0.1], concurrency: 8, timeout: 300, idle_timeout: 300,\n"
            "  sources: [{kind: urls}]}\n"
        )

    def start(self) -> subprocess.Popen[str]:
        """Returns when the first half of the pictures is stored and noted, and the rest is asked for."""
        crawl = NotedCrawl(self.folder)
        wait_until(lambda: crawl.noted == PICTURES // 2 and len(self.site.asked) >= PICTURES // 2 + 8)
        assert len(list(self.folder.glob("data/raw/*/*.png"))) == PICTURES // 2
        return crawl.process

    def statuses(self) -> list[str]:
        rows = tables.read(self.folder / "data/raw/manifest.parquet", tables.MANIFEST, "scrape")
        return rows["status"].to_pylist()


@pytest.fixture
def crawl(site: Any, tmp_path: Path) -> Iterator[Crawl]:
    crawl = Crawl(site, tmp_path / "project")
    yield crawl
    crawl.go_on.set()


def children(process: subprocess.Popen[str]) -> list[int]:
    """Its processes that have not ended."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout
    return [int(line) for line in found.split()]


def is_alive(process: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_they_end_with_a_crawl_that_is_killed(crawl: Crawl) -> None:
    process = crawl.start()
    decoders = children(process)
    assert decoders
    assert all(is_alive(decoder) for decoder in decoders)
    process.kill()
    process.communicate(timeout=60)  # they have its standard output as well: this waits for them
    wait_until(lambda: not any(is_alive(decoder) for decoder in decoders))


def test_a_crawl_that_loses_one_says_so_and_the_next_goes_on(crawl: Crawl) -> None:
    process = crawl.start()
    os.kill(children(process)[0], signal.SIGKILL)
    crawl.go_on.set()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith("error: the system ended a process that decodes pictures\nhint: it may have run out of")
    assert "Traceback" not in errors
    assert crawl.statuses().count("ok") >= PICTURES // 2
    crawl.site.asked.clear()
    assert cli.main(["scrape", "-C", str(crawl.folder)]) == 0
    assert len(crawl.site.asked) <= PICTURES // 2
    assert crawl.statuses() == ["ok"] * PICTURES
    assert len(list(crawl.folder.glob("data/raw/*/*"))) == PICTURES


def test_ctrl_c_which_reaches_all_of_them_is_told_by_none(crawl: Crawl) -> None:
    process = crawl.start()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert crawl.statuses().count("ok") == PICTURES // 2
