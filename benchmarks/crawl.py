"""`make bench-crawl`: how fast a crawl is beside img2dataset, and that its memory does not grow.

Both crawl the same 10,000 addresses (2,000 photographs of about 29 KB under five addresses each) from an nginx on this
machine, in turns, each run a process of its own. img2dataset is installed into an environment of its own on the first
run, and runs with the best of several numbers of processes and threads: the bars are on that. It gives each process one
shard at a time, and its shards hold 10,000 addresses unless it is told otherwise, so that here a second process has
nothing to do. With shards of 1,000 both are busy: shown beside it, as who knows it well would run it.

The machine may be shared, and now faster, now slower: so what is compared runs one after the other, a ratio is the
median of those within a turn, and a rate that of the middle turn.

A steady rate is what the tool itself says about its crawling; wall clock counts its start and end as well. Memory is
what all processes of a crawl take together, where what they share counts once (Linux's "proportional set size").

The second crawl is measured with both kinds of web servers: one that says how long its pictures stay as they are
(nginx's `expires`), as those that serve pictures usually do, and one that says nothing, so that every picture is asked
for and answered with 304.
"""

import asyncio
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, ratio, show

CACHE = Path(__file__).parents[1] / ".bench"
OTHER = "img2dataset==1.47.0"

PICTURES, ADDRESSES = 2_000, 5
MANY, FEW = 100_000, 5_000
TURNS = 3  # of each speed

SIZE = 224
PROCESSES_AND_THREADS = ((1, 16), (2, 8), (2, 16), (2, 32))
SHARDS = {"at its best": 10_000, "at its best, in shards of 1,000": 1_000}

DELAY, CONCURRENCY, DELAYED = 0.2, 24, 1_200


@dataclass
class Run:
    """One crawl: its own steady rate in images a second, wall seconds, peak memory of all its processes in MB."""

    rate: float
    wall: float
    memory: float


def main() -> None:
    """Measures and prints."""
    if sys.argv[1:2] == ["delayed"]:
        asyncio.run(serve_delayed(Path(sys.argv[2]), int(sys.argv[3])))
        return
    tool = other_tool()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        root.chmod(0o755)  # nginx gives up its rights when it has them
        print(f"making {PICTURES:,} pictures ...", flush=True)
        mean = write_pictures(root / "www" / "pictures")
        with nginx(root) as (port, lasting):
            figures = [Figure("a picture", mean / 1000, "KB"), *speeds(root, tool, port), *again(root, port, lasting)]
            figures += memory(root, port)
        figures += delayed(root)
    show("crawl", figures)


def speeds(root: Path, tool: Path, port: int) -> list[Figure]:
    """The same crawl in three ways, by both."""
    urls = addresses(port)
    (root / "urls.txt").write_text("\n".join(urls))
    own: dict[str, list[Run]] = {way: [] for way in WAYS}
    theirs: dict[tuple[str, str], list[Run]] = {(way, shards): [] for way in WAYS for shards in SHARDS}
    settings = {shards: best_setting(root, tool, shards) for shards in SHARDS}
    for _ in range(TURNS):
        for way, options in WAYS.items():
            own[way].append(ours(project(root / "ours", urls, f"  resize: {SIZE}\n" if way == SMALL else "")))
            for shards in SHARDS:
                theirs[way, shards].append(img2dataset(root, tool, settings[shards], [*options, *in_shards(shards)]))
    plain = [run for way, runs in own.items() if way != SMALL for run in runs]
    first = middle(plain)
    figures = [*rates("crawl", first), *rates(f"crawl to {SIZE}", middle(own[SMALL]))]
    for (way, shards), runs in theirs.items():
        figures += rates(f"img2dataset {way}, {shards}", middle(runs))
    for way, bar in BARS.items():
        figures += [
            Figure(f"crawl / img2dataset {way}, {shards}", faster(own[way], theirs[way, shards]), "ratio", barred)
            for shards, barred in zip(SHARDS, (bar, ""), strict=True)
        ]
    return [
        *figures,
        Figure("start and end, beside the crawling", first.wall - len(urls) / first.rate, "s", "< 1"),
        Figure("peak memory", max(run.memory for run in plain), "MB", "< 150"),
        Figure(f"peak memory, to {SIZE}", max(run.memory for run in own[SMALL]), "MB", "< 150"),
        Figure("peak memory of img2dataset", middle(theirs["without resizing", "at its best"]).memory, "MB"),
    ]


def again(root: Path, port: int, lasting: int) -> list[Figure]:
    """A second crawl when nothing has changed, of a server that says nothing of time and of one that does."""
    figures = []
    for name, at in (("every picture asked for", port), ("every picture still fresh", lasting)):
        first, second, sent = [], [], 0
        for _ in range(TURNS):
            first.append(ours(project(root / "again", addresses(at))))
            before = bytes_sent(root)
            second.append(ours(root / "again"))
            sent += bytes_sent(root) - before
        wall = ratio([run.wall for run in first], [run.wall for run in second])
        figures += [
            *rates(f"second crawl, {name}", middle(second)),
            Figure(f"second / first crawl, {name}, steady", faster(second, first), "ratio", ">= 8"),
            Figure(f"second / first crawl, {name}, wall clock", wall, "ratio"),
            Figure("bytes of pictures in it", sent, "bytes", "< 1"),
        ]
    return figures


def rates(name: str, found: Run) -> list[Figure]:
    """What a run's two rates are shown as."""
    return [
        Figure(f"{name}, steady", found.rate, "images/s"),
        Figure(f"{name}, wall clock", PICTURES * ADDRESSES / found.wall, "images/s"),
    ]


def addresses(port: int) -> list[str]:
    """Every picture of the server at a port, under each of its addresses."""
    return [f"http://127.0.0.1:{port}/{n}/{i:04d}.jpg" for n in range(1, ADDRESSES + 1) for i in range(PICTURES)]


def memory(root: Path, port: int) -> list[Figure]:
    """Peak memory by the number of addresses; most of them are not there, which costs as much memory and less time."""
    peak = {}
    for number in (FEW, MANY):
        urls = [f"http://127.0.0.1:{port}/{'1' if i < PICTURES else 'none'}/{i:04d}.jpg" for i in range(number)]
        peak[number] = ours(project(root / f"{number}", urls)).memory
    return [
        Figure(f"peak memory, {FEW:,} addresses", peak[FEW], "MB"),
        Figure(f"peak memory, {MANY:,} addresses", peak[MANY], "MB"),
        Figure(f"memory {MANY:,} / {FEW:,}", peak[MANY] / peak[FEW], "ratio", "< 1.2"),
    ]


def delayed(root: Path) -> list[Figure]:
    """The rate from a server that answers every request late."""
    port = free_port()
    server = subprocess.Popen([sys.executable, __file__, "delayed", str(root / "www" / "pictures"), str(port)])
    try:
        wait_for(port)
        urls = [f"http://127.0.0.1:{port}/{i:04d}.jpg" for i in range(DELAYED)]
        rate = ours(project(root / "delayed", urls)).rate
    finally:
        server.terminate()
        server.wait()
    limit = CONCURRENCY / DELAY
    return [
        Figure(f"crawl, every answer {DELAY * 1000:.0f} ms late", rate, "images/s"),
        Figure(f"that / {CONCURRENCY} at a time", rate / limit, "ratio", ">= 0.8"),
    ]


def project(root: Path, urls: list[str], settings: str = "") -> Path:
    """A new project of two classes that crawls `urls`."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "data" / "urls").mkdir(parents=True)
    half = len(urls) // 2
    for name, part in (("one", urls[:half]), ("two", urls[half:])):
        (root / "data" / "urls" / f"urls_{name}.csv").write_text("\n".join(part))
    (root / "params.yaml").write_text(
        "classes: [{name: one}, {name: two}]\n"
        f"scrape:\n  concurrency: {CONCURRENCY}\n  per_host: {CONCURRENCY}\n  allow_hosts: ['127.0.0.1']\n"
        f"{settings}  sources: [{{kind: urls}}]\n"
    )
    return root


def ours(root: Path) -> Run:
    """`imageloom scrape` of a project."""
    said, wall, peak = run([sys.executable, "-m", "imageloom.cli", "scrape", "-C", str(root)])
    found = re.search(r"^scrape: .* \(([\d,]+)/s\)$", said, re.MULTILINE)
    if found is None:
        sys.exit(f"imageloom scrape failed:\n{said}")
    return Run(float(found.group(1).replace(",", "")), wall, peak)


SMALL = f"to {SIZE}"
WAYS = {
    "without resizing": ["--resize_mode", "no"],
    "that never decodes": ["--resize_mode", "no", "--disable_all_reencoding", "True"],
    SMALL: ["--resize_mode", "keep_ratio", "--image_size", f"{SIZE}", "--resize_only_if_bigger", "True"],
}
BARS = dict(zip(WAYS, (">= 2.5", ">= 1.3", ">= 2"), strict=True))


def in_shards(name: str) -> list[str]:
    """img2dataset's option for shards of one of the sizes."""
    return ["--number_sample_per_shard", f"{SHARDS[name]}"]


def img2dataset(root: Path, tool: Path, setting: tuple[int, int], options: list[str]) -> Run:
    """img2dataset of the same addresses, to files as well."""
    folder = root / "theirs"
    shutil.rmtree(folder, ignore_errors=True)
    said, wall, peak = run(
        [
            *(str(tool), "--url_list", str(root / "urls.txt"), "--output_folder", str(folder)),
            *("--output_format", "files", "--enable_wandb", "False"),
            *("--processes_count", f"{setting[0]}", "--thread_count", f"{setting[1]}", *options),
        ]
    )
    shards = [json.loads(path.read_text()) for path in folder.glob("*_stats.json")]
    if sum(shard["successes"] for shard in shards) != PICTURES * ADDRESSES:
        sys.exit(f"img2dataset failed:\n{said}")
    seconds = max(shard["end_time"] for shard in shards) - min(shard["start_time"] for shard in shards)
    return Run(PICTURES * ADDRESSES / seconds, wall, peak)


def best_setting(root: Path, tool: Path, shards: str) -> tuple[int, int]:
    """The number of processes and threads with which img2dataset is fastest without resizing."""
    options = [*WAYS["without resizing"], *in_shards(shards)]
    found = max(PROCESSES_AND_THREADS, key=lambda setting: img2dataset(root, tool, setting, options).rate)
    print(f"img2dataset, {shards}: {found[0]} processes x {found[1]} threads are best here", flush=True)
    return found


def middle(runs: list[Run]) -> Run:
    """The one with the median rate."""
    return sorted(runs, key=lambda run: run.rate)[len(runs) // 2]


def faster(ours: list[Run], others: list[Run]) -> float:
    """How many times as many images a second."""
    return ratio([run.rate for run in ours], [run.rate for run in others])


def run(command: list[str]) -> tuple[str, float, float]:
    """What a command says, its wall seconds, and the peak memory in MB of it and its children together."""
    start, peak, ended = time.perf_counter(), [0.0], threading.Event()
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )

    def watch() -> None:
        while not ended.wait(0.2):
            peak[0] = max(peak[0], memory_of_session(child.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    said, _ = child.communicate()
    wall = time.perf_counter() - start
    ended.set()
    watcher.join()
    return said, wall, peak[0]


def memory_of_session(session: int) -> float:
    """MB of memory that the processes of a session take together; what they share counts once."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except OSError:  # it has just ended
            continue
    return total / 1e6


def write_pictures(folder: Path) -> float:
    """Writes JPEGs of 500 x 334 cut from scikit-learn's photographs, no two the same; returns their mean bytes."""
    from PIL import Image, ImageEnhance
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True)
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    dice, total = random.Random(7), 0
    for number in range(PICTURES):
        photograph = photographs[number % 2]
        left, top = dice.randrange(photograph.width - 500), dice.randrange(photograph.height - 334)
        picture = photograph.crop((left, top, left + 500, top + 334))
        file = io.BytesIO()
        ImageEnhance.Brightness(picture).enhance(dice.uniform(0.8, 1.2)).save(file, "JPEG", quality=75)
        total += file.tell()
        (folder / f"{number:04d}.jpg").write_bytes(file.getvalue())
    for number in range(1, ADDRESSES + 1):
        (folder.parent / f"{number}").symlink_to("pictures")
    return total / PICTURES


NGINX = """
worker_processes 2; daemon off; pid nginx.pid; error_log nginx.log crit;
events {{ worker_connections 1024; }}
http {{
  types {{ image/jpeg jpg; }}
  log_format short "$status $body_bytes_sent";
  access_log access.log short buffer=32k flush=1s;
  sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
  root www; error_page 404 =404 /none;
  server {{ listen 127.0.0.1:{port}; location = /none {{ return 404; }} }}
  server {{ listen 127.0.0.1:{lasting}; expires 30d; }}
}}
"""


@contextmanager
def nginx(root: Path) -> Iterator[tuple[int, int]]:
    """nginx that serves `root`/www at two ports: saying nothing of time, and that pictures stay as they are."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("error: nginx is needed\nhint: apt-get install nginx-light")
    port, lasting = free_port(), free_port()
    (root / "nginx.conf").write_text(NGINX.format(port=port, lasting=lasting))
    server = subprocess.Popen([program, "-p", str(root), "-c", "nginx.conf", "-e", "nginx.log"])
    try:
        wait_for(port)
        wait_for(lasting)
        yield port, lasting
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait()


def bytes_sent(root: Path) -> int:
    """Bytes of bodies in nginx's answers 200 so far."""
    time.sleep(1.5)  # it writes its log once a second
    lines = (line.split() for line in (root / "access.log").read_text().splitlines())
    return sum(int(size) for status, size in lines if status == "200")


async def serve_delayed(folder: Path, port: int) -> None:
    """Serves pictures by their number, each after `DELAY`."""
    pictures = {path.name: path.read_bytes() for path in folder.iterdir()}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.readline():
            while (await reader.readline()).strip():
                pass
            await asyncio.sleep(DELAY)
            body = pictures.get(request.split()[1].decode().lstrip("/"))
            status = "200 OK" if body else "404 Not Found"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body or b'')}\r\n\r\n".encode() + (body or b""))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await server.serve_forever()


def other_tool() -> Path:
    """img2dataset's command, from an environment of its own that is made once."""
    tool = CACHE / "img2dataset" / "bin" / "img2dataset"
    if not tool.exists():
        print(f"installing {OTHER} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(tool.parents[1])], check=True)
        python = str(tool.with_name("python"))
        subprocess.run([python, "-m", "pip", "install", "--quiet", OTHER, "setuptools<81"], check=True)
    return tool


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(port: int) -> None:
    """Waits until something listens."""
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens at port {port}")


if __name__ == "__main__":
    main()
