"""What a user names, as pictures: files, folders, patterns, addresses on the web, and what is piped in."""

import contextlib
import functools
import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from imageloom import console, images
from imageloom.errors import DataError, ImageError, ImageloomError

if TYPE_CHECKING:
    from imageloom.fetch.client import Client

STDIN = "-"

# No picture of up to images.MAX_PIXELS is larger; it keeps a film named by mistake out of memory.
MAX_BYTES = 512 * 2**20

FETCHED_AT_ONCE = 16

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)


class Read(Protocol):
    """Gives a picture's bytes.

    Raises:
        ImageError: There is no picture.
        OSError: It cannot be read.
    """

    def __call__(self) -> bytes:
        """See the class."""


@dataclass(frozen=True)
class Picture:
    """A picture that was named.

    Args:
        name: What to call it.
        place: Where what is made from it is written, below a folder for that.
        read: Gives its bytes.
        is_remote: Whether that waits for the network.
    """

    name: str
    place: Path
    read: Read
    is_remote: bool = False


@contextlib.contextmanager
def opened(words: Sequence[str], allow_hosts: Sequence[str]) -> Iterator[list[Picture]]:
    """The pictures, in the order in which they are named and, in a folder, of their names.

    Args:
        words: Files, folders, patterns such as `photos/**/*.jpg`, addresses, or `-` for what is piped in.
        allow_hosts: Hosts, host:ports and networks that may be asked although they are inside; see `fetch.netguard`.

    Raises:
        DataError: A folder holds no picture, or a pattern matches nothing.
        ImageloomError: An entry of `allow_hosts` is none of these.
    """
    with contextlib.ExitStack() as stack:
        client = None
        if any(_ADDRESS.match(word) for word in words):
            client = stack.enter_context(_client(allow_hosts))
        yield [picture for word in words for picture in _named(word, client)]


def listed(source: str) -> list[str]:
    """What a file names, one on each line.

    Args:
        source: The file, or `-` for what is piped in.

    Raises:
        DataError: It cannot be read.
    """
    if source == STDIN:
        _check_piped()
    try:
        data = _stdin() if source == STDIN else Path(source).read_bytes()
    except OSError as fault:
        raise DataError(f"cannot read {source}: {fault.strerror}", "check --files-from") from None
    return [os.fsdecode(line) for line in data.replace(b"\r\n", b"\n").split(b"\n") if line]


def _client(allow_hosts: Sequence[str]) -> "Client":
    from imageloom.fetch.client import Client
    from imageloom.fetch.http import Limits

    # robots.txt is for those who follow links, and opting out is about training: here a person names each address.
    limits = Limits(
        concurrency=FETCHED_AT_ONCE, retries=1, obey_robots=False, obey_opt_out=False, allow_hosts=allow_hosts
    )
    try:
        return Client(limits)
    except ValueError as fault:
        raise ImageloomError(
            f"--allow-host: {fault}", "name a host, a host:port or a network such as 10.0.0.0/8"
        ) from None


def _named(word: str, client: "Client | None") -> Iterable[Picture]:
    if client is not None and _ADDRESS.match(word):
        return [Picture(word, _place(word), functools.partial(_fetch, client, word), is_remote=True)]
    if word == STDIN:
        _check_piped()
        return [Picture(STDIN, Path("stdin"), _stdin)]
    path = Path(word)
    if not path.exists() and glob.has_magic(word):
        matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - Path.glob takes no whole path
        if not matches:
            raise DataError(
                f"nothing matches {console.readable(word)}", "check the pattern; ** stands for folders below folders"
            )
        return [picture for match in matches for picture in _at(Path(match))]
    return _at(path)


def _at(path: Path) -> Iterable[Picture]:
    """A file, whatever its name, or the pictures below a folder."""
    if not path.is_dir():
        return [Picture(str(path), Path(path.name), functools.partial(_read, path))]
    found = sorted(
        Path(folder) / name
        for folder, _, names in os.walk(path)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in images.EXTENSIONS
    )
    if not found:
        raise DataError(
            f"no picture in {console.readable(str(path))}", "name a folder of pictures, or the files themselves"
        )
    return [Picture(str(file), file.relative_to(path), functools.partial(_read, file)) for file in found]


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise ImageError("not a file", "not_image")  # a pipe or a device may never end
    if path.stat().st_size > MAX_BYTES:
        raise _too_large()
    return path.read_bytes()


def _stdin() -> bytes:
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _too_large()
    return data


def _check_piped() -> None:
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError("nothing is piped in", "pipe a picture in, as in: imageloom predict - < photo.jpg")


def _fetch(client: "Client", url: str) -> bytes:
    from imageloom.fetch.status import GOOD

    fetched = client.get(url)
    if fetched.status not in GOOD:
        reason = fetched.error or str(fetched.status)
        # The guard speaks of a crawl's parameter; here an option lets an address through.
        reason = reason.replace("if scrape.allow_hosts has", "with --allow-host")
        raise ImageError(reason, "not_image")
    return fetched.body


def _place(url: str) -> Path:
    name = PurePosixPath(urlsplit(url).path).name
    return Path(re.sub(r"[^\w.-]", "_", name)[-100:] or "picture")


def _too_large() -> ImageError:
    return ImageError(f"larger than {MAX_BYTES // 2**20} MB", "not_image")
