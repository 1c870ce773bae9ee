"""Files in storages that fsspec knows, such as `s3://bucket/pictures/1.jpg`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from imageloom.errors import DataError
from imageloom.fetch.http import Fetched
from imageloom.fetch.status import Status

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# What an address may begin with, and the package that reads it. fsspec knows more; some of them would read files of
# this machine or fetch from the web without its guard, and lists of addresses come from outside.
DRIVERS = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "memory": "fsspec",
}


def is_storage(path: str) -> bool:
    """Whether a path is an address in a storage and not on this machine."""
    return "://" in path


def open_file(path: str, root: Path, where: str) -> BinaryIO:
    """Opens a file of this machine or of a storage.

    Args:
        path: Its address in a storage, or its path, from `root` where it is relative.
        root: The project's folder.
        where: What names it in `params.yaml`, for messages.

    Raises:
        DataError: It cannot be read.
    """
    if not is_storage(path):
        try:
            return (root / path).open("rb")
        except OSError as fault:
            raise DataError(f"{where}: cannot read this file: {fault.strerror}", "check its path") from None
    with _told(where):
        file: BinaryIO = filesystem(path, where).open(path, "rb")
        return file


def files(address: str, where: str) -> Iterator[str]:
    """The addresses of all files below a folder of a storage, sorted.

    Raises:
        DataError: It cannot be read.
    """
    storage = filesystem(address, where)
    protocol = address.partition("://")[0]
    with _told(where):
        found = storage.find(address)
    return (f"{protocol}://{path.lstrip('/')}" for path in sorted(found))


def reader(address: str, where: str) -> Callable[[int], Fetched]:
    """What reads a file of a storage, as `Candidate.read` wants it."""
    storage = filesystem(address, where)

    def read(limit: int) -> Fetched:
        try:
            with storage.open(address, "rb") as file:
                body = file.read(limit + 1)
        except FileNotFoundError:
            return Fetched(Status.GONE, error="no such file")
        except Exception as fault:  # each driver raises what its service's client does
            return Fetched(Status.HTTP_ERROR, error=f"cannot be read: {fault}")
        return within(body, limit)

    return read


def within(body: bytes, limit: int) -> Fetched:
    """What was read, or `too_large` where it is longer than `limit`."""
    if len(body) > limit:
        return Fetched(Status.TOO_LARGE, error=f"more than {limit:,} bytes")
    return Fetched(Status.OK, body=body)


def filesystem(address: str, where: str) -> "AbstractFileSystem":
    """The driver for an address.

    Raises:
        DataError: No driver for it is known, or it is not installed.
    """
    import fsspec

    protocol = address.partition("://")[0]
    if protocol not in DRIVERS:
        known = ", ".join(f"{name}://" for name in DRIVERS)
        raise DataError(f"{where}: {protocol}:// is no storage that can be read", f"known are: {known}")
    package = DRIVERS[protocol]
    try:
        return fsspec.filesystem(protocol)
    except ImportError:
        message = f"{where}: {protocol}:// needs the package {package}, which is not installed"
        raise DataError(message, f"`pip install {package}`, and name it beside your other requirements") from None


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Turns whatever a driver raises into an error that says which storage it was."""
    try:
        yield
    except DataError:
        raise
    except Exception as fault:
        why = "no such file or folder" if isinstance(fault, FileNotFoundError) else str(fault) or repr(fault)
        hint = "check the address, and that this machine may read it, by its driver's own settings and environment"
        raise DataError(f"{where}: cannot read this storage: {why}", hint) from None
