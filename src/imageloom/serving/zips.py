"""Takes the pictures out of a zip file that a client sent, which may be made to do harm.

Nothing is written anywhere, so a name with `..` in it leads nowhere. What costs time or memory is limited before it is
spent: the length of the listing, the number of members, each one's size as it unfolds, and the sum of all.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from imageloom import images

MAX_MEMBERS = 200
MAX_TOTAL = 256 * 2**20
_MAX_LISTING = 400 * MAX_MEMBERS  # bytes: 46 for each member, and its name

# What every program writes. The others take long, or ask for as much memory as the file says.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_END = struct.Struct("<4s4H2LH")  # APPNOTE.TXT 4.3.16, end of central directory record
_LOCATOR_BYTES = 20  # 4.3.15, Zip64 end of central directory locator, which stands before it
_ENCRYPTED = 0x1


class ZipError(ValueError):
    """The file, or one of its members, is not taken; the message says why."""


def is_zip(data: bytes) -> bool:
    """Whether the bytes begin as a zip file does, an empty one included."""
    return data[:4] in (b"PK\3\4", b"PK\5\6")


def members(data: bytes, max_bytes: int) -> Iterator[tuple[str, bytes | ZipError]]:
    """Names and contents of the pictures, in the file's order; a fault in place of a content that is not taken.

    Folders, and files whose names are none of a picture's, are passed over; so are the hidden ones that macOS adds.

    Args:
        data: The zip file.
        max_bytes: How large a picture may be.

    Raises:
        ZipError: It is no zip file, is damaged, or holds too much.
    """
    _check_listing(data)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except Exception as fault:  # a damaged listing raises whatever the parser ran into
        raise ZipError(f"the zip file is damaged: {fault}") from None
    left = MAX_TOTAL
    for info in (info for info in archive.infolist() if _is_picture(info)):
        limit = min(max_bytes, left)
        yield info.filename, _content(archive, info, limit)
        left -= min(limit, info.file_size)  # `_content` unfolds no more
        if left <= 0:
            raise ZipError(f"the zip file unfolds to more than the {MAX_TOTAL:,} bytes allowed")


def _check_listing(data: bytes) -> None:
    """Looks where zipfile will look, before it reads a listing that may have millions of lines."""
    where = len(data) - _END.size
    if data[where : where + 4] != b"PK\5\6":
        where = data.rfind(b"PK\5\6", max(0, len(data) - _END.size - 0xFFFF))
    if where < 0 or where + _END.size > len(data):
        raise ZipError("the zip file is cut short")
    if data[max(0, where - _LOCATOR_BYTES) : where].startswith(b"PK\6\7"):  # to another list of any length
        raise ZipError("the zip file is a ZIP64 one, which nothing of this size needs")
    _, _, _, _, count, length, _, _ = _END.unpack_from(data, where)
    if count > MAX_MEMBERS or length > _MAX_LISTING:
        raise ZipError(f"the zip file lists more than the {MAX_MEMBERS} members allowed")


def _is_picture(info: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(info.filename)
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return not info.filename.endswith("/") and not hidden and path.suffix.lower() in images.EXTENSIONS


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes | ZipError:
    """Never more than `limit`, nor unfolds more than the listing says, whatever is there."""
    if info.flag_bits & _ENCRYPTED:
        return ZipError("encrypted")
    if info.compress_type not in _METHODS:
        return ZipError("compressed in a way that is not taken: use deflate, as every program does")
    try:
        with archive.open(info) as member:
            content = member.read(min(limit, info.file_size) + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, struct.error) as fault:
        return ZipError(f"damaged: {fault}")
    return content if len(content) <= limit else ZipError(f"larger than the {limit:,} bytes allowed")
