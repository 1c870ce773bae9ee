"""Pictures that are cut short, are none, or would do harm."""

import io
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

PICTURE = Image.fromarray(np.random.default_rng(7).integers(0, 255, (12, 16, 3), np.uint8)).resize((160, 120))


def encoded(kind: str, picture: Image.Image = PICTURE, **options) -> bytes:
    """The picture in a format."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def whole() -> dict[str, bytes]:
    """One of each format."""
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = PICTURE.convert("P")
    return {
        "jpeg": encoded("JPEG", exif=exif),
        "progressive": encoded("JPEG", progressive=True),
        "cmyk": encoded("JPEG", PICTURE.convert("CMYK")),
        "png": encoded("PNG"),
        "png-palette": encoded("PNG", palette, transparency=3),
        "png-16": encoded("PNG", PICTURE.convert("I;16")),
        "gif": encoded("GIF", palette, save_all=True, append_images=[palette.rotate(90)]),
        "webp": encoded("WEBP"),
        "webp-lossless": encoded("WEBP", lossless=True),
        "tiff": encoded("TIFF", compression="tiff_lzw"),
        "tiff-jpeg": encoded("TIFF", compression="jpeg"),
        "bmp": encoded("BMP"),
        "avif": encoded("AVIF"),
        "ppm": encoded("PPM"),
    }


# Where the parts of a format begin.
_BOUNDARIES = {
    "jpeg": rb"\xff[\x01-\xcf\xd8-\xfe]",
    "progressive": rb"\xff[\x01-\xcf\xd8-\xfe]",
    "cmyk": rb"\xff[\x01-\xcf\xd8-\xfe]",
    "png": rb"IHDR|PLTE|tRNS|IDAT|IEND",
    "png-palette": rb"IHDR|PLTE|tRNS|IDAT|IEND",
    "png-16": rb"IHDR|IDAT|IEND",
    "gif": rb"GIF8|!\xf9|!\xff|,\0\0\0\0|;",
    "webp": rb"RIFF|WEBP|VP8.|EXIF",
    "webp-lossless": rb"RIFF|WEBP|VP8.",
    "tiff": rb"II\*\0|\x00\x01\x03\0|\x01\x01\x03\0|\x11\x01\x04\0",
    "tiff-jpeg": rb"II\*\0|\x00\x01\x03\0|\x5b\x01\x07\0|\xff\xd8",
    "bmp": rb"BM|\x28\0\0\0",
    "avif": rb"ftyp|meta|iloc|iinf|ispe|mdat",
    "ppm": rb"\n",
}


def truncations() -> Iterator[tuple[str, bytes]]:
    """Every format cut at, just before and just behind where its parts begin, and in the midst of its data."""
    for kind, data in whole().items():
        starts = [match.start() for match in re.finditer(_BOUNDARIES[kind], data, re.DOTALL)][:12]
        cuts = {cut for start in starts for cut in (start, start + 2, start + 5)} | {len(data) // 2, len(data) - 3}
        for cut in sorted(cut for cut in cuts if cut < len(data)):
            yield f"{kind} cut at {cut}", data[:cut]


def others() -> Iterator[tuple[str, bytes]]:
    """What is no picture, or none of those that are taken."""
    yield from {
        "nothing": b"",
        "a byte": b"\0",
        "text": b"hello",
        "UTF-16": "hello".encode("utf-16"),
        "HTML": b"<!doctype html><img src=x onerror=alert(1)>",
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>',
        "SVG that fetches": b'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
        "PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run",
        "ELF": b"\x7fELF" + bytes(60),
        "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x02os\x8c\x06system\x93.",
        "ICO": encoded("ICO", PICTURE.resize((16, 16))),
        "PCX": encoded("PCX"),
        "TGA": encoded("TGA"),
        "SGI": encoded("SGI"),
        "ICNS": b"icns" + struct.pack(">I", 8),
        "PSD": b"8BPS\0\1" + bytes(60),
        "FITS": b"SIMPLE  =                    T" + b" " * 2850,
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "film": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        "noise": bytes(np.random.default_rng(3).integers(0, 256, 50_000, np.uint8)),
        "zeros": bytes(200_000),
    }.items()
    for kind, data in whole().items():
        yield (
            f"head of {kind} before noise",
            data[:24] + bytes(np.random.default_rng(5).integers(0, 256, 999, np.uint8)),
        )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + b"".join(chunks) + _chunk(b"IEND", b"")


def _tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", following) + bytes(64)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that ask for much memory or time."""
    zeros = zlib.compress(bytes(4_000_000), 9)
    idat, jpeg, progressive = _chunk(b"IDAT", zeros), whole()["jpeg"], whole()["progressive"]
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    frame = re.search(rb"\xff[\xc0-\xc2]..\x08(....)", jpeg, re.DOTALL)
    for width, height in ((2**31 - 1, 2**31 - 1), (100_000, 100_000), (1, 2**31 - 1), (0, 0), (7000, 7000)):
        yield f"PNG of {width} x {height}", _png(width, height, 8, 6, idat)
    text = zlib.compress(bytes(60_000_000), 9)
    yield "PNG with a text of 60 MB", _png(9, 9, 8, 2, _chunk(b"zTXt", b"a\0\0" + text), idat)
    yield "PNG with a profile of 60 MB", _png(9, 9, 8, 2, _chunk(b"iCCP", b"a\0\0" + text), idat)
    yield "PNG of 100,000 chunks", _png(9, 9, 8, 2, _chunk(b"teST", b"") * 100_000, idat[:-6])
    yield "PNG of a wrong depth", _png(9, 9, 3, 6, idat)
    yield "PNG with a chunk of 2 GB", _png(9, 9, 8, 2)[:33] + b"\x7f\xff\xff\xffIDAT"
    yield "PNG with a negative chunk", _png(9, 9, 8, 2)[:33] + b"\xff\xff\xff\xffIDAT"
    for side in (65_535, 30_000, 0):
        claimed = struct.pack(">HH", side, side)
        yield f"JPEG of {side} squared", jpeg[: frame.start(1)] + claimed + jpeg[frame.end(1) :]
    yield "JPEG of 20,000 scans", progressive[:-2] + scan * 20_000 + b"\xff\xd9"
    yield "JPEG of 100,000 comments and no end", jpeg[:2] + b"\xff\xfe\0\2" * 100_000
    yield "JPEG of fill bytes", jpeg[:2] + b"\xff" * 1_000_000
    yield "JPEG with a segment of no length", jpeg[:2] + b"\xff\xe1\0\0" + jpeg[2:200]
    yield (
        "GIF of 65,535 squared",
        b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\2\0;",
    )
    yield "GIF of extensions and no end", b"GIF89a\x09\0\x09\0\0\0\0" + b"!\xfe\x01a\0" * 200_000
    yield "GIF with a frame outside", b"GIF89a\x09\0\x09\0\0\0\0,\xff\xff\xff\xff\xff\xff\xff\xff\0\2\1\0\0;"
    vp8x = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff\xff\xff" * 2
    yield "WebP of 2^24 squared", b"RIFF" + struct.pack("<I", len(vp8x)) + vp8x
    yield "WebP of a wrong length", whole()["webp"].replace(b"RIFF", b"RIFF\xff\xff\xff\xff", 1)
    size = ((256, 4, 1, 100_000), (257, 4, 1, 100_000), (258, 3, 1, 8), (262, 3, 1, 1))
    yield "TIFF of 100,000 squared", _tiff(*size, (273, 4, 1, 8), (278, 4, 1, 100_000), (279, 4, 1, 2**32 - 1))
    yield "TIFF that follows itself", _tiff((256, 4, 1, 9), (257, 4, 1, 9), following=8)
    yield "TIFF of 4 billion strips", _tiff((256, 4, 1, 9), (257, 4, 1, 9), (273, 4, 2**32 - 1, 8))
    yield "TIFF of 65,535 entries", b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 256, 4, 1, 9) * 65_535
    yield "TIFF with its entries outside", b"II*\0\xff\xff\xff\x7f"
    yield "BigTIFF of 2^60 entries", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60)
    for side in (2**31 - 1, -(2**31), 40_000, 0):
        head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        yield f"BMP of {side} squared", b"BM" + struct.pack("<IHHI", 999, 0, 0, 54) + head + bytes(99)
    rle = struct.pack("<IiiHHIIiiII", 40, 8000, 4000, 1, 8, 1, 0, 0, 0, 2, 0) + bytes(8) + b"\xff\0" * 99
    yield "BMP that repeats", b"BM" + struct.pack("<IHHI", 999, 0, 0, 62) + rle
    yield "PPM of 10^9 squared", b"P6 1000000000 1000000000 255\n" + bytes(99)
    yield "PPM of a long number", b"P6 " + b"9" * 100_000 + b" 9 255\n"
    yield "PPM with an endless comment", b"P6 #" + b"a" * 1_000_000
    avif = whole()["avif"]
    place = avif.index(b"ispe") + 8
    yield "AVIF of 2^31 squared", avif[:place] + b"\x7f\xff\xff\xff" * 2 + avif[place + 8 :]
    yield "AVIF of boxes in boxes", avif[:40] + b"\0\0\1\0meta\0\0\0\0" * 5000
