"""Pictures in archives: read in place, whatever the archive does."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from listings import listing
from PIL import Image

from imageloom.errors import DataError
from imageloom.fetch.status import Status
from imageloom.params import UNLABELLED
from imageloom.sources import registry
from imageloom.sources.source import Candidate, Context

PICTURES = {f"{name}/{n}.png": f"{name}{n}".encode() * 50 for name in ("cat", "dog") for n in range(3)}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return file.getvalue()


def tarred(files: dict[str, bytes], encoding: str = "utf-8") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", encoding=encoding, format=tarfile.GNU_FORMAT) as archive:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return file.getvalue()


SHAPES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zipped,
    "zip, stored": lambda files: zipped(files, zipfile.ZIP_STORED),
    "tar": tarred,
    "tar.gz": lambda files: gzip.compress(tarred(files)),
    "tar.bz2": lambda files: bz2.compress(tarred(files)),
    "tar.xz": lambda files: lzma.compress(tarred(files)),
}


def entry(**more: Any) -> dict[str, Any]:
    return {"kind": "archive", "path": "data/pictures/a.dat"} | more


def put(root: Path, content: bytes) -> Context:
    (root / "data/pictures").mkdir(parents=True, exist_ok=True)
    (root / "data/pictures/a.dat").write_bytes(content)
    return Context(root, (), "scrape.sources.0")


def read_all(settings: dict[str, Any], context: Context, limit: int = 10**6) -> dict[str, Any]:
    """What is read of each member while the archive is open: its bytes, or the status."""
    source = registry.read(settings)
    found = []

    def read(candidate: Candidate) -> tuple[str, Any]:
        assert candidate.read is not None
        fetched = candidate.read(limit)
        return candidate.url.partition("!/")[2], fetched.body if fetched.status is Status.OK else fetched.status

    with source.opened(context):
        found = list(source._listing(context))
        with ThreadPoolExecutor(4) as pool:
            return dict(pool.map(read, found))


@pytest.mark.parametrize("shape", SHAPES)
def test_an_archive_of_any_shape_is_read_by_its_content_and_not_its_name(tmp_path: Path, shape: str) -> None:
    context = put(tmp_path, SHAPES[shape](PICTURES))
    found = listing(entry(author="me", licence="CC0"), context)
    assert [(candidate.class_name, candidate.url) for candidate in found] == [
        (name.split("/")[0], f"file:data/pictures/a.dat!/{name}") for name in PICTURES
    ]
    assert (found[0].page, found[0].title, found[0].author) == ("data/pictures/a.dat", "0", "me")
    assert read_all(entry(), context) == PICTURES
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.dat"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_member_that_unpacks_to_more_than_allowed_is_left(tmp_path: Path, shape: str) -> None:
    context = put(tmp_path, SHAPES[shape]({"cat/bomb.png": bytes(20_000_000), "cat/1.png": b"1"}))
    assert read_all(entry(), context, 1_000_000) == {"cat/bomb.png": Status.TOO_LARGE, "cat/1.png": b"1"}


def test_a_zip_that_lies_about_its_sizes_gives_no_more_than_allowed(tmp_path: Path) -> None:
    honest = zipped({"cat/bomb.png": bytes(5_000_000)})
    lying = honest.replace((5_000_000).to_bytes(4, "little"), (5).to_bytes(4, "little"))
    assert lying != honest
    assert read_all(entry(), put(tmp_path, lying), 1_000_000)["cat/bomb.png"] is Status.CORRUPT


def test_a_compressed_tar_that_unpacks_to_too_much_is_given_up(tmp_path: Path) -> None:
    context = put(tmp_path, gzip.compress(tarred({"cat/1.png": bytes(30_000_000)})))
    with pytest.raises(DataError, match="unpacks to more than 1,000,000 bytes") as fault:
        listing(entry(max_unpacked=1_000_000), context)
    assert "max_unpacked" in fault.value.hint


def test_one_class_a_pool_and_a_folder_inside_can_be_told(tmp_path: Path) -> None:
    context = put(tmp_path, zipped({"set/train/cat/1.png": b"1", "set/test/cat/2.png": b"2", "3.png": b"3"}))

    def found(**more: Any) -> list[tuple[str, str]]:
        found = listing(entry(**more), context)
        return [(candidate.class_name, candidate.url.partition("!/")[2]) for candidate in found]

    assert found(inside="set/train") == [("cat", "set/train/cat/1.png")]
    assert found(class_name="猫") == [("猫", name) for name in ("set/train/cat/1.png", "set/test/cat/2.png", "3.png")]
    assert {name for name, _ in found(pool=True)} == {UNLABELLED}
    assert len(found(pool=True)) == 3
    assert registry.read(entry(pool=True)).classes(context) == ("_unlabelled",)
    with pytest.raises(ValueError, match="one class or none"):
        found(pool=True, class_name="cat")
    with pytest.raises(DataError, match="no folders of pictures in it") as fault:
        found(inside="set/validation")
    assert "`inside`" in fault.value.hint


def test_a_folder_that_is_no_class_is_named_with_the_nearest(tmp_path: Path) -> None:
    put(tmp_path, zipped({"dgo/1.png": b"1"}))
    with pytest.raises(DataError, match="no class 'dgo'") as fault:
        listing(entry(), Context(tmp_path, ("cat", "dog"), "here"))
    assert "did you mean 'dog'?" in fault.value.hint


def test_what_is_no_picture_of_a_person_is_passed_over(tmp_path: Path) -> None:
    files = {"cat/1.png": b"1", "__MACOSX/cat/._1.png": b"", "cat/.DS_Store": b"", "cat/Thumbs.db": b"", "README": b""}
    assert list(read_all(entry(), put(tmp_path, zipped(files)))) == ["cat/1.png"]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"cat/{kind.decode()}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("./cat/../cat/../../1.png")
        archive.addfile(info)
    with pytest.raises(DataError, match="no folders of pictures"):
        listing(entry(), put(tmp_path, content.getvalue()))


def test_names_in_any_script_are_read_and_those_that_do_not_say_their_encoding_by_it(
    tmp_path: Path, capsys: Any
) -> None:
    assert list(read_all(entry(), put(tmp_path, zipped({"狗/😀 1.png": b"1"})))) == ["狗/😀 1.png"]
    gbk = tarred({"狗/1.png": b"1"}, "gbk")
    assert list(read_all(entry(names_encoding="gbk"), put(tmp_path, gbk))) == ["狗/1.png"]
    assert read_all(entry(), put(tmp_path, gbk)) == {}
    assert "set names_encoding" in capsys.readouterr().err
    # A zip as Windows writes it in China: the name's bytes in GBK, and no flag that says so.
    windows = zipped({"xx\\1.png": b"1"}).replace(b"xx/", b"xx\\").replace(b"xx", "狗".encode("gbk"))
    assert list(read_all(entry(names_encoding="gbk"), put(tmp_path, windows))) == ["狗/1.png"]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_in_another_encoding_than_was_said_are_an_error(tmp_path: Path, encoding: str) -> None:
    windows = zipped({"xx/1.png": b"1"}).replace(b"xx", "狗".encode("gbk"))
    with pytest.raises(DataError, match=r"^scrape\.sources\.0\.path: data/pictures/a\.dat: names in it") as fault:
        listing(entry(names_encoding=encoding), put(tmp_path, windows))
    assert "names_encoding" in fault.value.hint


def test_what_is_no_encoding_of_text_is_refused() -> None:
    for name in ("hex", "idna", "klingon", "undefined"):
        with pytest.raises(ValueError, match="must be an encoding"):
            registry.read(entry(names_encoding=name))


def test_damaged_members_are_told_and_the_others_read(tmp_path: Path) -> None:
    noise = os.urandom(1000)
    content = bytearray(zipped({"cat/1.png": noise, "cat/2.png": b"2"}, zipfile.ZIP_STORED))
    content[content.index(noise) + 500] ^= 255
    assert read_all(entry(), put(tmp_path, bytes(content))) == {"cat/1.png": Status.CORRUPT, "cat/2.png": b"2"}
    other = zipped({"cat/1.png": noise}, zipfile.ZIP_BZIP2)
    assert read_all(entry(), put(tmp_path, other)) == {"cat/1.png": Status.CORRUPT}
    secret = zipped({"cat/1.png": b"1"})
    secret = secret.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")
    assert read_all(entry(), put(tmp_path, secret)) == {"cat/1.png": Status.CORRUPT}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive at all" * 100,
        zipped(PICTURES)[:300],
        zipped(PICTURES).replace(b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\x54"),
        tarred(PICTURES)[:1700],
        tarred(PICTURES)[:1536] + b"junk" * 1000,
        gzip.compress(tarred(PICTURES))[:100],
        gzip.compress(b"no tar" * 1000),
        bz2.compress(tarred(PICTURES))[:-20],
        lzma.compress(tarred(PICTURES))[:100] + b"junk" * 20,
    ],
    ids=[
        "empty",
        "text",
        "cut zip",
        "zip of another time",
        "cut tar",
        "tar with junk",
        "cut gzip",
        "gzip of text",
        "cut bzip2",
        "damaged xz",
    ],
)
def test_a_damaged_archive_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    context = put(tmp_path, content)
    with pytest.raises(DataError, match=r"^scrape\.sources\.0\.path: data/pictures/a\.dat: damaged, or no zip or tar"):
        listing(entry(), context)


def test_an_archive_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"scrape\.sources\.0\.path: data/pictures/a\.dat: cannot read this file: No"):
        listing(entry(), Context(tmp_path, (), "scrape.sources.0"))


def test_a_crawl_reads_an_archive_and_takes_out_what_it_holds_no_more(tmp_path: Path) -> None:
    from imageloom import cli, tables

    def picture(colour: str) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (20, 20), colour).save(file, "PNG")
        return file.getvalue()

    def rows() -> dict[str, str]:
        table = tables.read(tmp_path / "data/raw/manifest.parquet", tables.MANIFEST, "scrape")
        return {row["url"].partition("!/")[2]: row["status"] for row in table.to_pylist()}

    (tmp_path / "params.yaml").write_text("scrape: {sources: [{kind: archive, path: data/pictures/a.dat}]}")
    files = {"cat/1.png": picture("red"), "cat/2.png": b"no picture", "dog/3.png": picture("blue")}
    put(tmp_path, gzip.compress(tarred(files)))
    assert cli.main(["scrape", "-C", str(tmp_path)]) == 0
    assert rows() == {"cat/1.png": "ok", "cat/2.png": "not_image", "dog/3.png": "ok"}
    del files["cat/2.png"]
    put(tmp_path, zipped(files | {"cat/4.png": picture("lime")}))
    assert cli.main(["scrape", "-C", str(tmp_path)]) == 0
    assert rows() == {"cat/1.png": "unchanged", "cat/2.png": "gone", "dog/3.png": "unchanged", "cat/4.png": "ok"}
