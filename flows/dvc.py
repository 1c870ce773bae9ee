"""Runs DVC as a subprocess, line by line, and tells what came of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows import PROJECT

# How long a stage has after Ctrl-C to put its files in order before it is killed.
SECONDS_TO_END = 20

# What DVC says when it need not run the stage -> what that means for a reader.
_SKIPPED = {"didn't change, skipping": "up to date", "is cached - skipping run": "restored from DVC's cache"}

# What DVC says when another of its processes is at work on what this one needs; the first is followed by who that is.
_BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")


@dataclass(frozen=True)
class Outcome:
    """What came of a stage.

    Args:
        stage: Its name.
        status: `ran`, `up to date`, `restored from DVC's cache` or `failed`.
        seconds: How long DVC took, start-up included.
        lines: What the stage itself printed.
        error: One line, empty unless it failed.
    """

    stage: str
    status: str
    seconds: float
    lines: list[str]
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether DVC ended with another code than 0."""
        return self.status == "failed"


def reproduce(stage: str, force: bool, log: Callable[[str], object]) -> Outcome:
    """Reproduces one stage, without those before it.

    Args:
        stage: Its name in `dvc.yaml`.
        force: Runs it even when nothing has changed.
        log: Called with each line as it comes.
    """
    started = time.monotonic()
    code, lines = run(["repro", "--single-item", *(["--force"] if force else []), stage], log)
    seconds = time.monotonic() - started
    if code != 0:
        return Outcome(stage, "failed", seconds, _said_by_stage(lines), error(lines, code))
    status = next((meaning for line in lines for words, meaning in _SKIPPED.items() if words in line), "ran")
    return Outcome(stage, status, seconds, _said_by_stage(lines))


def run(words: list[str], log: Callable[[str], object], project: Path = PROJECT) -> tuple[int, list[str]]:
    """Runs a command of DVC to its end.

    Args:
        words: The command, such as `["repro", "train"]`.
        log: Called with each line as it comes.
        project: The folder of the dvc.yaml in which it runs.

    Returns:
        Its code, and its lines.
    """
    lines: list[str] = []
    # A session of its own, so that Ctrl-C reaches it through us, and whatever it started with it.
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *words],
        cwd=project,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line := line.rstrip().rpartition("\r")[2]:
                lines.append(line)
                log(line)
        return process.wait(), lines
    finally:
        _end(process)


def environment() -> dict[str, str]:
    """The stages' commands stand beside the interpreter, whether or not the environment is activated."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])  # noqa: PTH120
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def _said_by_stage(lines: list[str]) -> list[str]:
    """The lines between DVC's `> imageloom train` and what it says about its lock file."""
    start = next((number for number, line in enumerate(lines, start=1) if line.startswith("> ")), len(lines))
    ends = ("Updating lock file", "Generating lock file", "ERROR: failed to reproduce", "Use `dvc push`")
    end = next((number for number, line in enumerate(lines) if number >= start and line.startswith(ends)), len(lines))
    return lines[start:end]


def error(lines: list[str], code: int) -> str:
    """The line that says what went wrong: the stage's own before DVC's, with the hint that follows it."""
    if any(line.startswith("ERROR: ") and words in line for line in lines for words in _BUSY):
        who = next((f" {line.strip().partition(':')[0]}" for line in lines if line.startswith("  (PID ")), "")
        return f"another run of DVC{who} is at work on the same files (hint: wait until it has ended, then try again)"
    for beginning in ("error: ", "ERROR: "):
        for number in range(len(lines) - 1, -1, -1):
            if lines[number].startswith(beginning):
                hint = lines[number + 1] if number + 1 < len(lines) and lines[number + 1].startswith("hint: ") else ""
                return lines[number].removeprefix(beginning) + (f" ({hint})" if hint else "")
    return lines[-1] if lines else f"dvc ended with code {code}"


def _end(process: subprocess.Popen[str]) -> None:
    """Ends what is still running, as after Ctrl-C or when Prefect cancels the run."""
    for number, seconds in ((signal.SIGINT, SECONDS_TO_END), (signal.SIGKILL, SECONDS_TO_END)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
