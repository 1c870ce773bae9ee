"""What the command line sets about the HTTP interface."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from imageloom import console
from imageloom.errors import ImageloomError
from imageloom.serving import tokens
from imageloom.web.hosts import is_loopback

MAX_BYTES = 32 * 2**20

INBOX = Path("data/inbox")

# TensorFlow Serving's routes name the model.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")

# A name of a host, or an address of one.
_HOST = re.compile(r"[\w.-]+|\[?[0-9A-Fa-f:.]+\]?")


@dataclass(frozen=True)
class Settings:
    """How the HTTP interface behaves.

    Args:
        name: Of the model, in the routes of TensorFlow Serving.
        max_bytes: The largest body of a request.
        threads: Requests answered at a time; those that wait for another server may take half of them.
        fetches: Whether pictures at addresses that clients name are fetched.
        allow_hosts: What may be fetched although it is inside; see `fetch.netguard`.
        tokens: File of the hashed bearer tokens; None asks for none.
        rate: Pictures a second that one client may ask about; None sets no limit.
        cors: Origins whose pages may ask.
        names: What the server may be asked for as, beside the names of this machine; None lets any name pass.
        access_log: File of a JSON line per request; `-` is standard output, None keeps none.
        inbox: Folder that corrections, and where `keep_unsure` unsure pictures, go to; None keeps none.
        inbox_bytes: How large that folder may grow.
        keep_unsure: Whether pictures of which the model is not sure are kept.
        review: Whether the review page of the project in the current folder is at /review/.
    """

    name: str = "imageloom"
    max_bytes: int = MAX_BYTES
    threads: int = 2
    fetches: bool = True
    allow_hosts: tuple[str, ...] = ()
    tokens: Path | None = None
    rate: float | None = None
    cors: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    access_log: str | None = None
    inbox: Path | None = None
    inbox_bytes: int = 256 * 2**20
    keep_unsure: bool = False
    review: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options; `of` reads them, and `--host` and `--threads`, which the command declares."""
    group = parser.add_argument_group("who may ask, and for what")
    group.add_argument(
        "--tokens",
        type=Path,
        metavar="FILE",
        help="answer only those who send one of the bearer tokens whose hashes are in FILE; the page, /healthz, "
        "/readyz and /docs are open",
    )
    group.add_argument(
        "--add-token", metavar="NAME", help="add a new token to the file of --tokens, print it this once, and end"
    )
    group.add_argument(
        "--rate",
        type=_rate,
        metavar="N",
        help="pictures a second that one client may ask about, five seconds' worth at once; one request may hold more, "
        "for which the next waits (default: any number)",
    )
    group.add_argument(
        "--cors",
        type=_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let the pages of ORIGIN, such as https://shop.example, ask; may be repeated; * lets all",
    )
    group.add_argument(
        "--fetch",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="fetch pictures whose addresses clients name, from public servers (default: only where --host is this "
        "machine alone)",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="fetch from this host or network although it is inside, on every port or, as in localhost:8000, on one; "
        "may be repeated",
    )
    group.add_argument(
        "--trusted-proxy",
        metavar="ADDRESS",
        help="believe what the proxy at ADDRESS says in X-Forwarded-For about who asks",
    )
    group.add_argument(
        "--review",
        action="store_true",
        help="show the review page of the project in this folder at /review/, for this machine alone, so not with "
        "--tokens or another --host, nor with several --workers (for others: `imageloom review --token`)",
    )
    _add_names(parser)
    _add_keeping(parser)


def _add_names(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what it is called")
    group.add_argument(
        "--server-name",
        type=_host,
        action="append",
        default=[],
        metavar="NAME",
        help="answer to NAME, too, as a proxy may pass on in Host; may be repeated; * answers to any (default: only to "
        "localhost and the like where --host is this machine alone and there are no --tokens, else to any)",
    )
    group.add_argument(
        "--name",
        type=_name,
        default="imageloom",
        help="the model's name in TensorFlow Serving's routes, /v1/models/NAME (default: %(default)s)",
    )


def _add_keeping(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is kept")
    group.add_argument("--access-log", metavar="FILE", help="append a JSON line for each request; - is standard output")
    group.add_argument(
        "--inbox",
        choices=("off", "corrections", "unsure"),
        help=f"what goes to {INBOX} for review: pictures that visitors say are named wrongly, or also those of which "
        "the model is not sure (default: corrections where --host is this machine alone, else off)",
    )
    group.add_argument(
        "--inbox-size",
        type=_megabytes,
        default=256,
        metavar="MB",
        help="keep no more than this there (default: %(default)s)",
    )


def of(arguments: argparse.Namespace) -> Settings:
    """The settings that the parsed command line asks for.

    Raises:
        ImageloomError: `--allow-host` names no host, or `--review` cannot be.
    """
    _check_hosts(arguments.allow_host)
    alone = is_loopback(arguments.host)
    keeps = arguments.inbox or ("corrections" if alone else "off")
    return Settings(
        name=arguments.name,
        threads=arguments.threads,
        fetches=alone if arguments.fetch is None else arguments.fetch,
        allow_hosts=tuple(arguments.allow_host),
        tokens=arguments.tokens,
        rate=arguments.rate,
        cors=tuple(arguments.cors),
        names=_names(arguments, alone),
        access_log=arguments.access_log,
        inbox=None if keeps == "off" else INBOX.absolute(),
        inbox_bytes=arguments.inbox_size * 2**20,
        keep_unsure=keeps == "unsure",
        review=_reviews(arguments, alone),
    )


def _names(arguments: argparse.Namespace, alone: bool) -> tuple[str, ...] | None:
    # A page of another site that has taken this machine's address knows no token.
    checks = arguments.server_name or (alone and not arguments.tokens)
    return tuple(arguments.server_name) if checks else None


def _reviews(arguments: argparse.Namespace, alone: bool) -> bool:
    if arguments.review and (not alone or arguments.workers > 1 or arguments.tokens):
        raise ImageloomError(
            "--review is for this machine alone, served by one process, without --tokens",
            "`imageloom review --host ... --token` shows the page to others",
        )
    return bool(arguments.review)


def _check_hosts(hosts: Sequence[str]) -> None:
    from imageloom.fetch.netguard import AllowanceError, allowance

    for host in hosts:
        try:
            allowance(host)
        except AllowanceError as fault:
            raise ImageloomError(f"--allow-host: {host!r} {fault}", fault.hint) from None


def add_token(arguments: argparse.Namespace) -> int:
    """Adds the token that `--add-token` names, and prints it.

    Returns:
        0.

    Raises:
        ImageloomError: It cannot be added.
    """
    if arguments.tokens is None:
        raise ImageloomError("--add-token needs the file to add to", "name it: --tokens FILE --add-token NAME")
    console.say(tokens.add(arguments.tokens, arguments.add_token))
    return 0


def _rate(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.001 <= number <= 1e6:
        raise argparse.ArgumentTypeError(f"must be a number from 0.001 to 1000000; found {text!r}")
    return number


def _megabytes(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**6:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 1000000; found {text!r}")
    return int(text)


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if text != "*" and (parts.scheme not in ("http", "https") or text != f"{parts.scheme}://{parts.netloc}"):
        raise argparse.ArgumentTypeError(f"must be an origin such as https://shop.example; found {text!r}")
    return text


def _host(text: str) -> str:
    if text != "*" and not _HOST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"must be a name such as shop.example, without a port; found {text!r}")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"must be letters, digits, dots, hyphens and underscores; found {text!r}")
    return text
