"""`make bench-serve`: how near the server comes to what the processors can do, beside LitServe and FastAPI.

The limit is a bare loop in one process, a thread per processor, which decodes, resizes and invokes and does nothing
else. All answer the same pictures (64 photographs of 500 x 334, 30 KB each) by the same TFLite file; the peers run in
an environment of their own with the same versions of Pillow, NumPy and LiteRT, do their work by the same `Predictor`,
and count with the best of several settings. Loop, server and peers are up all the time and take turns of two seconds,
since a machine that is shared is now faster, now slower; what has no turn is stopped. A ratio is the median of those
within a turn, with the mean of the loop before and after. The client is wrk, on the same processors. No answer is kept.

    python benchmarks/serve.py [--model FOLDER] [--seconds 2] [--turns 20] [--overload 60] [--soak 600]
"""

import argparse
import heapq
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import crawl
import load
import servers
from figures import Figure, ratio, show

from imageloom.engine import cores

HERE = Path(__file__).parent

PICTURES = 64
CLIENTS = 16 * cores()  # at saturation: as many as the server lets wait
MANY_CLIENTS = 96  # by timetable: so many that one is free whenever a request is due
PACED = 10  # seconds by timetable, before saturation is measured anew
MOST = 0.8  # of saturation: as busy as a server should be

OURS = "server"
FORMATS = {"float32": "model.tflite", "int8": "model_int8.tflite"}
LIMIT_SHARES = {"float32": ">= 0.92", "int8": ">= 0.88"}
AGAINST_LITSERVE = {"float32": ">= 1.15", "int8": ">= 1.25"}


@dataclass
class Options:
    """What is measured, and for how long."""

    model: Path
    seconds: float
    turns: int
    overload: float
    soak: float


def main() -> None:
    """Measures and prints."""
    if sys.argv[1:2] == ["bare"]:
        bare_loop(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        return
    options = parsed()
    servers.install_peers()
    crawl.PICTURES = PICTURES
    with tempfile.TemporaryDirectory() as scratch:
        pictures = Path(scratch) / "www" / "pictures"
        crawl.write_pictures(pictures)
        figures = []
        for part in measured(options, pictures):
            for figure in part:  # what is known is told, whatever becomes of the rest
                print(f"{figure.name}: {figure.value:.3f} {figure.unit}", flush=True)
            figures += part
    show("serve", figures)


def measured(options: Options, pictures: Path) -> Iterator[list[Figure]]:
    """All that is measured, part by part."""
    for name in FORMATS:
        yield throughput(options, pictures, name)
    yield one_request(options, pictures)
    yield start(options)
    yield from under_load(options, pictures)


def parsed() -> Options:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measures the server beside its peers.")
    parser.add_argument("--model", type=Path, default=Path("models/export"))
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--overload", type=float, default=60)
    parser.add_argument("--soak", type=float, default=600)
    options = Options(**vars(parser.parse_args()))
    missing = [file for file in FORMATS.values() if not (options.model / file).exists()]
    if missing:
        sys.exit(f"error: no {missing[0]} in {options.model}\nhint: `make run` exports a model")
    return options


def throughput(options: Options, pictures: Path, name: str) -> list[Figure]:
    """Pictures a second at saturation: the limit, ours, and the peers."""
    chosen = {who: best_setting(options, pictures, name, settings) for who, settings in all_settings().items()}
    limits: list[float] = []
    found: dict[str, list[load.Saturation]] = {who: [] for who in chosen}
    with ExitStack() as up:
        limit = up.enter_context(bare(options, pictures, name, cores()))
        serving = {who: up.enter_context(server(options, name, setting)) for who, setting in chosen.items()}
        for port, process in serving.values():
            load.saturate(port, pictures, CLIENTS, 1)
            servers.stop(process)
        before = limit(options.seconds).rate
        for turn in range(options.turns):
            for who in reversed(serving) if turn % 2 else serving:
                port, process = serving[who]
                with servers.awake(process):
                    found[who].append(load.saturate(port, pictures, CLIENTS, options.seconds))
            after = limit(options.seconds).rate
            limits.append((before + after) / 2)
            before = after
    rates = {who: [one.rate for one in seen] for who, seen in found.items()}
    ours = rates.pop(OURS)
    figures = [
        Figure(f"{name}: bare loop", statistics.median(limits), "images/s"),
        Figure(f"{name}: server ({described(chosen[OURS])})", statistics.median(ours), "images/s"),
        Figure(f"{name}: server / bare loop", ratio(ours, limits), "ratio", LIMIT_SHARES[name]),
    ]
    for peer, theirs in rates.items():
        bar = AGAINST_LITSERVE[name] if peer == "LitServe" else ">= 1"
        figures += [
            Figure(f"{name}: {peer} ({described(chosen[peer])})", statistics.median(theirs), "images/s"),
            Figure(f"{name}: server / {peer}", ratio(ours, theirs), "ratio", bar),
        ]
    return [
        *figures,
        Figure(f"{name}: p50 of {CLIENTS} clients", statistics.median(one.p50 for one in found[OURS]), "ms"),
        Figure(f"{name}: p99 of {CLIENTS} clients", statistics.median(one.p99 for one in found[OURS]), "ms"),
    ]


def one_request(options: Options, pictures: Path) -> list[Figure]:
    """What the server adds to decode and invoke when there is one client, in turns with the bare loop of one thread."""
    alone, served = [], []
    with servers.ours(options.model / FORMATS["float32"]) as (port, _), bare(options, pictures, "float32", 1) as limit:
        for _ in range(options.turns):
            alone.append(limit(options.seconds).p50)
            served.append(load.ask(port, pictures, 1, options.seconds).quantile(0.5))
    more = [whole - without for whole, without in zip(served, alone, strict=True)]
    return [
        Figure("decode and invoke, median", statistics.median(alone), "ms"),
        Figure("one request at a time, median", statistics.median(served), "ms"),
        Figure("overhead of a request", statistics.median(more), "ms", "< 1.5"),
    ]


def start(options: Options) -> list[Figure]:
    """From the command to the first answer, and what is in memory then."""
    seconds, memory = [], 0.0
    for _ in range(5):
        began = time.perf_counter()
        with servers.ours(options.model / FORMATS["float32"]) as (_, process):
            seconds.append(time.perf_counter() - began)
            memory = servers.resident(process.pid)
            loaded = Path(f"/proc/{process.pid}/maps").read_text()
    return [
        Figure("from command to ready, median", statistics.median(seconds), "s", "< 0.6"),
        Figure("memory when ready", memory, "MB", "< 130"),
        Figure("TensorFlow in the process", float("tensorflow/" in loaded), "", "< 1"),
    ]


def under_load(options: Options, pictures: Path) -> Iterator[list[Figure]]:
    """One server: 80 % of saturation, four times saturation, what comes after, and a long time at 80 %."""
    with servers.ours(options.model / FORMATS["float32"]) as (port, process):
        full = saturated(port, pictures, 10 * options.seconds)
        calm = load.ask(port, pictures, 1, 3).quantile(0.5)
        yield at_most(options, port, pictures)
        with servers.memory_of(process.pid) as seen:
            over = load.ask(port, pictures, MANY_CLIENTS, options.overload, 4 * full.rate)
        time.sleep(1)
        after = load.ask(port, pictures, 1, 1).quantile(0.5)
        offered = sum(map(len, over.times.values())) / over.seconds / full.rate
        yield [
            Figure("overload: requests sent / saturation", offered, "ratio", ">= 3"),
            Figure("overload: answered", over.rate, "images/s"),
            Figure("overload: answered / saturation", over.rate / full.rate, "ratio"),
            Figure("overload: p99 of answers", over.quantile(0.99), "ms"),
            Figure("overload: that / p99 at saturation", over.quantile(0.99) / full.p99, "ratio", "< 2.01"),
            Figure("overload: 503 within, 99 %", over.quantile(0.99, 503), "ms", "< 20"),
            Figure("overload: neither answered nor 503", over.errors, "", "< 1"),
            Figure(
                "overload: memory at its end, beside its start", servers.last(seen) - servers.first(seen), "MB", "< 5"
            ),
            Figure("2 s after overload: median / before", after / calm, "ratio", "< 1.5"),
        ]
        with servers.memory_of(process.pid) as seen:
            long = paced(port, pictures, max(1, round(options.soak / (PACED + 2))), "random")
        after_a_minute = seen[min(60, len(seen) // 2)]
        yield [
            Figure(f"{options.soak:.0f} s at 80 %: p99", statistics.median(one.p99 for one in long), "ms"),
            Figure(f"{options.soak:.0f} s at 80 %: not answered with 200", sum(one.others for one in long), "", "< 1"),
            Figure(
                f"{options.soak:.0f} s at 80 %: memory grows after a minute",
                servers.last(seen) - after_a_minute,
                "MB",
                "< 5",
            ),
            Figure("memory at the end", servers.last(seen), "MB", "< 130"),
        ]


def at_most(options: Options, port: int, pictures: Path) -> list[Figure]:
    """At 80 % of saturation, with requests at even intervals, and as chance sends them (a Poisson process).

    In turns with the bare loop by such a timetable: what is late there is late by the machine.
    """
    turns = max(1, options.turns // 3)
    alone, even = [], []
    with bare(options, pictures, "float32", cores()) as limit:
        for _ in range(turns):
            alone.append(limit(PACED, MOST * limit(2).rate))
            even += paced(port, pictures, 1, "even")
    figures = []
    for what, seen, bar in (
        ("even arrivals", even, "< 3.01"),
        ("the bare loop, even arrivals", alone, ""),
        ("random arrivals", paced(port, pictures, turns, "random"), ""),
    ):
        what = f"80 % of saturation, {what}"
        figures += [
            Figure(f"{what}: p50", statistics.median(one.p50 for one in seen), "ms"),
            Figure(f"{what}: p99", statistics.median(one.p99 for one in seen), "ms"),
            Figure(f"{what}: p99 / p50", ratio([one.p99 for one in seen], [one.p50 for one in seen]), "ratio", bar),
        ]
        if seen is not alone:
            figures += [
                Figure(f"{what}: not answered with 200", sum(one.others for one in seen), "", "< 1"),
                Figure(f"{what}: client late, 99 %", statistics.median(one.late for one in seen), "ms"),
            ]
    return [*figures, Figure("the same of an ideal queue, random arrivals", ideal_ratio(MOST), "ratio")]


def paced(port: int, pictures: Path, turns: int, arrivals: str) -> list[load.Saturation]:
    """At 80 % of what saturation is just before: what was 80 % a minute ago is 110 % where the machine is shared."""
    seen = []
    for _ in range(turns):
        full = load.saturate(port, pictures, CLIENTS, 2)
        time.sleep(0.5)
        seen.append(load.pace(port, pictures, MANY_CLIENTS, PACED, MOST * full.rate, arrivals))
    return seen


def ideal_ratio(share: float, requests: int = 200_000) -> float:
    """p99 / p50 where nothing but chance makes requests wait: Poisson arrivals, every answer takes one unit of time.

    Args:
        share: Of what the processors can do.
        requests: How many are tried.
    """
    chance, now, free, took = random.Random(1), 0.0, [0.0] * cores(), []
    for _ in range(requests):
        now += chance.expovariate(share * cores())
        took.append(max(now, heapq.heappop(free)) + 1 - now)
        heapq.heappush(free, now + took[-1])
    took.sort()
    return took[int(0.99 * requests)] / took[requests // 2]


def saturated(port: int, pictures: Path, seconds: float) -> load.Saturation:
    """As many requests as are answered, after a second to get warm."""
    load.saturate(port, pictures, CLIENTS, 1)
    return load.saturate(port, pictures, CLIENTS, seconds)


def server(options: Options, name: str, setting: list[str]) -> AbstractContextManager[tuple[int, subprocess.Popen]]:
    """A server with one of `all_settings`, when it is ready; its port and its process."""
    if setting[0] == OURS:
        return servers.ours(options.model / FORMATS[name], setting[1:])
    return servers.peer(setting, options.model, name)


def best_setting(options: Options, pictures: Path, name: str, settings: list[list[str]]) -> list[str]:
    """That with which a server is fastest."""
    rates = []
    for setting in settings:
        with server(options, name, setting) as (port, _):
            rates.append(saturated(port, pictures, 3).rate)
    for setting, rate in zip(settings, rates, strict=True):
        print(f"{name}: {Path(setting[0]).stem} with {described(setting)}: {rate:.1f} images/s", flush=True)
    return settings[rates.index(max(rates))]


def all_settings() -> dict[str, list[list[str]]]:
    """What is tried: threads; workers, and processes that speak HTTP; processes, and threads of each."""
    many, more = cores(), cores() + 1
    litserve = {(workers, speakers) for workers in (many, more) for speakers in (1, workers)}
    fastapi = {(1, many), (1, more), (many, 1), (many, 2)}
    return {
        OURS: [[OURS, "--threads", f"{threads}"] for threads in (many, more)],
        "LitServe": [[str(HERE / "peer_litserve.py"), f"{first}", f"{second}"] for first, second in sorted(litserve)],
        "FastAPI and uvicorn": [[str(HERE / "peer_fastapi.py"), f"{one}", f"{two}"] for one, two in sorted(fastapi)],
    }


def described(setting: list[str]) -> str:
    """What the numbers of a setting stand for."""
    words = {
        OURS: ("threads",),
        "peer_litserve": ("workers", "for HTTP"),
        "peer_fastapi": ("processes", "threads each"),
    }
    numbers = [number for number in setting[1:] if number.isdecimal()]
    return ", ".join(f"{number} {word}" for number, word in zip(numbers, words[Path(setting[0]).stem], strict=True))


@contextmanager
def bare(options: Options, pictures: Path, name: str, threads: int) -> Iterator[Callable[..., load.Saturation]]:
    """The bare loop, in a process of its own: runs for some seconds, by a timetable where a rate is given."""
    command = [sys.executable, __file__, "bare", str(options.model / FORMATS[name]), str(pictures), f"{threads}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def run(seconds: float, rate: float = 0.0) -> load.Saturation:
            process.stdin.write(f"{seconds} {rate}\n")
            process.stdin.flush()
            return load.Saturation(*map(float, process.stdout.readline().split()))

        run(1)
        yield run
        process.stdin.close()


def bare_loop(model: Path, folder: Path, threads: int) -> None:
    """Decode, resize, invoke: nothing else. Reads for how many seconds, and how many pictures a second are due (0: the
    next one at once); prints how many were done a second, and median and 99 % of the milliseconds since they were due.
    """
    from ai_edge_litert.interpreter import Interpreter

    from imageloom import images

    pictures = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    interpreters = [Interpreter(model_path=str(model), num_threads=1) for _ in range(threads)]
    for interpreter in interpreters:
        interpreter.allocate_tensors()
    given, answer = (
        details()[0]["index"] for details in (interpreters[0].get_input_details, interpreters[0].get_output_details)
    )

    def work(interpreter: Interpreter) -> list[float]:
        times: list[float] = []
        for number in numbers:
            due = start + number / rate if rate else time.perf_counter()
            if due >= until:
                break
            time.sleep(max(0.0, due - time.perf_counter()))
            interpreter.set_tensor(given, images.load(pictures[number * 17 % len(pictures)], 224)[None])
            interpreter.invoke()
            interpreter.get_tensor(answer)
            times.append(time.perf_counter() - due)
        return times

    with ThreadPoolExecutor(threads) as pool:
        for line in sys.stdin:
            seconds, rate = map(float, line.split())
            numbers, start = itertools.count(), time.perf_counter()
            until = start + seconds
            times = sorted(one for each in pool.map(work, interpreters) for one in each)
            p50, p99 = (1000 * times[int(share * len(times))] for share in (0.5, 0.99))
            print(len(times) / (time.perf_counter() - start), p50, p99, flush=True)


if __name__ == "__main__":
    main()
