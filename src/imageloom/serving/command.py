"""`imageloom serve`: answers predictions over HTTP, with a page to drop pictures on."""

import argparse
import errno
import logging
import os
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from imageloom import console
from imageloom.engine import cores
from imageloom.errors import ImageloomError
from imageloom.predictor import Predictor
from imageloom.serving.app import MAX_BYTES, PROBLEM, SECURITY_HEADERS, create_app, problem

# A body above this is refused before it is read, and the connection closed, which the sender may see as a reset; one
# between the application's limit and this is read to its end and refused in good order.
MAX_READ_BYTES = 2 * MAX_BYTES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: %(default)s)"
    )
    parser.add_argument("--port", type=_port, default=8090, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("models/export"),
        metavar="DIR",
        help="folder of the exported model (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=_threads,
        default=cores(),
        metavar="N",
        help="pictures predicted at a time (default: the cores, %(default)s here)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM.

    Returns:
        130 after Ctrl-C, 0 after SIGTERM.

    Raises:
        ImageloomError: There is no usable model, or the address cannot be listened on.
    """
    predictor = Predictor(arguments.model)
    _quiet()
    listeners: dict[int, Any] = {}
    server = _listen(create_app(predictor), arguments, listeners)
    for listener in listeners.values():
        if hasattr(listener, "channel_class"):
            listener.channel_class = _Channel
    stopped_by: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped_by.append(number)
        raise SystemExit  # waitress ends its loop at it, after the answers that are under way

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    console.say(f"model {predictor.version} with {len(predictor.labels)} classes at {_address(server, arguments.host)}")
    console.say("Ctrl-C ends it")
    server.run()
    return 130 if stopped_by == [signal.SIGINT] else 0


class _ErrorTask(ErrorTask):
    """What waitress refuses by itself (no HTTP, too large headers or body), in the shape of all other errors."""

    def execute(self) -> None:
        fault = self.request.error
        body = problem(fault.code, str(fault.body))
        self.status = f"{fault.code} {fault.reason}"
        self.response_headers.extend([("Content-Type", PROBLEM), *SECURITY_HEADERS.items()])
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):
    error_task_class = _ErrorTask


def _listen(app: Any, arguments: argparse.Namespace, listeners: dict[int, Any]) -> Any:
    where = f"{arguments.host}:{arguments.port}"
    try:
        return create_server(
            app,
            map=listeners,
            host=arguments.host,
            port=arguments.port,
            threads=arguments.threads,
            max_request_body_size=MAX_READ_BYTES,
            ident="imageloom",
            log_socket_errors=False,
        )
    except ValueError:
        raise ImageloomError(f"there is no address {arguments.host}", "check --host") from None
    except OSError as fault:
        hints = {
            errno.EADDRINUSE: "another program has it: choose one with --port, or let --port 0 find a free one",
            errno.EACCES: "ports below 1024 are for the administrator: choose a higher one with --port",
            errno.EADDRNOTAVAIL: "this machine has no such address: check --host",
        }
        reason = os.strerror(fault.errno) if fault.errno else str(fault)
        raise ImageloomError(
            f"cannot listen on {where}: {reason}", hints.get(fault.errno or 0, "check --host and --port")
        ) from None


def _address(server: Any, host: str) -> str:
    if hasattr(server, "effective_listen"):  # a name such as localhost with an IPv4 and an IPv6 address
        return " and ".join(_link(*pair) for pair in server.effective_listen)
    # waitress looks the host's name up; what the user typed is better known
    return _link(host, server.effective_port)


def _link(host: str, port: int) -> str:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    shown = everywhere.get(host, host)
    link = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    return f"{link} and every other address of this machine" if host in everywhere else link


def _quiet() -> None:
    """Silences waitress's warning about every request that waits for a thread, which under load is each."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)


def _port(text: str) -> int:
    return _number(text, 0, 65535)


def _threads(text: str) -> int:
    return _number(text, 1, 256)


def _number(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}; found {text!r}")
    return int(text)
