"""Keeps pictures under the name of their bytes' SHA-256, so that the same picture is never written twice."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageloom.errors import ImageError
from imageloom.fetch.status import Status
from imageloom.files import atomic_file

NAME_LENGTH = 20  # of the digest's 64 characters: 80 bits, no two of a billion pictures share them


@dataclass(frozen=True)
class Kept:
    """What became of one body: a picture that is in the store, or the reason why it is not.

    Args:
        status: `ok`, `unchanged`, or why it was refused.
        columns: The manifest's columns that tell about the picture; empty where it was refused.
        error: Why it was refused.
    """

    status: Status
    columns: dict[str, Any]
    error: str | None = None


class Store:
    """The folder `data/raw`. Safe to use from several threads and processes.

    Args:
        root: The folder; `<class>/<sha256[:20]>.<ext>` are made in it.
        min_side: A picture with a side shorter than this, in pixels, is refused.
        resize: Larger pictures are stored with this shorter side, in pixels; None for as they come.
        refused: Pictures that must not come, by SHA-256, and why.
    """

    def __init__(
        self, root: Path, min_side: int = 0, resize: int | None = None, refused: Mapping[str, str] | None = None
    ) -> None:
        self._root = root
        self._min_side = min_side
        self._resize = resize
        self._refused = refused or {}

    def has(self, row: dict[str, Any] | None) -> bool:
        """Whether the picture that a manifest row tells about is on the disk, whole by its length."""
        if not row or not row["path"]:
            return False
        return _size(f"{self._root}/{row['path']}") == row["bytes"]

    def keep(self, body: bytes, class_name: str, known: dict[str, Any] | None) -> Kept:
        """Decodes a picture whole, and stores it if it can be used and is not there.

        Args:
            body: The bytes as they came.
            class_name: The folder to store it in.
            known: The address's row of an earlier crawl.

        Raises:
            ImageloomError: The disk is full, or the folder cannot be written.
        """
        from imageloom import images

        info = None
        try:
            if self._resize is not None:
                body, info = images.shrink(body, self._resize)
            digest = hashlib.sha256(body).hexdigest()
            if digest in self._refused:
                return Kept(Status.OPTED_OUT, {}, self._refused[digest])
            if known and known["sha256"] == digest and self.has(known):
                return Kept(Status.UNCHANGED, {})
            info = info or images.inspect(body)
        except ImageError as fault:
            return Kept(Status(fault.kind), {}, fault.message)
        if min(info.width, info.height) < self._min_side:
            return Kept(Status.TOO_SMALL, {}, f"{info.width} x {info.height} pixels")
        path = f"{class_name}/{digest[:NAME_LENGTH]}.{info.extension}"
        self._write(path, body)
        picture = {"sha256": digest, "path": path, "bytes": len(body)}
        return Kept(Status.OK, picture | {"width": info.width, "height": info.height, "format": info.format})

    def _write(self, name: str, body: bytes) -> None:
        path = f"{self._root}/{name}"
        if _size(path) == len(body):
            return
        with atomic_file(Path(path)) as temporary, temporary.open("wb") as file:
            file.write(body)


def _size(path: str) -> int | None:
    """A file's bytes; None where there is none. By `os`, whose calls cost a third of `pathlib`'s."""
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except OSError:
        return None
