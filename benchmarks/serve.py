"""`make bench-serve`: how near the server comes to what the processors can do, beside LitServe and FastAPI.

The limit is a bare loop in one process, a thread per processor, which decodes, resizes and invokes and does nothing
else. All answer the same pictures (64 photographs of 500 x 334, 30 KB each) by the same TFLite file; the peers run in
an environment of their own with the same versions of Pillow, NumPy and LiteRT, do their work by the same `Predictor`,
and count with the best of several settings. Loop, server and peers take turns, and of each the best turn counts, which
other work on this machine has disturbed least. The client is wrk, on the same processors. No answer is cached.

    python benchmarks/serve.py [--model FOLDER] [--seconds 8] [--turns 3] [--overload 60] [--soak 600]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import crawl
import load
import servers
from figures import Figure, show

from imageloom.engine import cores

HERE = Path(__file__).parent

PICTURES = 64
CLIENTS = 16 * cores()  # at saturation: as many as the server lets wait
MANY_CLIENTS = 96  # by timetable: so many that one is free whenever a request is due

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
        bare_loop(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
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
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--overload", type=float, default=60)
    parser.add_argument("--soak", type=float, default=600)
    options = Options(**vars(parser.parse_args()))
    missing = [file for file in FORMATS.values() if not (options.model / file).exists()]
    if missing:
        sys.exit(f"error: no {missing[0]} in {options.model}\nhint: `make run` exports a model")
    return options


def throughput(options: Options, pictures: Path, name: str) -> list[Figure]:
    """Pictures a second at saturation: the limit, ours, and the peers."""
    settings = {"LitServe": litserve_settings(), "FastAPI and uvicorn": fastapi_settings()}
    chosen = {peer: best_setting(options, pictures, name, commands) for peer, commands in settings.items()}
    rates: dict[str, list[float]] = {who: [] for who in ("limit", "ours", *settings)}
    times = []
    for _ in range(options.turns):
        rates["limit"].append(bare(options, pictures, name, cores(), options.seconds)[0])
        with servers.ours(options.model / FORMATS[name]) as (port, _):
            found = saturated(port, pictures, options.seconds)
        rates["ours"].append(found.rate)
        times.append(found)
        for peer, command in chosen.items():
            with servers.peer(command, options.model, name) as (port, _):
                rates[peer].append(saturated(port, pictures, options.seconds).rate)
    best = {who: max(found) for who, found in rates.items()}
    fastest = max(times, key=lambda found: found.rate)
    peers = [
        figure
        for peer in settings
        for figure in (
            Figure(f"{name}: {peer} ({described(chosen[peer])})", best[peer], "images/s"),
            Figure(
                f"{name}: server / {peer}",
                best["ours"] / best[peer],
                "ratio",
                AGAINST_LITSERVE[name] if peer == "LitServe" else ">= 1",
            ),
        )
    ]
    return [
        Figure(f"{name}: bare loop", best["limit"], "images/s"),
        Figure(f"{name}: server", best["ours"], "images/s"),
        Figure(f"{name}: server / bare loop", best["ours"] / best["limit"], "ratio", LIMIT_SHARES[name]),
        *peers,
        Figure(f"{name}: p50 of {CLIENTS} clients", fastest.p50, "ms"),
        Figure(f"{name}: p99 of {CLIENTS} clients", fastest.p99, "ms"),
    ]


def one_request(options: Options, pictures: Path) -> list[Figure]:
    """What the server adds to decode and invoke when there is one client, in turns with the bare loop of one thread."""
    alone, served = [], []
    with servers.ours(options.model / FORMATS["float32"]) as (port, _):
        for _ in range(2 * options.turns):
            alone.append(bare(options, pictures, "float32", 1, 3)[1])
            served.append(load.ask(port, pictures, 1, 3).quantile(0.5))
    return [
        Figure("decode and invoke, median", min(alone), "ms"),
        Figure("one request at a time, median", min(served), "ms"),
        Figure("overhead of a request", min(served) - min(alone), "ms", "< 1.5"),
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
        full = saturated(port, pictures, 2 * options.seconds)
        calm = load.ask(port, pictures, 1, 3).quantile(0.5)
        most = load.ask(port, pictures, MANY_CLIENTS, 3 * options.seconds, 0.8 * full.rate)
        yield [
            Figure("80 % of saturation: p50", most.quantile(0.5), "ms"),
            Figure("80 % of saturation: p99", most.quantile(0.99), "ms"),
            Figure("80 % of saturation: p99 / p50", most.quantile(0.99) / most.quantile(0.5), "ratio", "< 3.01"),
        ]
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
            long = load.ask(port, pictures, MANY_CLIENTS, options.soak, 0.8 * full.rate)
        after_a_minute = seen[min(60, len(seen) // 2)]
        yield [
            Figure(f"{options.soak:.0f} s at 80 %: p99", long.quantile(0.99), "ms"),
            Figure(f"{options.soak:.0f} s at 80 %: errors", long.errors + len(long.times.get(503, ())), "", "< 1"),
            Figure(
                f"{options.soak:.0f} s at 80 %: memory grows after a minute",
                servers.last(seen) - after_a_minute,
                "MB",
                "< 5",
            ),
            Figure("memory at the end", servers.last(seen), "MB", "< 130"),
        ]


def saturated(port: int, pictures: Path, seconds: float) -> load.Saturation:
    """As many requests as are answered, after a second to get warm."""
    load.saturate(port, pictures, CLIENTS, 1)
    return load.saturate(port, pictures, CLIENTS, seconds)


def best_setting(options: Options, pictures: Path, name: str, commands: list[list[str]]) -> list[str]:
    """The command of a peer with which it is fastest."""
    rates = []
    for command in commands:
        with servers.peer(command, options.model, name) as (port, _):
            rates.append(saturated(port, pictures, options.seconds / 2).rate)
    for command, rate in zip(commands, rates, strict=True):
        print(f"{name}: {Path(command[0]).stem} with {described(command)}: {rate:.1f} images/s", flush=True)
    return commands[rates.index(max(rates))]


def litserve_settings() -> list[list[str]]:
    """Commands by the number of workers, and of processes that speak HTTP."""
    numbers = {(workers, speakers) for workers in (cores(), cores() + 1) for speakers in (1, workers)}
    return [[str(HERE / "peer_litserve.py"), f"{workers}", f"{speakers}"] for workers, speakers in sorted(numbers)]


def fastapi_settings() -> list[list[str]]:
    """Commands by the number of processes, and of threads in each."""
    numbers = {(1, cores()), (1, cores() + 1), (cores(), 1), (cores(), 2)}
    return [[str(HERE / "peer_fastapi.py"), f"{processes}", f"{threads}"] for processes, threads in sorted(numbers)]


def described(command: list[str]) -> str:
    """What the numbers of a peer's command stand for."""
    words = ("workers", "for HTTP") if "litserve" in command[0] else ("processes", "threads each")
    return ", ".join(f"{number} {word}" for number, word in zip(command[1:], words, strict=True))


def bare(options: Options, pictures: Path, name: str, threads: int, seconds: float) -> tuple[float, float]:
    """Pictures a second of the bare loop, and the median of one in milliseconds, in a process of its own."""
    command = [sys.executable, __file__, "bare", str(options.model / FORMATS[name]), str(pictures), f"{threads}"]
    said = subprocess.run([*command, f"{seconds}"], capture_output=True, text=True, check=True).stdout.split()
    return float(said[0]), float(said[1])


def bare_loop(model: Path, folder: Path, threads: int, seconds: float) -> None:
    """Decode, resize, invoke: nothing else. Prints images a second, and the median milliseconds of one."""
    from ai_edge_litert.interpreter import Interpreter

    from imageloom import images

    pictures = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    ready = threading.Barrier(threads + 1)
    times: list[list[float]] = [[] for _ in range(threads)]

    def work(mine: list[float]) -> None:
        interpreter = Interpreter(model_path=str(model), num_threads=1)
        interpreter.allocate_tensors()
        given, answer = (
            details()[0]["index"] for details in (interpreter.get_input_details, interpreter.get_output_details)
        )

        def one(data: bytes) -> None:
            interpreter.set_tensor(given, images.load(data, 224)[None])
            interpreter.invoke()
            interpreter.get_tensor(answer)

        one(pictures[0])
        ready.wait()
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            one(pictures[len(mine) * 17 % len(pictures)])
            mine.append(time.perf_counter() - began)

    loops = [threading.Thread(target=work, args=(mine,)) for mine in times]
    for loop in loops:
        loop.start()
    ready.wait()
    began = time.perf_counter()
    for loop in loops:
        loop.join()
    took = time.perf_counter() - began
    every = [one for mine in times for one in mine]
    print(len(every) / took, 1000 * statistics.median(every))


if __name__ == "__main__":
    main()
