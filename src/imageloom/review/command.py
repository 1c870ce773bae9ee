"""`imageloom review`: a page on which people look at doubtful pictures and decide about them, by keyboard."""

import argparse
import logging
import os
import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from imageloom import console, decisions
from imageloom.errors import ImageloomError
from imageloom.files import Paths
from imageloom.review import cleaned
from imageloom.review.app import Review, create_app, me
from imageloom.review.door import Door
from imageloom.review.queues import QUEUES
from imageloom.web.hosts import is_loopback
from imageloom.web.problems import RequestError
from imageloom.web.sockets import links, listen

# Browsers ask for six things at a time; each of a few people is answered at once.
THREADS = 8

# Of a request: a group of a thousand near duplicates needs a fifth of it.
BODY_BYTES = 2**20

LEAST_TOKEN = 16  # characters, so that it cannot be guessed

# So many pictures of each queue are made ready while nobody waits for them.
READY = 12

TOKEN_VARIABLE = "IMAGELOOM_REVIEW_TOKEN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("-C", "--project", type=Path, default=Path(), metavar="DIR", help="folder of params.yaml")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; another than this machine's own needs --token (default: %(default)s)",
    )
    parser.add_argument("--port", type=_port, default=8091, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--token",
        nargs="?",
        const="",
        default=os.environ.get(TOKEN_VARIABLE),
        help="let in only those who know TOKEN; without a word after it one is made up, and the link with it is "
        f"printed; {TOKEN_VARIABLE} in the environment does the same",
    )
    parser.add_argument(
        "--who", default="", help="who decides, as decisions.csv names them (default: your name on this machine)"
    )
    group = parser.add_argument_group("fastai's cleaned.csv (name,label), instead of the page")
    group.add_argument("--import", dest="import_", type=Path, metavar="FILE", help="take its decisions in, and end")
    group.add_argument("--export", type=Path, metavar="FILE", help="write pictures and classes there, and end")


def run(arguments: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C or SIGTERM.

    Returns:
        130 after Ctrl-C, else 0.

    Raises:
        ImageloomError: Nothing was crawled yet, a table is damaged, or the address cannot be listened on.
    """
    paths = Paths(arguments.project.resolve())
    who = arguments.who or me()
    if arguments.import_ or arguments.export:
        if arguments.import_:
            console.say(cleaned.take_in(arguments.import_, paths, who))
        if arguments.export:
            console.say(cleaned.give_out(arguments.export, paths))
        return 0
    token = _token(arguments)
    review = Review(paths, Door(arguments.host, token), who)
    decisions.begin(paths.decisions)
    sockets = listen(arguments.host, arguments.port)
    waiting = sum(queue["total"] - queue["done"] for queue in review.board.progress() if queue["name"] in QUEUES)
    link = links(sockets, arguments.host, f"/?token={quote(token)}" if token else "")
    return _serve(review, sockets, f"{waiting:,} to look at, at {link}\nCtrl-C ends it")


def _serve(review: Review, sockets: list[Any], line: str) -> int:
    from waitress.server import create_server

    for name in ("waitress", "waitress.queue", "PIL"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    server = create_server(
        create_app(review), sockets=sockets, threads=THREADS, max_request_body_size=BODY_BYTES, ident="imageloom"
    )

    stopped_by: list[int] = []

    def stop(number: int, frame: object) -> NoReturn:
        stopped_by.append(number)
        sys.exit(130 if number == signal.SIGINT else 0)  # for one that comes before the server runs

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    threading.Thread(target=_make_ready, args=(review,), name="thumbnails", daemon=True).start()
    console.say(line)
    server.run()  # ends by SystemExit, which it takes for a wish to end in good order
    server.close()
    return 130 if stopped_by == [signal.SIGINT] else 0


def _make_ready(review: Review) -> None:
    """Makes the pictures with which each queue begins."""
    for queue in QUEUES:
        entries, _ = review.board.batch(queue, 0, READY)
        for name in (member["id"] for entry in entries for member in entry["members"][:READY]):
            for kind in ("pictures", "thumbnails"):
                try:
                    review.shown(kind, name)
                except RequestError:  # it is told when somebody asks for it
                    continue


def _token(arguments: argparse.Namespace) -> str | None:
    token: str | None = arguments.token
    if token == "":
        return secrets.token_urlsafe(24)
    if token is None and not is_loopback(arguments.host):
        raise ImageloomError(
            f"whoever can reach {arguments.host} could decide about your pictures",
            "add --token, which lets in only those who have the link",
        )
    if token is not None and len(token) < LEAST_TOKEN:
        raise ImageloomError(f"the token has fewer than {LEAST_TOKEN} characters", "let --token alone make one up")
    return token


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 65535; found {text!r}")
    return int(text)
