"""Pictures as people are shown them in pages: small, always JPEG, and never the bytes that came from the web."""

import io

from imageloom import images

QUALITY = 85


def jpeg(data: bytes, side: int) -> bytes:
    """The whole picture, at most `side` pixels long, as a JPEG; the same bytes give the same.

    Raises:
        ImageError: It cannot be opened as a picture.
    """
    from PIL import Image

    shrunk, _ = images.shrink(data, side)  # where it can, the decoder itself scales a large one down
    picture, file = Image.fromarray(images.load(shrunk)), io.BytesIO()
    picture.thumbnail((side, side), Image.Resampling.BILINEAR)
    picture.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
