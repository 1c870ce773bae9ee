"""The servers that `serve.py` measures: started, waited for, watched and ended."""

import importlib.metadata
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import crawl

HERE = Path(__file__).parent
PEERS = crawl.CACHE / "servers"
PACKAGES = ("litserve==0.2.19", "fastapi==0.165.0", "uvicorn[standard]==0.54.0")

SECONDS_TO_START = 120


def install_peers() -> None:
    """Makes the peers' environment, once."""
    done = PEERS / "installed"
    if done.exists():
        return
    print(f"installing {', '.join(PACKAGES)} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(PEERS)], check=True)
    same = [f"{name}=={importlib.metadata.version(name)}" for name in ("numpy", "pillow", "ai-edge-litert")]
    python = str(PEERS / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-qq", *PACKAGES, *same], check=True)
    done.touch()


@contextmanager
def peer(command: list[str], folder: Path, name: str) -> Iterator[tuple[int, subprocess.Popen]]:
    """A peer that is ready; its port and its process."""
    port = crawl.free_port()
    script, *numbers = command
    full = [str(PEERS / "bin" / "python"), script, f"{port}", *numbers, str(folder), name]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "src")}
    with running(full, port, environment) as process:
        yield port, process


@contextmanager
def ours(model: Path, options: Sequence[str] = ()) -> Iterator[tuple[int, subprocess.Popen]]:
    """Our server when it is ready; its port and its process."""
    port = crawl.free_port()
    command = [sys.executable, "-m", "imageloom.cli", "serve", "--port", f"{port}", "--cache", "0", "--inbox", "off"]
    with running([*command, *options, "--model", str(model)], port, dict(os.environ)) as process:
        yield port, process


@contextmanager
def running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A server in a session of its own, from its first answer on; all of the session is ended at the end."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, start_new_session=True)
        try:
            until = time.monotonic() + SECONDS_TO_START
            while not answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    sys.exit(f"{' '.join(command)} failed:\n{said.read().decode()[-2000:]}")
                time.sleep(0.005)
            yield process
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                if session(process.pid):
                    os.killpg(process.pid, signal.SIGCONT)
                    os.killpg(process.pid, number)
                    ended(process)


def stop(process: subprocess.Popen) -> None:
    """Stops all of a session, until `awake`."""
    os.killpg(process.pid, signal.SIGSTOP)


@contextmanager
def awake(process: subprocess.Popen) -> Iterator[None]:
    """Lets a session that was stopped run while the block lasts, and as long after as it takes to do what is left."""
    os.killpg(process.pid, signal.SIGCONT)
    yield
    time.sleep(0.3)
    stop(process)


def ended(process: subprocess.Popen, seconds: float = 5) -> None:
    """Waits for all of a session to end."""
    until = time.monotonic() + seconds
    while session(process.pid) and time.monotonic() < until:
        process.poll()
        time.sleep(0.05)


def session(leader: int) -> list[int]:
    """The processes of a session that run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def answers(port: int) -> bool:
    """Whether a picture is answered; any HTTP answer counts, since the peers say what they like to no picture."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/labels", timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def resident(pid: int) -> float:
    """Resident memory of a process, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


@contextmanager
def memory_of(pid: int) -> Iterator[list[float]]:
    """Resident MB of a process, second by second, while the block lasts."""
    seen, over = [resident(pid)], threading.Event()

    def watch() -> None:
        while not over.wait(1):
            seen.append(resident(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def first(seen: list[float]) -> float:
    """The median of the first tenth, and at least of three, after one second to begin."""
    return statistics.median(seen[1 : max(4, len(seen) // 10)])


def last(seen: list[float]) -> float:
    """The median of the last tenth, and at least of three."""
    return statistics.median(seen[-max(3, len(seen) // 10) :])
