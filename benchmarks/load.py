"""wrk as the client of `serve.py`: what was answered, and how soon."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")


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


def ask(port: int, pictures: Path, clients: int, seconds: float, rate: float = 0.0) -> Load:
    """Lets clients post the pictures of a folder to `/predict`.

    Args:
        port: Of the server, on this machine.
        pictures: The folder, of `0000.jpg` and so on.
        clients: How many ask at a time, each with one connection.
        seconds: How long.
        rate: How many requests a second all of them send together, by timetable; 0 for as many as are answered.
    """
    number = len(list(pictures.glob("*.jpg")))
    run = subprocess.run(
        [
            *("wrk", "-t", f"{clients}", "-c", f"{clients}", "-d", f"{seconds:.0f}s", "--timeout", "30s"),
            *("-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--", str(pictures), f"{number}", f"{rate}", f"{clients}"),
        ],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | ({"RATE": f"{rate}"} if rate else {}),
    )
    summary = re.search(r"^took ([\d.]+) seconds, failed (\d+)$", run.stdout, re.MULTILINE)
    if summary is None:
        raise RuntimeError(f"wrk failed: {run.stdout[-500:]}{run.stderr[-500:]}")
    times: dict[int, list[float]] = {}
    for status, milliseconds in re.findall(r"^answer (\d+) ([\d.]+)$", run.stdout, re.MULTILINE):
        times.setdefault(int(status), []).append(float(milliseconds))
    for answers in times.values():
        answers.sort()
    return Load(float(summary[1]), int(summary[2]), times)
