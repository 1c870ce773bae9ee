"""`imageloom serve`: answers predictions over HTTP, with a page to drop pictures on."""

import argparse
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

from imageloom import console
from imageloom.engine import cores
from imageloom.serving import memory, settings
from imageloom.serving.gate import WAITING_PER_THREAD, Gate
from imageloom.serving.server import Server
from imageloom.serving.slot import ModelSlot
from imageloom.serving.watch import Watcher
from imageloom.serving.workers import Supervisor
from imageloom.web.sockets import links, listen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: %(default)s)"
    )
    parser.add_argument("--port", type=_port, default=8090, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--model",
        default="models/export",
        metavar="MODEL",
        help="folder of the exported model, a .tflite file, or mlflow:models/NAME@ALIAS (default: %(default)s)",
    )
    parser.add_argument(
        "--watch",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="look so often whether the model has become another, try the newer one, and let it answer if it is sound; "
        "0 looks only when SIGHUP asks for it (default: %(default)g)",
    )
    _add_load(parser)
    settings.add_arguments(parser)


def _add_load(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how much at a time")
    group.add_argument(
        "--threads",
        type=_count,
        metavar="N",
        help="pictures that a process predicts at a time (default: its share of the cores, of which there are "
        f"{cores()} here)",
    )
    group.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="processes; for many cores (default: %(default)s)"
    )
    group.add_argument(
        "--queue",
        type=_number_up_to(100_000),
        metavar="N",
        help="requests that may wait in a process; the next is told to come again, by 503 and Retry-After "
        f"(default: {WAITING_PER_THREAD} for each thread)",
    )
    group.add_argument(
        "--deadline",
        type=_seconds_above_0,
        default=30.0,
        metavar="SECONDS",
        help="do not begin a request that has waited so long (default: %(default)g)",
    )
    group.add_argument(
        "--cache",
        type=_number_up_to(10_000_000),
        default=1000,
        metavar="N",
        help="answers to remember, by the SHA-256 of the picture (default: %(default)s)",
    )
    group.add_argument(
        "--grace",
        type=_seconds_above_0,
        default=20.0,
        metavar="SECONDS",
        help="time to answer what has come in, after SIGTERM (default: %(default)g)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM.

    Returns:
        130 after Ctrl-C; after SIGTERM 0, or 1 when the time of grace was not enough.

    Raises:
        ImageloomError: There is no usable model, or the address cannot be listened on.
    """
    if arguments.add_token is not None:
        return settings.add_token(arguments)
    arguments.threads = arguments.threads or max(1, cores() // arguments.workers)
    logging.getLogger("waitress").setLevel(logging.ERROR)  # that connections wait is told by /metrics
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what is wrong with a picture is told to who sent it
    wanted = settings.of(arguments)  # what cannot be is told before anything begins, and once
    memory.settle()
    slot = ModelSlot(arguments.model, arguments.cache)
    sockets = listen(arguments.host, arguments.port)
    line = f"model {slot.version} with {len(slot.current.labels)} classes at {links(sockets, arguments.host)}"
    if arguments.review:
        line += f"\nreview at {links(sockets, arguments.host, '/review/')}"
    if arguments.workers == 1:
        return _serve(arguments, wanted, slot, sockets, lambda: console.say(f"{line}\nCtrl-C ends it"))
    console.say(f"{line}, by {arguments.workers} processes\nCtrl-C ends it")
    watcher = Watcher(slot)  # so that a worker which takes the place of another begins with the newest model
    looks = _now_and_then(watcher.look, arguments.watch)
    supervisor = Supervisor(arguments.workers, lambda: _serve(arguments, wanted, slot, sockets), sockets, looks)
    return supervisor.run(arguments.grace)


def _serve(
    arguments: argparse.Namespace,
    wanted: settings.Settings,
    slot: ModelSlot,
    sockets: list[socket.socket],
    ready: Callable[[], None] | None = None,
) -> int:
    """Serves in this process.

    Args:
        arguments: Of the command line.
        wanted: What it asks for of the HTTP interface.
        slot: Holds the model.
        sockets: What it listens on.
        ready: Called when requests are answered; None in a worker process, whose supervisor does the talking.
    """
    from imageloom.serving.app import create_app  # not sooner: see `workers.SHARED_METRICS`

    gate = Gate(arguments.threads, arguments.queue, arguments.deadline)
    slot.make_ready(gate.in_every_thread)
    app = create_app(slot, gate, wanted)
    # What is between the limits is read to its end and refused in good order; what is above is refused at once, and
    # the connection closed, which its sender may see as a reset.
    server = Server(app, gate, sockets, 2 * wanted.max_bytes, arguments.trusted_proxy)
    watcher = Watcher(slot, announces=ready is not None)
    threading.Thread(target=watcher.run, args=(arguments.watch,), name="watch", daemon=True).start()
    stopped_by: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if stopped_by and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait
        stopped_by.append(number)
        server.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, lambda number, frame: watcher.ask())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # a worker has let it wait until now
    if ready:
        ready()
    drained = server.run(arguments.grace)
    return 130 if stopped_by == [signal.SIGINT] else int(not drained)


def _now_and_then(look: Callable[[bool], None], seconds: float) -> Callable[[bool], None]:
    """Looks when it is asked to, and else every so many seconds, however often it is called; 0 waits to be asked."""
    next_time = [time.monotonic() + seconds]

    def call(asked: bool) -> None:
        if asked or (seconds and time.monotonic() >= next_time[0]):
            next_time[0] = time.monotonic() + seconds
            look(asked)

    return call


def _port(text: str) -> int:
    return _number(text, 0, 65535)


def _count(text: str) -> int:
    return _number(text, 1, 256)


def _number_up_to(high: int) -> Callable[[str], int]:
    return lambda text: _number(text, 0, high)


def _number(text: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}; found {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 86_400:
        raise argparse.ArgumentTypeError(f"must be a number of seconds from 0 to 86400; found {text!r}")
    return number


def _seconds_above_0(text: str) -> float:
    number = _seconds(text)
    if not number:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return number
