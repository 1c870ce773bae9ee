"""Pictures with shapes and edges, and near duplicates of them that are made on purpose, as the web makes them."""

import io

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from imageloom import images

KINDS = ("resized", "quality 40", "cropped 5 %", "brightened", "mirrored")


def copy(data: bytes, kind: str, random: np.random.Generator) -> bytes:
    """A copy of one of `KINDS`, as a JPEG."""
    image, quality = Image.fromarray(images.load(data)), 95
    width, height = image.size
    if kind == "resized":
        image = image.resize((width * 3 // 5, height * 3 // 5), Image.Resampling.BICUBIC)
    elif kind == "quality 40":
        quality = 40
    elif kind == "cropped 5 %":
        across, down = width // 20, height // 20
        left, top = int(random.integers(across + 1)), int(random.integers(down + 1))
        image = image.crop((left, top, left + width - across, top + height - down))
    elif kind == "brightened":
        image = ImageEnhance.Brightness(image).enhance(1.15)
    else:
        image = ImageOps.mirror(image)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def photograph(seed: int = 0, side: int = 128) -> Image.Image:
    """Smooth shapes with edges and grain, as photographs have."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(20, 235, (9, 9, 3), np.uint8)).resize(
        (side, side), Image.Resampling.NEAREST
    )
    grain = random.normal(0, 9, (side, side, 3))
    return Image.fromarray(np.clip(np.asarray(coarse.filter(ImageFilter.SMOOTH)) + grain, 0, 255).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
