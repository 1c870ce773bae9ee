"""The pictures as browsers get them: made once from the originals, always JPEG, and kept in `data/.thumbnails/`.

A browser is never given the bytes that came from the web, whatever they may hold beside a picture.
"""

from pathlib import Path

from imageloom import thumbnails
from imageloom.files import atomic_file

# What is asked for -> its longer side in pixels: rows of small ones, and the one that is looked at.
SIDES = {"thumbnails": 256, "pictures": 1024}


class Thumbnails:
    """Safe to use from several threads and processes.

    Args:
        folder: Where they are kept. It can be removed at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, kind: str, sha256: str, original: Path) -> bytes:
        """A picture for a browser.

        Args:
            kind: One of `SIDES`.
            sha256: Of the original.
            original: Its file.

        Returns:
            A JPEG of at most that many pixels a side.

        Raises:
            ImageError: The original cannot be opened as a picture.
            ImageloomError: The folder cannot be written.
            OSError: The original cannot be read.
        """
        path = self._folder / kind / sha256[:2] / f"{sha256}.jpg"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            content = thumbnails.jpeg(original.read_bytes(), SIDES[kind])
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
        return content
