"""A JPEG that would keep a processor busy for hours is refused in a moment."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from imageloom import images, jpeg_scans
from imageloom.errors import ImageError

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)).resize((640, 480))


def encoded(mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    PICTURE.convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def with_scans(data: bytes, more: int) -> bytes:
    """The last scan of a progressive JPEG again and again: each refines what is fine already."""
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * more + b"\xff\xd9"


def with_thumbnail(data: bytes, thumbnail: bytes) -> bytes:
    return data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_plain_jpeg_has_one_scan(mode):
    assert jpeg_scans.scans(encoded(mode), 50) == 1


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_scans_of_a_progressive_jpeg_are_counted(mode):
    data = encoded(mode, progressive=True)
    assert jpeg_scans.scans(data, 50) == data.count(b"\xff\xda") > 1
    assert jpeg_scans.scans(with_scans(data, 7), 50) == data.count(b"\xff\xda") + 7


def test_what_is_beside_the_picture_does_not_count():
    small = encoded(quality=5, progressive=True)
    assert jpeg_scans.scans(with_thumbnail(encoded(), small), 50) == 1
    assert jpeg_scans.scans(with_thumbnail(small, small), 50) == small.count(b"\xff\xda")
    film = b"\xff\xda" * 500  # what phones put behind a picture that moves
    assert jpeg_scans.scans(encoded() + film, 50) == 1
    assert jpeg_scans.scans(small + film, 50) == small.count(b"\xff\xda")


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xda", b"\xff" * 99, b"\xff\xc2\0" * 9]
)
def test_what_is_no_jpeg_is_no_fault(data):
    assert jpeg_scans.scans(data, 50) >= 1


def test_too_many_scans_are_refused_at_once():
    fine, bomb = (with_scans(encoded(progressive=True), number) for number in (20, 20_000))
    started = time.process_time()
    assert images.load(fine).shape == (480, 640, 3)
    decoded = time.process_time()
    with pytest.raises(ImageError, match="more than the 50 scans") as fault:
        images.load(bomb, 224)
    refused = time.process_time()
    assert fault.value.kind == "bomb"
    assert refused - decoded < 50 * (decoded - started)  # with its scans decoded it would be some hundred times as long


def test_only_pictures_that_are_decoded_whole_are_held():
    png = io.BytesIO()
    PICTURE.save(png, "PNG")
    assert images.pixels_held(encoded()) == 0
    assert images.pixels_held(encoded(progressive=True)) == images.pixels_held(png.getvalue()) == 640 * 480
    with pytest.raises(ImageError):
        images.pixels_held(b"hello")


def test_fill_bytes_do_not_keep_it_busy():
    data = b"\xff\xd8" + b"\xff" * 5_000_000
    started = time.process_time()
    assert jpeg_scans.scans(data, 50) == 1
    assert jpeg_scans.scans(data + encoded()[2:], 50) == 1
    assert time.process_time() - started < 20  # of hours
