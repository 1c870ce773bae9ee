"""What the SavedModel decodes itself is what images.py sees, but for rounding."""

import io

import numpy as np
import pytest
from PIL import Image

from imageloom import images
from imageloom.export.saved_model import Input, decode

SIZE = 48


def photograph(width: int, height: int) -> Image.Image:
    """Four colours, one a quarter, under a smooth ramp: no turn or mirror leaves it as it is."""
    pixels = np.zeros((height, width, 3))
    pixels[: height // 2, : width // 2] = (220, 40, 40)
    pixels[: height // 2, width // 2 :] = (40, 200, 60)
    pixels[height // 2 :, : width // 2] = (50, 60, 210)
    pixels[height // 2 :, width // 2 :] = (230, 220, 90)
    pixels -= np.linspace(0, 40, width)[None, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, name: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def turned(orientation: int, order: str = "<") -> bytes:
    """A JPEG that a camera held so took, with Exif in either order of bytes."""
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112] = orientation
    return encoded(photograph(90, 60), "JPEG", quality=95, exif=exif.tobytes())


def difference(data: bytes, aspect: images.Aspect = "crop") -> float:
    """Largest mean difference of a colour, in levels of 256, between both ways to look at a picture."""
    import tensorflow as tf

    found = decode(tf.constant(data), Input(SIZE, aspect)).numpy()
    assert found.shape == (SIZE, SIZE, 3)
    assert found.dtype == np.uint8
    wanted = images.load(data, SIZE, aspect)
    return float(np.abs(found.astype(int) - wanted).mean(axis=(0, 1)).max())


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(("width", "height"), [(90, 60), (61, 97), (30, 20), (48, 48)])
def test_any_shape_becomes_the_same_square(width, height, aspect):
    assert difference(encoded(photograph(width, height), "PNG"), aspect) < 0.6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_pictures_are_turned_as_the_camera_says(orientation, order):
    assert difference(turned(orientation, order)) < 2


def test_a_turn_that_is_not_done_would_be_noticed(monkeypatch):
    from imageloom.export import saved_model

    monkeypatch.setattr(saved_model, "_turn", lambda image, _orientation: image)
    assert min(difference(turned(orientation)) for orientation in range(2, 9)) > 10


def kinds() -> dict[str, bytes]:
    image = photograph(70, 60)
    clear = image.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    deep = Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16)) * 257)
    return {
        "gif": encoded(image.quantize(64), "GIF"),
        "bmp": encoded(image, "BMP"),
        "palette": encoded(image.quantize(64), "PNG"),
        "transparent": encoded(clear, "PNG"),
        "grey": encoded(image.convert("L"), "PNG"),
        "grey jpeg": encoded(image.convert("L"), "JPEG", quality=95),
        "sixteen bits": encoded(deep, "PNG"),
        "animated": encoded(image, "GIF", save_all=True, append_images=[image.rotate(180)]),
    }


@pytest.mark.parametrize("kind", list(kinds()))
def test_kinds_of_pictures_look_the_same(kind):
    assert difference(kinds()[kind]) < 1.5


def test_large_jpegs_differ_little():
    assert difference(encoded(photograph(900, 700), "JPEG", quality=90)) < 2
