"""The ways in which the hostile web misbehaves, each with the status that it must end with."""

import asyncio
import gzip
import zlib

from hostile import (
    CHUNKED,
    JPEG,
    OK,
    ROBOTS,
    Visit,
    chunked,
    encoded,
    photograph,
    png,
    raw,
    robots,
    simple,
    way,
    with_length,
)
from PIL import Image

# Odd, and good.
simple("plain", "ok", JPEG)
simple("the same picture again", "ok", JPEG)
simple("as text", "ok", encoded(photograph(1)), Content_Type="text/html; charset=utf-16")
simple("with a charset that is none", "ok", encoded(photograph(2)), Content_Type="image/jpeg; charset=\u00ff;;=")
simple("a png called.jpg", "ok", encoded(photograph(3), "PNG"), Content_Type="image/jpeg")
simple("cmyk", "ok", encoded(photograph(4).convert("CMYK")))
simple("grey", "ok", encoded(photograph(4).convert("L")))
simple("progressive", "ok", encoded(photograph(5), progressive=True))
simple("animated", "ok", encoded(photograph(6), "GIF", save_all=True, append_images=[photograph(7)] * 3))
simple("animated webp", "ok", encoded(photograph(6), "WEBP", save_all=True, append_images=[photograph(7)] * 3))
simple("sixteen bits", "ok", encoded(Image.new("I;16", (40, 40), 40_000), "PNG"))
simple("transparent", "ok", encoded(photograph(8).convert("RGBA"), "PNG"))
simple("gzipped", "ok", gzip.compress(encoded(photograph(9))), Content_Encoding="gzip")
simple(
    "gzipped in two parts",
    "ok",
    gzip.compress(encoded(photograph(10))[:900]) + gzip.compress(encoded(photograph(10))[900:]),
    Content_Encoding="GZIP",
)
simple("deflated", "ok", zlib.compress(encoded(photograph(11))), Content_Encoding="deflate")
simple("deflated without a frame", "ok", zlib.compress(encoded(photograph(12)), wbits=-15), Content_Encoding="deflate")
simple("junk after the picture", "ok", encoded(photograph(13)) + b"<!-- served in 3 ms -->")
simple("cookies that are none", "ok", encoded(photograph(14)), Set_Cookie="\u00e9;;=;,=; expires=never; a=b=c")
simple("a hundred headers", "ok", encoded(photograph(15)), **{f"X_{number}": "y" * 50 for number in range(100)})
simple("an etag of bytes", "ok", encoded(photograph(16)), ETag="\u2603\u00ff", Last_Modified="yesterday")
simple("for another robot", "ok", encoded(photograph(17)), X_Robots_Tag="otherbot: noai, noindex")
simple(
    "unavailable after",
    "ok",
    encoded(photograph(18)),
    X_Robots_Tag="unavailable_after: 25 Jun 2030 15:00:00 PST, nofollow",
)
simple("led on", "ok", code="302 Found", Location="plain")
simple("led on in another script", "ok", code="301 Moved", Location="/\u732b")
simple("\u732b", "ok", encoded(photograph(19)))
simple("led on in a case of its own", "ok", code="308 Permanent Redirect", location="./plain#top")
raw("without a length", "ok", OK + b"\r\n" + encoded(photograph(20)))
raw("chunked", "ok", CHUNKED + chunked(JPEG[:5], JPEG[5:900], JPEG[900:], b""), keep=True)
raw(
    "early hints",
    "ok",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + with_length(JPEG, len(JPEG)),
    keep=True,
)
raw("http 1.0", "ok", b"HTTP/1.0 200 OK\r\n\r\n" + encoded(photograph(21)))
raw(
    "an answer too many",
    "ok",
    with_length(encoded(photograph(22)), len(encoded(photograph(22)))) + with_length(b"poison", 6),
    keep=True,
)
raw("bare line feeds", "ok", b"HTTP/1.1 200 OK\nConnection: close\n\n" + JPEG)

raw(
    "an etag in no script",
    "ok",
    OK + b'ETag: "\xff\xfe\x80"\r\nLast-Modified: \xfe\r\nConnection: close\r\n\r\n' + JPEG,
)

# Bytes that are no picture.
simple("a page as jpeg", "not_image", b"<!doctype html><h1>404 not found</h1>", Content_Type="image/jpeg")
simple("json", "not_image", b'{"error": "gone"}')
simple(
    "drawing",
    "not_image",
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    Content_Type="image/svg+xml",
)
simple("program", "not_image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n")
simple("zero bytes", "not_image")
simple("only the first bytes", "not_image", JPEG[:3])
simple("cut picture", "corrupt", JPEG[:-300])
simple("cut png", "corrupt", encoded(photograph(23), "PNG")[:-2000])
simple("a png of other sums", "corrupt", encoded(photograph(24), "PNG").replace(b"IDATx", b"IDATy"))
simple("a png without pixels", "corrupt", png(40, 40, zlib.compress(b"")))
simple("tiny", "too_small", encoded(Image.new("RGB", (1, 1)), "GIF"))
simple("a line", "too_small", encoded(Image.new("RGB", (900, 2)), "PNG"))
simple("a wall of pixels", "bomb", png(40_000, 40_000, zlib.compress(b"\0" * 100_000)))
simple(
    "a jpeg of huge dimensions", "bomb", JPEG.replace(b"\x00\x11\x08\x00\x48\x00\x60", b"\x00\x11\x08\xff\xdc\xff\xdc")
)
simple("noise in the middle", "ok", JPEG[:1200] + bytes(20) + JPEG[1220:])  # what every decoder shows, as grey

# Bodies that are not what their headers say.
simple("gzip bomb", "bomb", gzip.compress(bytes(20_000_000)), Content_Encoding="gzip")
simple("deflate bomb", "bomb", zlib.compress(bytes(20_000_000)), Content_Encoding="deflate")
simple("a bomb in many parts", "bomb", gzip.compress(bytes(100_000)) * 50, Content_Encoding="gzip")
simple("gzip in gzip", "http_error", gzip.compress(gzip.compress(JPEG)), Content_Encoding="gzip, gzip")
simple("gzip that is none", "http_error", JPEG, Content_Encoding="gzip")
simple("gzip cut short", "http_error", gzip.compress(JPEG)[:-40], Content_Encoding="gzip")
simple("encoded as nobody asked", "http_error", JPEG, Content_Encoding="br")
simple("too large", "too_large", bytes(400_000))
simple("too large when unfolded", "too_large", gzip.compress(bytes(900_000), 0), Content_Encoding="gzip")
raw("a length of terabytes", "too_large", with_length(JPEG, 10**13), keep=True)
raw("a length too long", "http_error", with_length(JPEG, len(JPEG) + 9))
raw("a length too short", "http_error", with_length(JPEG, len(JPEG) - 400))
raw("two lengths", "http_error", OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef")
raw("a negative length", "http_error", with_length(JPEG, -5))
raw("a length that is no number", "http_error", with_length(JPEG, "many"))
raw("chunked garbage", "http_error", CHUNKED + b"zz\r\n" + JPEG)
raw("chunks that break off", "http_error", CHUNKED + chunked(JPEG[:500]))
raw("a chunk of exabytes", "http_error", CHUNKED + b"fffffffffffffffff\r\n" + JPEG)
raw(
    "chunked with a length",
    "http_error",
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(JPEG, b""),
)

# Answers that are none.
raw("no http", "http_error", JPEG)
raw("a status line of garbage", "http_error", b"HTTP/9.9 abc\r\n\r\n" + JPEG)
raw("hangs up", "http_error", b"")
raw("hangs up among the headers", "http_error", OK + b"Content-Type: ima")
raw("a header without end", "http_error", OK + b"X: " + b"y" * 200_000 + b"\r\n\r\n")
raw("a header with a null", "http_error", OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n")
raw(
    "changes the protocol",
    "http_error",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
)

raw("a header's name in no script", "http_error", OK + b"X\xff\xfe\x80 y: \xff\r\n\r\n")
raw("led on in no script", "blocked_address", b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe/\x80\r\n\r\n")
raw("an encoding in no script", "http_error", OK + b"Content-Encoding: \xff\xfe\r\n\r\n" + JPEG)

# Codes.
for code in (400, 401, 402, 403, 406, 451, 500, 502, 503, 504, 599):
    simple(f"code {code}", "http_error", b"no", f"{code} No")
simple("code 404", "gone", b"no", "404 Not Found")
simple("code 410", "gone", JPEG, "410 Gone")
simple("no content", "http_error", b"", "204 No Content", Content_Length="")
simple(
    "a part that nobody asked for",
    "http_error",
    JPEG,
    "206 Partial Content",
    Content_Range=f"bytes 0-{len(JPEG) - 1}/99999",
)
simple("unchanged though never seen", "http_error", b"", "304 Not Modified")
simple("rate limited", "rate_limited", b"slow", "429 Too Many Requests", Retry_After="0")
simple("rate limited for a year", "rate_limited", b"slow", "429 Too Many Requests", Retry_After="31536000")
simple("a wait that is no number", "http_error", b"slow", "503 Busy", Retry_After="soon; nan")
simple("led nowhere", "http_error", b"", "302 Found")
simple("led in a circle", "http_error", b"", "302 Found", Location="led in a circle".replace(" ", "%20"))
simple("led to a file", "blocked_address", b"", "302 Found", Location="file:///etc/passwd")
simple("led inside", "blocked_address", b"", "307 Temporary Redirect", Location="http://127.0.0.9:8080/")
simple("led inside by a number", "blocked_address", b"", "302 Found", Location="http://2130706441:8080/")
simple("led to nonsense", "blocked_address", b"", "302 Found", Location="http://[nonsense")

# What robots ask and pictures wish.
simple("private/refused", "robots", JPEG)
simple("a.secret", "robots", JPEG)
simple("noai", "opted_out", JPEG, X_Robots_Tag="noai")
simple("noimageai", "opted_out", JPEG, X_Robots_Tag="nofollow, NoImageAI")
simple("noindex", "opted_out", JPEG, x_robots_tag="noindex")
simple("noai for imageloom", "opted_out", JPEG, X_Robots_Tag="otherbot: all, imageloom: noai")
robots("127.0.0.1", b"User-agent: *\nDisallow: /\n\nUser-agent: imageloom\nDisallow: /private/\nDisallow: /*.secret$\n")
simple("127.0.0.3/robots down", "robots", JPEG)
robots("127.0.0.3", b"", "503 Busy")
simple("127.0.0.4/robots a page", "ok", encoded(photograph(30)))
robots("127.0.0.4", b"<html><body>Disallow: /</body></html>", Content_Type="text/html")
simple("127.0.0.5/robots a bomb", "robots", JPEG)
robots("127.0.0.5", gzip.compress(bytes(20_000_000)), Content_Encoding="gzip")
simple("127.0.0.6/robots in a circle", "ok", encoded(photograph(31)))
robots("127.0.0.6", b"", "302 Found", Location="/robots.txt")
simple("127.0.0.7/robots of noise", "ok", encoded(photograph(32)))
robots("127.0.0.7", bytes(range(256)) * 900)
simple("127.0.0.8/robots silent", "timeout", JPEG)

# Who never comes so far.
simple("https:speaks no tls/x", "tls", JPEG)
simple("https:signed by nobody/y", "tls", JPEG)


@way("drips", "timeout")
async def _(visit: Visit) -> None:
    await visit.send(with_length(b"", len(JPEG)))
    for at in range(len(JPEG)):
        await visit.send(JPEG[at : at + 1])
        await asyncio.sleep(0.2)


@way("drips its headers", "timeout")
async def _(visit: Visit) -> None:
    await visit.send(OK)
    for number in range(200):
        await visit.send(f"X-{number}: y\r\n".encode())
        await asyncio.sleep(0.2)


async def silent(visit: Visit) -> None:
    await asyncio.sleep(60)


way("says nothing", "timeout")(silent)
ROBOTS["127.0.0.8/robots.txt"] = silent


@way("falls silent", "timeout")
async def _(visit: Visit) -> None:
    await visit.send(with_length(JPEG[:500], len(JPEG)))
    await asyncio.sleep(60)


@way("in many small pieces", "ok")
async def _(visit: Visit) -> None:
    await visit.send(with_length(b"", len(JPEG)))
    for at in range(0, len(JPEG), 200):
        await visit.send(JPEG[at : at + 200])
        await asyncio.sleep(0.005)


@way("endless", "too_large")
async def _(visit: Visit) -> None:
    await visit.send(OK + b"\r\n")
    while True:
        await visit.send(bytes(10_000))


@way("endless in chunks", "too_large")
async def _(visit: Visit) -> None:
    await visit.send(CHUNKED)
    while True:
        await visit.send(chunked(bytes(10_000)))


@way("endless headers", "http_error")
async def _(visit: Visit) -> None:
    await visit.send(OK)
    for number in range(100_000):
        await visit.send(f"X-{number}: {'y' * 1000}\r\n".encode())


@way("resets", "http_error")
async def _(visit: Visit) -> None:
    visit.reset()


@way("resets in the middle", "http_error")
async def _(visit: Visit) -> None:
    await visit.send(with_length(JPEG[:500], len(JPEG)))
    visit.reset()


@way("resets at first", "ok")
async def _(visit: Visit) -> None:
    if visit.number:
        await visit.answer(encoded(photograph(40)))
    else:
        visit.reset()


@way("flaps", "ok")
async def _(visit: Visit) -> None:
    if visit.number:
        await visit.answer(encoded(photograph(41)))
    else:
        await visit.answer(b"busy", "503 Busy", Retry_After="0")


@way("limits the rate at first", "ok")
async def _(visit: Visit) -> None:
    if visit.number:
        await visit.answer(encoded(photograph(42)))
    else:
        await visit.answer(b"slow", "429 Too Many Requests", Retry_After="0")


@way("cuts it short at first", "ok")
async def _(visit: Visit) -> None:
    body = encoded(photograph(43))
    await visit.send(with_length(body if visit.number else body[:700], len(body)))
    if not visit.number:
        visit.hang_up()


@way("leads on for ever", "http_error")
async def _(visit: Visit) -> None:
    await visit.answer(b"", "302 Found", Location=f"?{visit.number}")
