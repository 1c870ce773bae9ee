"""The one way to look at a picture: bytes in, `uint8[H, W, 3]` RGB out.

Training, evaluation, the command line and the server all call `load`, so that none of them can see a picture
differently. Nothing else in imageloom opens an image.
"""

import io
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from imageloom import jpeg_scans
from imageloom.errors import ImageError

Aspect = Literal["crop", "pad", "stretch"]

# Pillow's name of a format -> the extension its files get. Formats that run a program (EPS) or that no
# camera, scanner or web page makes are left out on purpose.
FORMATS = {
    "JPEG": "jpg",
    "MPO": "jpg",  # what Pillow calls a JPEG with a second picture behind the first
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
    "AVIF": "avif",
    "PPM": "ppm",
}

# What files in a folder are taken for pictures; a file that is named is tried whatever its name.
EXTENSIONS = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib"}
EXTENSIONS |= {".tif", ".tiff", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"}

_OPENED = tuple(name for name in FORMATS if name != "MPO")  # the JPEG reader opens those itself

# EXIF's orientation -> the turn that sets the picture upright (Exif 2.32, table 6).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)  # those of pictures that lie on a side

SHRUNK_QUALITY = 92  # of JPEG, above what the web sends

# Twice 8K video and more than any phone camera of today; above it a small file can ask for gigabytes.
MAX_PIXELS = 80_000_000

# Of a JPEG. Progressive ones have about ten, and each costs as much as a decoding of the picture.
MAX_SCANS = 50

MAX_JPEG_SIDE = 65_000  # pixels; libjpeg writes no more than 65,500

_JPEG = b"\xff\xd8"


@dataclass(frozen=True)
class ImageInfo:
    """What a picture is: upright width and height in pixels, Pillow's name of its format, the extension of its file."""

    width: int
    height: int
    format: str
    extension: str


def inspect(data: bytes) -> ImageInfo:
    """Decodes the whole picture and says what it is.

    Of a JPEG every bit is decoded, and then only an eighth of the size is painted, in grey: half the time, and what is
    cut short anywhere is noticed all the same.

    Raises:
        ImageError: It is no picture, is cut short, or has more than `MAX_PIXELS` pixels.
    """
    image = _open(data)
    name, (width, height) = image.format or "", image.size
    if name in ("JPEG", "MPO"):
        image.draft("L", (1, 1))
    _decode(image)
    if _orientation(image) in _LYING:
        width, height = height, width
    return ImageInfo(width, height, name, FORMATS[name])


def extension(data: bytes) -> str:
    """The extension of a picture's file, by its header.

    Raises:
        ImageError: It is no picture, or has more than `MAX_PIXELS` pixels or `MAX_SCANS` scans.
    """
    return FORMATS[_open(data).format or ""]


def pixels_held(data: bytes) -> int:
    """How many pixels must be in memory at once while the picture is decoded, by its header.

    None to speak of for a JPEG of one scan, which is scaled down line by line; all of them for any other picture.

    Raises:
        ImageError: It is no picture, or has more than `MAX_PIXELS` pixels or `MAX_SCANS` scans.
    """
    if data.startswith(_JPEG) and jpeg_scans.scans(data, MAX_SCANS) == 1:
        return 0
    width, height = _open(data).size
    return width * height


def proportion(data: bytes) -> float:
    """The longer side over the shorter, by the picture's header.

    Raises:
        ImageError: It is no picture, or has more than `MAX_PIXELS` pixels.
    """
    sides = _open(data).size
    return max(sides) / max(1, min(sides))


def load(data: bytes, size: int | None = None, aspect: Aspect = "crop") -> np.ndarray:
    """Decodes a picture as every part of imageloom sees it.

    EXIF orientation is applied, transparency is laid on white, CMYK, grey, palette and 16-bit pictures become RGB, and
    of an animation the first frame is taken.

    Args:
        data: The encoded picture.
        size: Side of the square to deliver; None keeps the picture's own size.
        aspect: How a picture that is not square becomes so: `crop` takes the largest centred square, `pad` adds white
            bars, `stretch` ignores the proportions.

    Returns:
        uint8[size, size, 3], or uint8[H, W, 3] where `size` is None; RGB.

    Raises:
        ImageError: It is no picture, is cut short, or has more than `MAX_PIXELS` pixels.
    """
    image = _open(data)
    if size is not None and image.format in ("JPEG", "MPO"):
        image.draft("RGB", (size, size))  # the decoder itself scales down by 2, 4 or 8, to no less than asked for
    _decode(image)
    image = _upright(image)
    # Grey has one channel while it is resized: the same pixels, in a third of the time.
    if image.mode != "L" or "transparency" in image.info:
        image = _to_rgb(image)
    if size is not None:
        image = _to_square(image, size, aspect)
    return np.asarray(_to_rgb(image))


def shrink(data: bytes, side: int) -> tuple[bytes, ImageInfo]:
    """A picture whose shorter side has `side` pixels, upright, as a JPEG; one that is no larger, as it is.

    A strip that would still be longer than a JPEG can be is as it is, too.

    Raises:
        ImageError: It is no picture, is cut short, or has more than `MAX_PIXELS` pixels.
    """
    image = _open(data)
    scale = side / min(image.size)
    if scale >= 1 or scale * max(image.size) > MAX_JPEG_SIDE:
        return data, inspect(data)
    if image.format in ("JPEG", "MPO"):  # in YCbCr, so that colours are not turned into RGB and back
        image.draft("YCbCr", (math.ceil(image.width * scale), math.ceil(image.height * scale)))
    _decode(image)
    upright = _upright(image)
    image = upright if upright.mode == "YCbCr" else _to_rgb(upright)
    scale = side / min(image.size)
    width, height = max(side, round(image.width * scale)), max(side, round(image.height * scale))
    # A box is the mean of what a pixel covers: as free of aliasing as the bilinear filter, in two thirds of its time.
    image = image.resize((width, height), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=SHRUNK_QUALITY)
    return file.getvalue(), ImageInfo(width, height, "JPEG", FORMATS["JPEG"])


def keep_memory(blocks: int) -> None:
    """Has Pillow keep the memory of pictures for the next ones, up to so many blocks (of 16 MB at most).

    It gives all of it back to the system after every picture otherwise, and getting it again is a fifth of what
    `shrink` costs.
    """
    Image.core.set_blocks_max(blocks)


def _open(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=_OPENED)
    except UnidentifiedImageError:
        raise ImageError("not a picture in a known format", "not_image") from None
    except Image.DecompressionBombError:
        raise ImageError(f"more than the {MAX_PIXELS:,} pixels allowed", "bomb") from None
    except Exception as fault:  # a damaged header raises whatever the format's parser ran into
        raise ImageError(f"damaged header: {fault}", "corrupt") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels are more than the {MAX_PIXELS:,} allowed", "bomb")
    if image.format in ("JPEG", "MPO") and jpeg_scans.scans(data, MAX_SCANS) > MAX_SCANS:
        raise ImageError(f"more than the {MAX_SCANS} scans allowed", "bomb")
    return image


def _decode(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as fault:  # decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError...
        raise ImageError(f"damaged or cut short: {fault}", "corrupt") from None


def _orientation(image: Image.Image) -> int:
    try:
        tag = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF is no reason to refuse a picture whose pixels are fine
        return 1
    return tag if tag in _TURNS else 1


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF asks; `ImageOps.exif_transpose` writes all tags anew and fails on an odd one."""
    orientation = _orientation(image)
    return image if orientation == 1 else image.transpose(_TURNS[orientation])


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_to_rgb(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _deep_to_rgb(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating point grey: 0..65535, or 0..1 for floats, becomes 0..255 (Pillow would clip it)."""
    pixels = np.asarray(image, dtype=np.float64)
    largest = pixels.max(initial=0)
    if image.mode == "F" and largest <= 1:
        scale = 255.0
    elif image.mode == "I" and largest <= 255:
        scale = 1.0
    else:
        scale = 1 / 257
    grey = np.clip(np.nan_to_num(pixels) * scale + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _to_square(image: Image.Image, size: int, aspect: Aspect) -> Image.Image:
    width, height = image.size
    bilinear = Image.Resampling.BILINEAR  # Pillow's bilinear widens its support when it shrinks: antialiased
    if aspect == "stretch" or width == height:
        return image.resize((size, size), bilinear)
    if aspect == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return image.resize((size, size), bilinear, box=(left, top, left + side, top + side))
    scale = size / max(width, height)
    inner = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), bilinear)
    square = Image.new("RGB", (size, size), (255, 255, 255))
    square.paste(inner, ((size - inner.width) // 2, (size - inner.height) // 2))
    return square
