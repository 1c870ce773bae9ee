"""`python -m flows.ui`, or `make ui`: Prefect's server and MLflow's page, and the nightly recrawl, until Ctrl-C.

Starts three processes, each with its log in .prefect/logs/, and ends all when one ends or when it is ended itself.
It imports neither Prefect nor MLflow, so that a port that is taken is said at once.
"""

import argparse
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import yaml

from flows import HOME, PROJECT
from flows.address import ADDRESS, answers, written

SECONDS_TO_START = 120  # the first start makes the databases, on a slow disk too
SECONDS_TO_END = 60  # on a busy machine the runs that are cut short are noted as such some time later

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # without its job runner MLflow is two processes and not nine
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "10",  # at 60, a time set less than a minute ahead is missed
    "PREFECT_RUNNER_POLL_FREQUENCY": "5",
    "PYTHONUNBUFFERED": "1",
}

# Has MLflow show its pages about runs and models; it opens those about chatbots otherwise.
TRAINING = "?workflowType=machine_learning"


class CannotStartError(Exception):
    """What is in the way, and what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass
class Child:
    """One of the processes.

    Args:
        name: What people call it.
        log: Where its output goes.
        process: Itself, the leader of a session of its own: Ctrl-C reaches it through us, and in the right order.
    """

    name: str
    log: Path
    process: subprocess.Popen[bytes]


def main(arguments: list[str] | None = None) -> int:
    """Starts everything and waits.

    Returns:
        130 after Ctrl-C, 0 after SIGTERM, 2 when something could not start or ended by itself.
    """
    parsed = _parse(arguments)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)  # the terminal was closed
    children: list[Child] = []
    with ExitStack() as held:
        try:
            held.enter_context(_only_one())
            _start(parsed, children)
            _watch(children)
        except CannotStartError as fault:
            sys.stderr.write(f"error: {fault.message}\nhint: {fault.hint}\n")
            return 2
        except KeyboardInterrupt:
            return 130
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of them behind
            if children:  # else the file is of another `make ui`
                ADDRESS.unlink(missing_ok=True)
            _end(children)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m flows.ui", description="Prefect, MLflow and the nightly recrawl.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--prefect-port", type=int, default=4200, metavar="PORT", help="default: %(default)s")
    parser.add_argument("--mlflow-port", type=int, default=5000, metavar="PORT", help="default: %(default)s")
    return parser.parse_args(arguments)


@contextmanager
def _only_one() -> Iterator[None]:
    """Holds this project's place for `make ui`, which the system gives back when a process is killed.

    Two would each run the nightly recrawl, and the flows could find only one of them.
    """
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "ui.lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            api = written()
            where = f", at {api.removesuffix('/api')}" if api else " and about to be up"
            raise CannotStartError(
                f"`make ui` of this project is running already{where}",
                "use that one, or end it with Ctrl-C where it was started",
            ) from None
        ADDRESS.unlink(missing_ok=True)  # of one that was killed
        yield


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _start(parsed: argparse.Namespace, children: list[Child]) -> None:
    """Starts the servers together, waits until both answer, then starts what waits for the schedule."""
    store, experiment = tracking()
    local = not store.startswith(("http:", "https:"))
    _check_port(parsed.host, parsed.prefect_port, "Prefect", "--prefect-port")
    if local:
        _check_port(parsed.host, parsed.mlflow_port, "MLflow", "--mlflow-port")
    prefect, mlflow = f"http://{parsed.host}:{parsed.prefect_port}", f"http://{parsed.host}:{parsed.mlflow_port}"
    _say("starting (the first time takes a little longer)")
    where = ["--host", parsed.host, "--port"]
    children.append(
        _child("prefect server", ["-m", "prefect", "server", "start", *where, str(parsed.prefect_port)], {})
    )
    if local:
        words = [
            "-m",
            "mlflow",
            "server",
            *where,
            str(parsed.mlflow_port),
            "--workers",
            "1",
            "--backend-store-uri",
            store,
        ]
        children.append(_child("mlflow", [*words, "--default-artifact-root", (PROJECT / "mlruns").as_uri()], {}))
    for address in (f"{prefect}/api/health", *([f"{mlflow}/health"] if local else [])):
        _wait(children, partial(answers, address))
    children.append(_child("recrawl", ["-m", "flows.recrawl", "--serve"], {"PREFECT_API_URL": f"{prefect}/api"}))
    _wait(children, ADDRESS.exists)
    _say(f"Prefect  {prefect}  runs, artifacts and the schedule of recrawl/nightly")
    _say(f"MLflow   {_runs_page(mlflow, experiment) if local else store}  results and models")
    _say("Ctrl-C ends them; between, `python -m flows.pipeline` shows up in Prefect")


def tracking() -> tuple[str, str]:
    """Where the stage `track` logs, with a SQLite file named from the project's folder, and its experiment."""
    try:
        content = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8")) or {}
        settings = content.get("track") or {}
        uri = str(settings.get("tracking_uri") or "sqlite:///mlflow.db")
        experiment = str(settings.get("experiment") or "imageloom")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as fault:
        reason = str(fault).splitlines()[0]
        raise CannotStartError(
            f"cannot read params.yaml: {reason}", "`imageloom track --help` tells what stands in it"
        ) from None
    scheme, _, path = uri.partition(":///")
    return f"sqlite:///{PROJECT / path}" if scheme == "sqlite" else uri, experiment


def _runs_page(mlflow: str, experiment: str) -> str:
    """The page with the table of the experiment's runs; before the first run, that of all experiments."""
    name = urllib.parse.urlencode({"experiment_name": experiment})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{mlflow}/api/2.0/mlflow/experiments/get-by-name?{name}", timeout=10) as response:
            number = json.load(response)["experiment"]["experiment_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{mlflow}/#/experiments{TRAINING}"
    return f"{mlflow}/#/experiments/{number}/runs{TRAINING}"


def _check_port(host: str, port: int, name: str, option: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as fault:
            reason = getattr(fault, "strerror", None) or str(fault)
            raise CannotStartError(
                f"{name} cannot listen on {host}:{port}: {reason}",
                f"another program has it, or another project's; `python -m flows.ui {option} PORT` takes another port",
            ) from None


def _child(name: str, words: list[str], environment: dict[str, str]) -> Child:
    log = HOME / "logs" / f"{name.replace(' ', '_')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # A proxy does not know this machine's ports.
    direct = {
        key: ",".join(filter(None, [os.environ.get(key), "127.0.0.1,localhost"])) for key in ("NO_PROXY", "no_proxy")
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=PROJECT,
            env={**os.environ, **SETTINGS, **direct, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(name, log, process)


def _wait(children: list[Child], ready: Callable[[], bool]) -> None:
    """Waits until the last started is ready."""
    deadline = time.monotonic() + SECONDS_TO_START
    while not ready():
        _check_alive(children)
        if time.monotonic() > deadline:
            raise CannotStartError(f"not all is up after {SECONDS_TO_START} s", f"see {children[0].log.parent}")
        time.sleep(0.2)


def _watch(children: list[Child]) -> None:
    while True:
        _check_alive(children)
        time.sleep(0.5)


def _check_alive(children: list[Child]) -> None:
    for child in children:
        code = child.process.poll()
        if code is not None:
            tail = child.log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()[-5:]
            sys.stderr.write("".join(f"  {line}\n" for line in tail))
            raise CannotStartError(f"{child.name} ended with code {code}", f"all that it said is in {child.log}")


def _end(children: list[Child]) -> None:
    """Ends the last first: a recrawl under way tells the server so while that still listens."""
    for child in reversed(children):
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGINT)  # to itself alone: it ends its own in good order
            try:
                child.process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                _say(f"{child.name} does not end; killed")
        _kill_session(child.process.pid)  # and what may be left of its own


def _kill_session(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
