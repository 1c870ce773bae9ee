"""Reads an answer's body within limits, and unfolds it where it was compressed."""

import zlib
from typing import TYPE_CHECKING

from imageloom.errors import ImageloomError
from imageloom.fetch.status import Status

if TYPE_CHECKING:
    import aiohttp

ENCODINGS = "gzip, deflate"  # what is asked for

# A page of a thousand equal table rows shrinks to a fiftieth; what shrinks further, and is not small, was made to.
LARGEST_RATIO = 100
SMALL = 1_000_000


class BodyError(ImageloomError):
    """A body that is not taken.

    Args:
        status: Why.
        message: The same, for people.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_body(answer: "aiohttp.ClientResponse", limit: int) -> bytes:
    """The body, unfolded.

    Args:
        answer: Of a session that does not unfold by itself.
        limit: In bytes, before unfolding and after it.

    Raises:
        BodyError: It is too large, a bomb, or not what its headers say.
    """
    length = answer.content_length
    if (length or 0) > limit:
        raise BodyError(Status.TOO_LARGE, f"more than {limit:,} bytes")
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding in ("", "identity"):
        if length is not None:  # the parser reads no further
            return await answer.read()
        return await _read_up_to(answer, limit)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise BodyError(Status.HTTP_ERROR, f"Content-Encoding {encoding!r} was not asked for")
    packed = await _read_up_to(answer, limit)
    try:
        return _unfold(packed, encoding, limit)
    except zlib.error as fault:
        raise BodyError(Status.HTTP_ERROR, f"not the {encoding} that it says it is: {fault}") from None


async def _read_up_to(answer: "aiohttp.ClientResponse", limit: int) -> bytes:
    chunks, size = [], 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > limit:
            raise BodyError(Status.TOO_LARGE, f"more than {limit:,} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _unfold(packed: bytes, encoding: str, limit: int) -> bytes:
    """Unfolds every part of it; gives up before more than the limit is in memory."""
    room = min(limit, max(SMALL, LARGEST_RATIO * len(packed)))
    form = 47 if encoding != "deflate" or packed[:1] == b"x" else -15  # some servers send deflate without its frame
    parts, size, rest = [], 0, packed
    while rest:
        unfolder = zlib.decompressobj(form)
        parts.append(unfolder.decompress(rest, room - size + 1))
        size += len(parts[-1])
        if size > room:
            raise BodyError(Status.BOMB, f"{len(packed):,} bytes that unfold to more than {room:,}")
        if not unfolder.eof:
            raise BodyError(Status.HTTP_ERROR, f"{encoding} that is cut short")
        rest = unfolder.unused_data if unfolder.unused_data[:2] == b"\x1f\x8b" else b""
    return b"".join(parts)
