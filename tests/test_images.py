import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from imageloom import images
from imageloom.errors import ImageError

# Left half red, right half blue, the upper left quarter green: no turn or mirror image equals it.
PICTURE = np.zeros((40, 60, 3), np.uint8)
PICTURE[:, :30], PICTURE[:, 30:], PICTURE[:20, :30] = (220, 30, 30), (30, 30, 220), (30, 200, 30)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return a.shape == b.shape and np.abs(a.astype(int) - b.astype(int)).mean() < tolerance


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG", "AVIF"])
def test_every_format_gives_the_same_picture(kind):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind in ("JPEG", "AVIF") else {}
    assert close(images.load(encoded(Image.fromarray(PICTURE), kind, **options)), PICTURE, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_stands_upright(orientation):
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = Image.fromarray(PICTURE)
    if undo is not None:
        stored = stored.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "JPEG", quality=95, exif=exif)
    assert close(images.load(data), PICTURE, 3)
    assert (images.inspect(data).width, images.inspect(data).height) == (60, 40)


def test_transparency_is_laid_on_white():
    rgba = np.dstack([PICTURE, np.full((40, 60), 255, np.uint8)])
    rgba[:, 30:, 3] = 0
    expected = PICTURE.copy()
    expected[:, 30:] = 255
    assert np.array_equal(images.load(encoded(Image.fromarray(rgba), "PNG")), expected)
    assert np.array_equal(images.load(encoded(Image.fromarray(rgba).quantize(16), "PNG")), expected)


def test_grey_palette_and_cmyk_become_rgb():
    grey = Image.fromarray(PICTURE).convert("L")
    assert np.array_equal(images.load(encoded(grey, "PNG")), np.asarray(grey.convert("RGB")))
    palette = Image.fromarray(PICTURE).quantize(8)
    assert np.array_equal(images.load(encoded(palette, "PNG")), PICTURE)
    assert close(images.load(encoded(Image.fromarray(PICTURE).convert("CMYK"), "JPEG", quality=95)), PICTURE, 4)


@pytest.mark.parametrize("aspect", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("transparent", [None, 7])
def test_grey_is_resized_as_its_colours_would_be(aspect, transparent):
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 140), np.uint8))
    options = {} if transparent is None else {"transparency": transparent}
    data = encoded(grey, "PNG", **options)
    whole = encoded(Image.fromarray(images.load(data)), "PNG")
    np.testing.assert_array_equal(images.load(data, 32, aspect), images.load(whole, 32, aspect))


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (32, 1))
    for kind in ("PNG", "TIFF"):
        answer = images.load(encoded(Image.fromarray(ramp), kind))
        assert np.abs(answer[..., 0].astype(int) - (ramp / 257).round()).max() <= 1


def test_first_frame_of_an_animation_is_taken():
    frames = [Image.fromarray(PICTURE), Image.new("RGB", (60, 40), (9, 9, 9))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert close(images.load(data), PICTURE, 3)


def test_aspect_policies():
    data = encoded(Image.fromarray(PICTURE), "PNG")
    crop = images.load(data, 20, "crop")
    stretch = images.load(data, 20, "stretch")
    pad = images.load(data, 60, "pad")
    assert crop.shape == stretch.shape == (20, 20, 3)
    assert close(crop, np.asarray(Image.fromarray(PICTURE[:, 10:50]).resize((20, 20), Image.Resampling.BILINEAR)), 1)
    assert close(stretch, np.asarray(Image.fromarray(PICTURE).resize((20, 20), Image.Resampling.BILINEAR)), 1)
    assert (pad[:9] == 255).all()
    assert (pad[-9:] == 255).all()
    assert np.array_equal(pad[10:50], PICTURE)


def test_a_large_jpeg_shrunk_by_its_decoder_is_the_same_picture():
    large = Image.fromarray(PICTURE).resize((1500, 1000), Image.Resampling.BICUBIC)
    data = encoded(large, "JPEG", quality=95)
    slow = np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((50, 50), Image.Resampling.BILINEAR))
    assert close(images.load(data, 50, "stretch"), slow, 2)


@pytest.mark.parametrize(("width", "kept"), [(68_000, True), (64_000, False)])
def test_a_strip_longer_than_a_jpeg_can_be_is_kept_as_it_is(width, kept):
    data = encoded(Image.new("L", (width, 40)), "PNG")
    stored, info = images.shrink(data, 39)
    assert (stored == data) == kept
    assert images.inspect(stored) == info


FAULTS = """
import io, resource, sys
from PIL import Image
from imageloom import images

file = io.BytesIO()
Image.new("RGB", (900, 600), "red").save(file, "JPEG")
images.keep_memory(int(sys.argv[1]))
for number in range(30):
    if number == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    images.shrink(file.getvalue(), 400)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count pages in other ways")
def test_memory_that_is_kept_is_not_asked_for_again():
    pages = [
        float(subprocess.run([sys.executable, "-c", FAULTS, blocks], capture_output=True, check=True).stdout)
        for blocks in ("0", "3")
    ]
    assert pages[0] > 100 > 20 > pages[1]


def test_memory_of_the_answer_is_the_callers_to_keep():
    assert images.load(encoded(Image.fromarray(PICTURE), "PNG"), 32).dtype == np.uint8


JPEG = encoded(Image.fromarray(PICTURE), "JPEG", quality=95)
PNG = encoded(Image.fromarray(PICTURE), "PNG")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "not_image"),
        (b"<html><body>404</body></html>", "not_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_image"),
        (JPEG[: len(JPEG) // 2], "corrupt"),
        (PNG[: len(PNG) // 2], "corrupt"),
        (PNG[:20], "not_image"),
    ],
)
def test_what_is_no_picture_is_named(data, kind):
    for look in (images.inspect, lambda data: images.load(data, 32)):
        with pytest.raises(ImageError) as fault:
            look(data)
        assert fault.value.kind in (kind, "corrupt" if data == PNG[:20] else kind)


def verdict(look, data: bytes) -> str:
    try:
        look(data)
    except ImageError as fault:
        return fault.kind
    return "good"


NOISE = Image.fromarray(np.random.default_rng(7).integers(0, 255, (45, 61, 3), np.uint8).repeat(2, 1))


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"subsampling": 0, "quality": 30}),
        ("RGB", {"progressive": True}),
        ("RGB", {"restart_marker_blocks": 2}),
        ("RGB", {"optimize": True, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
        ("L", {}),
        ("L", {"progressive": True}),
        ("CMYK", {}),
    ],
)
def test_a_jpeg_cut_short_at_any_byte_is_noticed_as_a_whole_decoding_notices_it(mode, options):
    whole = encoded(NOISE.convert(mode), "JPEG", **options)
    assert verdict(images.inspect, whole) == "good"
    cuts = range(0, len(whole), 1 if len(whole) < 6000 else 3)
    wrong = [cut for cut in cuts if verdict(images.inspect, whole[:cut]) != verdict(images.load, whole[:cut])]
    assert wrong == []
    assert all(verdict(images.inspect, whole[:cut]) != "good" for cut in cuts if cut < len(whole) - 2)


def test_a_small_file_that_asks_for_gigabytes_is_refused_before_it_is_decoded():
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    with pytest.raises(ImageError) as fault:
        images.load(bomb, 224)
    assert fault.value.kind == "bomb"


def test_damaged_exif_does_not_cost_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(PICTURE), "JPEG", quality=95, exif=exif)
    damaged = data.replace(b"Exif\0\0MM\0*", b"Exif\0\0ZZ\0*")
    assert damaged != data
    assert images.load(damaged, 32).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_odd_exif_is_never_more_than_an_image_error(kind):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "maker", "2026:01:01 00:00:00"
    data = encoded(Image.fromarray(PICTURE), kind, exif=exif)
    start = data.find(b"MM\0*")
    start = data.find(b"II*\0") if start < 0 else start
    assert start > 0
    mutants = [
        data[:place] + bytes([value]) + data[place + 1 :]
        for place in range(start, start + 70)
        for value in (0, 1, 2, 7, 12, 255)
    ]
    for look in (images.inspect, lambda data: images.load(data, 16)):
        assert {outcome(look, mutant) for mutant in mutants} <= {"fine", "not_image", "corrupt", "bomb"}


def outcome(look, data: bytes) -> str:
    try:
        look(data)
    except ImageError as fault:
        return fault.kind
    return "fine"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "PPM"])
def test_extension_is_the_one_that_a_crawled_picture_gets(kind):
    data = encoded(Image.fromarray(PICTURE), kind)
    assert images.extension(data) == images.inspect(data).extension


def test_what_is_no_picture_has_no_extension():
    with pytest.raises(ImageError):
        images.extension(b"hello")
