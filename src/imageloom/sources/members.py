"""What an archive holds, read from it member by member: zip, tar, and tar compressed by gzip, bzip2 or xz."""

import bz2
import gzip
import lzma
import tarfile
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from imageloom.errors import DataError
from imageloom.fetch.http import Fetched
from imageloom.fetch.status import Status
from imageloom.files import write_fault
from imageloom.sources.storage import within

# A member's path inside, and what reads it, as `Candidate.read` wants it.
Member = tuple[str, Callable[[int], Fetched]]

CHUNK = 1 << 20

_COMPRESSED: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_FAULTS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)

# The others are rare, and their readers unpack as much as a damaged or evil member tells them to.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def opened(
    file: BinaryIO, where: str, encoding: str | None, max_unpacked: int, folder: Path
) -> Iterator[Iterator[Member]]:
    """The members of an archive that are files; they can be read from several threads until the block ends.

    Args:
        file: The archive; what it is, is told by its first bytes.
        where: What names it in `params.yaml`, for messages.
        encoding: Of the names inside, where the archive does not say it.
        max_unpacked: How many bytes a compressed tar may unpack to.
        folder: Where a compressed tar is unpacked, to one file that has no name.

    Raises:
        DataError: It is damaged, is no archive, has names in another encoding, or unpacks to more than
            `max_unpacked`; from the iterator as well.
        ImageloomError: The disk is full.
    """
    with ExitStack() as stack:
        with _told(where):
            if zipfile.is_zipfile(file):
                found = _of_zip(stack.enter_context(zipfile.ZipFile(file, metadata_encoding=encoding)))
            else:
                plain = _unpacked(file, where, max_unpacked, folder, stack)
                tar = stack.enter_context(tarfile.open(fileobj=plain, mode="r:", encoding=encoding or "utf-8"))
                found = _of_tar(tar, plain, where)
        yield found


def _unpacked(file: BinaryIO, where: str, limit: int, folder: Path, stack: ExitStack) -> BinaryIO:
    """The tar itself; one that is compressed is unpacked to a file that goes when `stack` ends."""
    file.seek(0)
    start = file.read(6)
    file.seek(0)
    unpack = next((method for magic, method in _COMPRESSED.items() if start.startswith(magic)), None)
    if unpack is None:
        return file
    size = 0
    with unpack(file) as unpacked:
        whole: BinaryIO = _written(folder, partial(tempfile.TemporaryFile, dir=folder))
        stack.callback(whole.close)
        while chunk := unpacked.read(CHUNK):
            size += len(chunk)
            if size > limit:
                hint = "raise max_unpacked if it is no bomb, or make it a zip, which need not be unpacked"
                raise DataError(f"{where}: unpacks to more than {limit:,} bytes", hint)
            _written(folder, partial(whole.write, chunk))
        _written(folder, partial(whole.seek, 0))
    return whole


def _of_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    for info in archive.infolist():
        if info.filename and not info.is_dir():
            yield info.filename.replace("\\", "/"), partial(_read_zipped, archive, info)


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> Fetched:
    if info.compress_type not in _METHODS:
        return Fetched(Status.CORRUPT, error=f"compressed by method {info.compress_type}, which is not read")
    if info.file_size > limit:
        return Fetched(Status.TOO_LARGE, error=f"more than {limit:,} bytes")
    try:
        with archive.open(info) as member:
            return within(member.read(limit + 1), limit)
    except (*_FAULTS, RuntimeError, ValueError) as fault:  # RuntimeError: encrypted
        return Fetched(Status.CORRUPT, error=f"damaged in the archive: {fault}")


def _of_tar(tar: tarfile.TarFile, file: BinaryIO, where: str) -> Iterator[Member]:
    lock = threading.Lock()  # one file, one place in it: the listing moves it as well as each reading
    while True:
        with lock, _told(where):
            info = tar.next()
            tar.members.clear()  # type: ignore[attr-defined]  # else it remembers all
        if info is None:
            break
        if info.isreg() and not info.issparse():
            yield info.name, partial(_read_at, file, lock, (info.offset_data, info.size))
    with lock:
        file.seek(tar.offset)
        rest = file.read(tarfile.BLOCKSIZE)
    if rest.strip(b"\0"):  # tarfile takes a damaged header for the end
        raise _damaged(where, f"no header at byte {tar.offset:,}")


def _read_at(file: BinaryIO, lock: threading.Lock, place: tuple[int, int], limit: int) -> Fetched:
    start, size = place
    if size > limit:
        return Fetched(Status.TOO_LARGE, error=f"more than {limit:,} bytes")
    try:
        with lock:
            file.seek(start)
            body = file.read(size)
    except OSError as fault:
        return Fetched(Status.CORRUPT, error=f"cannot be read from the archive: {fault}")
    if len(body) < size:
        return Fetched(Status.CORRUPT, error="cut short in the archive")
    return Fetched(Status.OK, body=body)


def _written(folder: Path, write: Callable[[], Any]) -> Any:
    try:
        return write()
    except OSError as fault:
        raise write_fault(folder, fault) from fault


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except UnicodeError as fault:
        hint = "set names_encoding to what they are in, such as gbk; else make the archive again"
        raise DataError(f"{where}: names in it cannot be read: {fault}", hint) from None
    except (*_FAULTS, RuntimeError) as fault:  # RuntimeError: a zip of a version that is not known
        raise _damaged(where, str(fault)) from None


def _damaged(where: str, why: str) -> DataError:
    return DataError(f"{where}: damaged, or no zip or tar: {why}", "make or fetch the archive again")
