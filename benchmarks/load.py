"""wrk as the client of `serve.py`: what was answered, and how soon."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")


@dataclass
class Saturation:
    """What clients saw.

    Args:
        rate: Pictures answered, each second.
        p50: Milliseconds within which half of the answers came.
        p99: Those within which 99 of 100 did.
        others: Requests that were not answered with 200.
        late: By how many milliseconds at most 99 of 100 requests missed their place in the timetable.
    """

    rate: float
    p50: float
    p99: float
    others: int = 0
    late: float = 0.0


@dataclass
class Load:
    """What clients saw.

    Args:
        seconds: How long they asked.
        failed: Connections that were refused, cut or timed out.
        times: Milliseconds of every answer, sorted, by status.
    """

    seconds: float
    failed: int
    times: dict[int, list[float]]

    @property
    def rate(self) -> float:
        """Pictures answered, each second."""
        return len(self.times.get(200, ())) / self.seconds

    @property
    def errors(self) -> int:
        """What was neither answered nor told to come again."""
        return self.failed + sum(len(times) for status, times in self.times.items() if status not in (200, 503))

    def quantile(self, share: float, status: int = 200) -> float:
        """Milliseconds within which so many of the answers of a status came."""
        times = self.times.get(status) or [float("nan")]
        return times[min(len(times) - 1, int(share * len(times)))]


def saturate(port: int, pictures: Path, clients: int, seconds: float) -> Saturation:
    """Lets clients post the pictures of a folder to `/predict`, each the next one as soon as one is answered.

    Args:
        port: Of the server, on this machine.
        pictures: The folder, of `0000.jpg` and so on.
        clients: How many ask at a time, each with one connection.
        seconds: How long.
    """
    found = _summary(_wrk(port, pictures, clients, seconds, 0, {}))
    if found.others:
        sys.exit(f"error: {found.others} requests were not answered with 200")
    return found


def pace(port: int, pictures: Path, clients: int, seconds: float, rate: float, arrivals: str = "even") -> Saturation:
    """The same by one timetable, which does not wait for answers.

    Args:
        port: See `saturate`.
        pictures: See `saturate`.
        clients: How many connections there are; so many that one is free whenever a request is due.
        seconds: How long.
        rate: Requests a second.
        arrivals: `even`, or `random`: those of a Poisson process.
    """
    return _summary(_wrk(port, pictures, clients, seconds, rate, {"ARRIVALS": arrivals}))


def _summary(said: str) -> Saturation:
    took, failed = re.search(r"took ([\d.]+) seconds, failed (\d+)", said).groups()
    answers, others = map(int, re.search(r"answers (\d+), not 200 (\d+)", said).groups())
    p50, p99 = map(float, re.search(r"p50 ([\d.]+), p99 ([\d.]+)", said).groups())
    late = re.search(r"late p99 (-?[\d.]+)", said)
    rate = (answers - others) / float(took)
    return Saturation(rate, p50, p99, others + int(failed), float(late[1]) if late else 0.0)


def ask(port: int, pictures: Path, clients: int, seconds: float, rate: float = 0.0) -> Load:
    """The same, with the status and the time of every answer.

    Args:
        port: See `saturate`.
        pictures: See `saturate`.
        clients: How many ask at a time, each with one connection.
        seconds: How long.
        rate: How many requests a second all of them send together, by timetable; 0 for as many as are answered.
    """
    said = _wrk(port, pictures, clients, seconds, rate, {"TIMED": "by timetable" if rate else "without pause"})
    took, failed = re.search(r"took ([\d.]+) seconds, failed (\d+)", said).groups()
    times: dict[int, list[float]] = {}
    for status, milliseconds in re.findall(r"^answer (\d+) ([\d.]+)$", said, re.MULTILINE):
        times.setdefault(int(status), []).append(float(milliseconds))
    for answers in times.values():
        answers.sort()
    return Load(float(took), int(failed), times)


def _wrk(port: int, pictures: Path, clients: int, seconds: float, rate: float, more: dict[str, str]) -> str:
    number, threads = len(list(pictures.glob("*.jpg"))), clients if "TIMED" in more else 1
    options = ["-t", f"{threads}", "-c", f"{clients}", "-d", f"{seconds:.0f}s", "--timeout", "30s", "-s", str(SCRIPT)]
    rest = [f"http://127.0.0.1:{port}", "--", str(pictures), f"{number}", f"{rate}", f"{clients}"]
    run = subprocess.run(["wrk", *options, *rest], capture_output=True, text=True, env=os.environ | more, check=False)
    if run.returncode or "took" not in run.stdout:
        sys.exit(f"error: wrk failed\n{run.stdout[-500:]}{run.stderr[-500:]}")
    return run.stdout
