"""`make bench-clean`, the review page: how soon it shows something, and how soon a decision is on the disk.

On a project of 20,000 pictures in the queue, with a real browser. The pictures are made here, and are of the size of
those that crawls find.
"""

import argparse
import io
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from figures import Figure, show
from PIL import Image
from playwright.sync_api import sync_playwright

from imageloom import tables
from imageloom.files import Paths
from imageloom.params import UNLABELLED

QUEUE = 20_000
DECISIONS = 200
ROUNDS = 5

CHROMIUM = "/usr/bin/chromium"

# The large picture and all of the small ones that come next are painted.
PAINTED = """() => {
    const images = [...document.querySelectorAll('#stage img, #coming img')];
    return images.length > 8 && images.every((one) => one.complete && one.naturalWidth > 0);
}"""


def main() -> int:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=QUEUE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder))
        _make(paths, arguments.pictures)
        began = time.perf_counter()
        with _served(paths) as address:
            started = time.perf_counter() - began
            first, again = _seconds_to_paint(address)
            decided = _seconds_to_decide(address)
    show(
        "review",
        [
            Figure(f"started on {arguments.pictures:,} pictures", started, "s"),
            Figure("first batch on screen, no thumbnail made before", first, "s", "< 1"),
            Figure("first batch on screen, thumbnails made (median)", again, "s", "< 1"),
            Figure("decision acknowledged (median)", 1000 * statistics.median(decided), "ms", "< 50"),
            Figure("decision acknowledged (slowest of 100)", 1000 * float(np.quantile(decided, 0.99)), "ms", "< 50"),
        ],
    )
    return 0


def _make(paths: Paths, count: int) -> None:
    """A crawled pool, without labels; the first few hundred files are there, more than are looked at."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        data = _picture(random) if number < 400 else b""
        name = sha256(data or str(number).encode()).hexdigest()
        # The page begins with the smallest ids, where no model has an opinion.
        name = (f"{number:06x}" if data else "f") + name[6 if data else 1 :]
        path = f"{UNLABELLED}/{name[:20]}.jpg"
        if data:
            (paths.raw / path).parent.mkdir(parents=True, exist_ok=True)
            (paths.raw / path).write_bytes(data)
        row = dict.fromkeys(tables.CLEAN.names) | {"id": name, "class": UNLABELLED, "path": path, "group": name}
        row |= {"width": 1200, "height": 900, "copies": 1, "crawl": 0, "kept": False, "reason": "unlabelled"}
        rows.append(row | {"flags": [], "decided": "", "url": f"http://site/{number}.jpg"})
    tables.write(paths.clean, rows, tables.CLEAN)
    tables.write(paths.raw / "manifest.parquet", [], tables.MANIFEST)
    paths.params.write_text("classes: [{name: one}, {name: two}]\n", encoding="utf-8")


def _picture(random: np.random.Generator) -> bytes:
    small = Image.fromarray(random.integers(0, 256, (18, 24, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize((1200, 900), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()


@contextmanager
def _served(paths: Paths) -> Iterator[str]:
    command = [sys.executable, "-m", "imageloom.cli", "review", "-C", str(paths.root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        try:
            found = re.search(r"http://\S+", line)
            assert found, line
            yield found[0]
        finally:
            server.send_signal(signal.SIGTERM)


def _seconds_to_paint(address: str) -> tuple[float, float]:
    """The first visit, as soon as the server runs, and the median of those after it, each with an empty cache."""
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        browser.new_context().new_page().goto("about:blank")  # the browser's own start is not what is measured
        for _ in range(ROUNDS):
            page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
            began = time.perf_counter()
            page.goto(address, wait_until="commit")
            while not page.evaluate(PAINTED):
                time.sleep(0.005)
            taken.append(time.perf_counter() - began)
            page.close()
        browser.close()
    return taken[0], statistics.median(taken[1:])


def _seconds_to_decide(address: str) -> list[float]:
    connection = HTTPConnection(urlsplit(address).netloc)

    def ask(method: str, path: str, content: object = None, **headers: str) -> tuple[dict, str]:
        connection.request(method, path, json.dumps(content) if content else None, headers)
        reply = connection.getresponse()
        body = json.loads(reply.read())
        assert reply.status == 200, body
        return body, (reply.getheader("Set-Cookie") or "").partition(";")[0]

    told, cookie = ask("GET", "/session")
    entries = []
    while len(entries) < DECISIONS:
        batch, _ = ask("GET", f"/queues/unlabelled?from={len(entries)}", Cookie=cookie)
        entries += batch["entries"]
    headers = {"Cookie": cookie, "X-CSRF-Token": told["csrf"], "Content-Type": "application/json"}
    taken = []
    for entry in entries[:DECISIONS]:
        wanted = {"sha256": entry["key"], "decision": "label", "from": "", "to": "one"}
        began = time.perf_counter()
        ask("POST", "/decisions", {"queue": "unlabelled", "decisions": [wanted]}, **headers)
        taken.append(time.perf_counter() - began)
    return taken


if __name__ == "__main__":
    sys.exit(main())
