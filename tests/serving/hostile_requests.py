"""Requests that break HTTP, forms, JSON or zip files, or would do harm by them."""

import base64
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator

FORM = "multipart/form-data; boundary=x-1"
HEAD = b'--x-1\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'
V1 = "/v1/models/imageloom"

# A name, the path, the type of the body, and the body.
Posted = tuple[str, str, str, bytes]


def forms(picture: bytes) -> Iterator[Posted]:
    """Broken forms."""
    good = HEAD + picture + b"\r\n--x-1--\r\n"
    for cut in (1, 5, 20, 45, 60, len(HEAD) - 2, len(HEAD), len(HEAD) + 30, len(good) - 9, len(good) - 4):
        yield f"form cut at {cut}", "/predict", FORM, good[:cut]
    for value in ("", "; boundary", "; boundary=", '; boundary="', "; boundary=y", "; boundary=" + "x" * 5000):
        yield f"form with {value[:30]!r}", "/predict", f"multipart/form-data{value}", good
    yield from (
        ("form of empty lines", "/predict", FORM, b"\r\n" * 400_000),
        ("form of boundaries", "/predict", FORM, b"--x-1\r\n" * 100_000),
        ("form of a million headers", "/predict", FORM, b"--x-1\r\n" + b"a: b\r\n" * 200_000),
        ("form with one long header", "/predict", FORM, b"--x-1\r\n" + b"a" * 1_000_000),
        ("form without a name", "/predict", FORM, HEAD.replace(b' name="f";', b"") + picture + b"\r\n--x-1--\r\n"),
        ("form of many empty files", "/predict", FORM, (HEAD + b"\r\n") * 500 + b"--x-1--\r\n"),
        ("form with binary names", "/predict", FORM, good.replace(b"a.png", bytes(range(128, 256)))),
        ("form in a form", "/predict", FORM, HEAD + good + b"\r\n--x-1--\r\n"),
        ("form whose file is a field", "/predict", FORM, good.replace(b' filename="a.png"', b"")),
    )
    for kind in ("multipart/mixed; boundary=x-1", "multipart/byteranges", "application/x-www-form-urlencoded"):
        yield f"form as {kind[:22]}", "/predict", kind, good


def jsons(picture: bytes) -> Iterator[Posted]:
    """Broken JSON, and JSON of the wrong shapes, for both interfaces."""
    kind, b64 = "application/json", base64.b64encode(picture).decode()
    broken = [
        b"{",
        b"nul",
        b"\xff\xfe{}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"NaN",
        b"-",
        b'"' + b"\\u0000" * 9,
        b"{}x",
    ]
    broken += [
        b"9" * 100_000,
        b"1e999999",
        b"[1e400]",
        b'{"b64": "' + b"A" * 3_000_000 + b'"}',
        b"[" + b"{}," * 1_100_000,
    ]
    shapes: list[object] = [None, 7, [], {}, "x", {"b64": None}, {"b64": {}}, {"b64": "####"}, {"b64": b64[:50]}]
    shapes += [{"url": 7}, {"url": ""}, {"url": "file:///etc/passwd"}, {"url": "http://127.0.0.1:22/"}]
    shapes += [{"url": "gopher://[::1]/"}, {"url": "http://169.254.169.254/latest/"}, {"url": "http://\ud800/"}]
    shapes += [{"url": "http://[::ffff:10.0.0.1]/"}, {"url": "http://2130706433/"}, {"url": "x" * 70_000}]
    for number, body in enumerate(broken + [json.dumps(shape).encode() for shape in shapes]):
        yield f"JSON {number} {body[:24]!r}", "/predict", kind, body
    wrong: list[object] = [{}, [], {"instances": 7}, {"instances": []}, {"instances": [7]}, {"instances": [[[[1]]]]}]
    wrong += [
        {"instances": [{"b64": 7}]},
        {"instances": [{"b64": b64[:40]}]},
        {"instances": [{"b64": b64}, {"b64": ""}]},
    ]
    wrong += [
        {"instances": [{"b64": b64}], "signature_name": "other"},
        {"inputs": {"b64": []}},
        {"instances": [[]] * 9},
    ]
    wrong += [
        {"instances": [[[[0, 0, 0]] * 31] * 32]},
        {"instances": [[[[0, 0, "x"]] * 32] * 32]},
        {"instances": {"x": 1}},
    ]
    wrong += [{"examples": [{"image": 5}]}, {"examples": 5}, {"instances": [[[[1e308, -1e308, 0.5]] * 32] * 32]}]
    for number, shape in enumerate(wrong):
        for verb in (":predict", ":classify"):
            yield f"TensorFlow Serving {number} {verb}", V1 + verb, kind, json.dumps(shape).encode()
    for path in (V1 + ":regress", V1 + "/versions/9:predict", "/v1/models/other:predict", V1 + ":", "/v1/models/"):
        yield f"TensorFlow Serving at {path}", path, kind, json.dumps({"instances": [{"b64": b64}]}).encode()


def zipped(*members: tuple[str, bytes], **options) -> bytes:
    """A zip file of so many names and contents."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **({"compression": zipfile.ZIP_DEFLATED} | options)) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name) if "\0" in name else name, data)
    return file.getvalue()


def zips(picture: bytes) -> Iterator[Posted]:
    """Broken zip files, and those that would do harm."""
    good = zipped(("a.png", picture), ("b/c.png", picture))
    locked = good.replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0").replace(b"\x14\0\0\0\x08", b"\x14\0\1\0\x08")
    bomb = zipped(("a.png", bytes(60_000_000)))
    found = {
        f"zip cut at {cut}": good[:cut] for cut in (2, 4, 10, 30, 50, len(good) // 2, len(good) - 30, len(good) - 1)
    }
    found |= {
        "zip slip": zipped(*((name, picture) for name in ("../../../tmp/slip.png", "/tmp/slip.png", "C:\\slip.png"))),
        "zip of nothing": zipped(),
        "zip bomb": bomb,
        "zip of bombs": zipped(*((f"{number}.png", bytes(30_000_000)) for number in range(12))),
        "zip in zips": zipped(("a.zip", zipped(("a.zip", zipped(("a.png", picture)))))),
        "zip in a zip that is called a picture": zipped(("a.png", zipped(("a.png", picture)))),
        "zip of 3,000 members": zipped(*((f"{number}.png", b"") for number in range(3000))),
        "zip of bzip2": zipped(("a.png", picture), compression=zipfile.ZIP_BZIP2),
        "zip of LZMA": zipped(("a.png", picture), compression=zipfile.ZIP_LZMA),
        "zip that is encrypted": locked,
        "zip of an unknown method": good.replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0"),
        "zip with wrong sums": good.replace(struct.pack("<I", zlib.crc32(picture)), b"\0\0\0\0"),
        "zip that says it is small": bomb.replace(struct.pack("<I", 60_000_000), struct.pack("<I", 100)),
        "zip that says it is huge": good.replace(struct.pack("<I", len(picture)), b"\xff\xff\xff\x7f"),
        "zip whose members are one": good.replace(struct.pack("<I", good.index(b"PK\3\4", 4)), bytes(4)),
        "zip with its list elsewhere": good[:-6] + b"\xff\xff\xff\x7f\0\0",
        "zip of 65,535 in its list": good[:-14] + b"\xff\xff\xff\xff" + good[-10:],
        "zip with a comment as its end": good[:-2] + b"\xff\xff" + b"PK\5\6" * 9000,
        "zip with two of a name": good.replace(b"b/c.png", b"./a.png"),
        "zip with no names": good.replace(b"a.png", b"\0\0\0\0\0"),
        "zip of odd names": good.replace(b"a.png", b"\xff\xfe\x80\x81\x82"),
        "zip after noise": b"noise" * 99 + good,
    }  # fmt: skip
    for name, body in found.items():
        yield (
            name,
            "/classify",
            FORM,
            HEAD.replace(b'"f"', b'"upload"').replace(b"a.png", b"a.zip") + body + b"\r\n--x-1--\r\n",
        )
        yield f"{name}, raw", "/classify", "application/zip", body


def raw(picture: bytes) -> Iterator[tuple[str, bytes]]:
    """Whole conversations, byte by byte, that break HTTP itself."""
    length = f"Content-Length: {len(picture)}\r\n".encode()
    post, host, chunked = b"POST /predict HTTP/1.1\r\n", b"Host: localhost\r\n", b"Transfer-Encoding: chunked\r\n"
    size = f"{len(picture):x}\r\n".encode()
    headers = {
        "a megabyte of one header": b"A: " + b"a" * 1_000_000,
        "a megabyte of headers": b"a: b\r\n" * 170_000 + b"a: b",
        "a header without a colon": b"hello",
        "a header with NUL": b"A: \0",
        "a header with a bare CR": b"A: b\rC: d",
        "a folded header": b"A: b\r\n c",
        "a header that begins with a blank": b" A: b",
        "a blank before the colon": b"A : b",
        "a header of no name": b": b",
        "a header in other scripts": "A: 卡特彼勒\u2028".encode(),
        "two lengths": length.strip() + b"\r\nContent-Length: 3",
        "a negative length": b"Content-Length: -1",
        "a length with a sign": b"Content-Length: +5",
        "a length in hexadecimal": b"Content-Length: 0x10",
        "a length in other digits": "Content-Length: ٣".encode(),
        "a long length": b"Content-Length: " + b"9" * 5000,
        "no length": b"A: b",
        "a length beside chunks": length + chunked.strip(),
        "gzip": b"Transfer-Encoding: gzip",
        "chunks twice": b"Transfer-Encoding: chunked, chunked",
        "chunks by another name": b"Transfer-Encoding: \x0bchunked",
        "an unknown expectation": length + b"Expect: 200-maybe",
        "a far too large body": b"Content-Length: 99999999999",
    }
    for name, header in headers.items():
        yield name, post + host + header + b"\r\n\r\n" + picture
    bodies = {
        "a chunk of no size": b"\r\n\r\n",
        "a chunk of size x": b"x\r\n",
        "a chunk of size -1": b"-1\r\n",
        "a chunk of 2^70": b"1" + b"0" * 18 + b"\r\n",
        "a chunk's endless size": b"0" * 2_000_000,
        "a chunk's endless extension": b"1;" + b"a" * 2_000_000,
        "a chunk without its end": size + picture + b"xx",
        "crumbs": b"1\r\na\r\n" * 200_000,
        "an endless trailer": size + picture + b"\r\n0\r\n" + b"a: b\r\n" * 300_000,
    }
    for name, body in bodies.items():
        yield name, post + host + chunked + b"\r\n" + body
    lines = {
        "no version": b"GET /\r\n\r\n",
        "version 9.9": b"GET / HTTP/9.9\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(99) + b"\r\n\r\n",
        "only blank lines": b"\r\n" * 40_000 + b"\r\n\r\n",
        "noise": bytes(range(256)) * 8 + b"\r\n\r\n",
        "a method in small letters": b"get / HTTP/1.1\r\n\r\n",
        "an unknown method": b"BREW /predict HTTP/1.1\r\n\r\n",
        "a long method": b"A" * 20_000 + b" / HTTP/1.1\r\n\r\n",
        "a long address": b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\n\r\n",
        "a path upwards": b"GET /static/../../../../etc/passwd HTTP/1.1\r\n\r\n",
        "an encoded path upwards": b"GET /static/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\n\r\n",
        "NUL in the path": b"GET /%00 HTTP/1.1\r\n\r\n",
        "a path that is not UTF-8": b"GET /%ff%fe HTTP/1.1\r\n\r\n",
        "a broken escape": b"GET /%zz?%=%&&=%% HTTP/1.1\r\n\r\n",
        "a parameter that is not UTF-8": b"GET /predict?url=%ff HTTP/1.1\r\n\r\n",
        "many parameters": b"GET /predict?" + b"a=b&" * 7000 + b" HTTP/1.1\r\n\r\n",
        "another server's address": b"GET http://example.com/ HTTP/1.1\r\n\r\n",
        "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n",
        "an asterisk": b"OPTIONS * HTTP/1.1\r\n\r\n",
        "a split answer": b"GET /%0d%0aSet-Cookie:a=b HTTP/1.1\r\n\r\n",
        "a thousand requests at once": b"GET /nope HTTP/1.1\r\n\r\n" * 1000,
        "a request in a body": post + b"Content-Length: 3\r\n\r\nabc" + b"GET /nope HTTP/1.1\r\n\r\n",
    }
    for name, said in lines.items():
        yield name, said.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nHost: localhost\r\n")
