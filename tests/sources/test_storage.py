"""Pictures, lists and archives in storages, by fsspec's own storage in memory; and pools."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from listings import listing
from PIL import Image

from imageloom import cli, tables
from imageloom.errors import DataError
from imageloom.params import UNLABELLED
from imageloom.sources import registry
from imageloom.sources.source import Context


def picture(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def bucket() -> Iterator[Any]:
    """A storage at memory://bucket, empty."""
    storage = fsspec.filesystem("memory")
    storage.store.clear()
    yield storage
    storage.store.clear()


def scraped(root: Path, sources: str, classes: str = "[]", code: int = 0) -> dict[str, tuple[str, str]]:
    """Class and status of every address."""
    (root / "params.yaml").write_text(
        f"classes: {classes}\nscrape:\n  max_bytes: 100000\n  sources:\n{sources}\n", "utf-8"
    )
    assert cli.main(["scrape", "-C", str(root)]) == code
    rows = tables.read(root / "data/raw/manifest.parquet", tables.MANIFEST, "scrape").to_pylist()
    return {row["url"]: (row["class"], row["status"]) for row in rows}


def test_a_folder_in_a_storage_is_crawled_like_one_that_is_here(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("/bucket/set/猫/a b.png", picture("red"))
    bucket.pipe("/bucket/set/dog/deep/1.png", picture("blue"))
    bucket.pipe("/bucket/set/dog/large.png", b"x" * 100_001)
    bucket.pipe("/bucket/set/dog/.hidden", b"x")
    bucket.pipe("/bucket/set/README", b"x")
    bucket.pipe("/bucket/settings/cat/1.png", b"x")
    entry = "  - {kind: folder, path: 'memory://bucket/set', licence: CC0}"
    assert scraped(tmp_path, entry) == {
        "memory://bucket/set/猫/a b.png": ("猫", "ok"),
        "memory://bucket/set/dog/deep/1.png": ("dog", "ok"),
        "memory://bucket/set/dog/large.png": ("dog", "too_large"),
    }
    bucket.rm("/bucket/set/dog/large.png")
    assert scraped(tmp_path, entry)["memory://bucket/set/dog/large.png"] == ("dog", "gone")
    assert scraped(tmp_path, entry)["memory://bucket/set/猫/a b.png"] == ("猫", "unchanged")


def test_lists_in_a_storage_are_read(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("/bucket/lists/urls_cat.csv", b"url,author\nhttp://a/1.jpg,Ada\n")
    bucket.pipe("/bucket/all.jsonl", b'{"url": "http://a/1.jpg", "class": "cat"}\n')
    for path in ("memory://bucket/lists", "memory://bucket/all.jsonl"):
        found = listing({"kind": "urls", "path": path}, Context(tmp_path, ("cat",), "here"))
        assert [(each.url, each.class_name) for each in found] == [("http://a/1.jpg", "cat")]


def test_an_archive_in_a_storage_is_read(bucket: Any, tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("cat/1.png", picture("red"))
        archive.writestr("dog/2.png", picture("blue"))
    bucket.pipe("/bucket/a.zip", content.getvalue())
    assert scraped(tmp_path, "  - {kind: archive, path: 'memory://bucket/a.zip'}") == {
        "memory://bucket/a.zip!/cat/1.png": ("cat", "ok"),
        "memory://bucket/a.zip!/dog/2.png": ("dog", "ok"),
    }


def test_lists_name_nothing_in_a_storage_but_what_they_may(bucket: Any, tmp_path: Path) -> None:
    """Lists come from outside, and storages are read with the rights of who crawls."""
    bucket.pipe("/open/cat.png", picture("red"))
    bucket.pipe("/open/dog.png", picture("blue"))
    bucket.pipe("/open-not/1.png", picture("lime"))
    bucket.pipe("/secret/1.png", picture("lime"))
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture("lime"))
    others = [
        "memory://secret/1.png",
        "memory://open-not/1.png",
        "memory://open/../secret/1.png",
        f"file://{secret}",
        f"local://{secret}",
        "file:secret.png",
        f"memory://x::file://{secret}",
        f"simplecache::file://{secret}",
        "zip://1.png::memory://open/a.zip",
        "s3://bucket/1.png",
    ]
    (tmp_path / "data/urls").mkdir(parents=True)
    (tmp_path / "data/urls/urls_cat.txt").write_text(
        "\n".join(["memory://open/cat.png", "memory://open/9.png", *others])
    )
    (tmp_path / "data/urls/urls_dog.txt").write_text("memory://open/dog.png")
    found = scraped(tmp_path, "  - {kind: urls, storage: ['memory://open']}")
    assert found.pop("memory://open/cat.png") == ("cat", "ok")
    assert found.pop("memory://open/dog.png") == ("dog", "ok")
    assert found.pop("memory://open/9.png") == ("cat", "gone")
    assert found == dict.fromkeys(others, ("cat", "blocked_address"))


@pytest.mark.parametrize(
    ("entry", "message", "hint"),
    [
        (
            {"kind": "folder", "path": "s3://bucket/set"},
            "s3:// needs the package s3fs, which is not",
            "pip install s3fs",
        ),
        ({"kind": "folder", "path": "gs://bucket", "pool": True}, "needs the package gcsfs", "pip install gcsfs"),
        ({"kind": "archive", "path": "s3://bucket/a.zip"}, r"scrape\.sources\.0\.path: s3:.* s3fs", "s3fs"),
        ({"kind": "urls", "path": "s3://bucket/a.csv"}, "s3fs", "s3fs"),
        ({"kind": "urls", "storage": ["az://container"]}, "adlfs", "adlfs"),
        ({"kind": "folder", "path": "file:///etc"}, "file:// is no storage", "s3://"),
        ({"kind": "folder", "path": "ftp://a/b"}, "ftp:// is no storage", "s3://"),
        ({"kind": "archive", "path": "simplecache::s3://b/a.zip"}, "is no storage", "s3://"),
        ({"kind": "folder", "path": "memory://bucket/nothing"}, "no pictures in it", "folder"),
        ({"kind": "urls", "path": "memory://bucket/nothing"}, r"no file urls_<class>\.csv", "list"),
        ({"kind": "archive", "path": "memory://bucket/no.zip"}, "cannot read this storage: no such file", "address"),
    ],
)
def test_a_storage_that_cannot_be_read_is_an_error_that_says_what_to_do(
    bucket: Any, tmp_path: Path, entry: dict[str, Any], message: str, hint: str
) -> None:
    if hint.endswith("fs"):
        package = hint.split()[-1]
        pytest.importorskip("fsspec")
        try:
            __import__(package)
        except ImportError:
            pass
        else:
            pytest.skip(f"{package} is installed")
    with pytest.raises(DataError, match=message) as fault:
        listing(entry, Context(tmp_path, (), "scrape.sources.0"))
    assert hint in fault.value.hint


def test_a_prefix_of_storages_must_name_a_bucket() -> None:
    for prefix in ("s3://", "memory", "file:///home", "s3:///"):
        with pytest.raises(ValueError, match="must be a storage's address"):
            registry.read({"kind": "urls", "storage": [prefix]})


@pytest.mark.parametrize("path", ["data/pictures", "memory://bucket/tickets"])
def test_attachments_in_folders_by_user_become_one_pool_without_labels(
    bucket: Any, tmp_path: Path, capsys: Any, path: str
) -> None:
    files = {
        "10017/2024/Bildschirm 1.png": "red",
        "10017/截图.png": "blue",
        "loose.png": "lime",
        "9/a/b/c/d.png": "navy",
    }
    for name, colour in files.items():
        bucket.pipe(f"/bucket/tickets/{name}", picture(colour))
        (tmp_path / "data/pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/pictures" / name).write_bytes(picture(colour))
    start = path if "://" in path else f"file:{path}"
    rows = scraped(tmp_path, f"  - {{kind: folder, path: '{path}', pool: true}}", "[{name: error}, {name: screen}]")
    assert rows == {f"{start}/{name}": (UNLABELLED, "ok") for name in files}
    assert "4 pictures have no label" in capsys.readouterr().out
    assert len(list((tmp_path / "data/raw" / UNLABELLED).iterdir())) == 4
    table = tables.read(tmp_path / "data/raw/manifest.parquet", tables.MANIFEST, "scrape").to_pylist()
    assert all(row["used"] for row in table)
    assert {row["page"] for row in table} >= {f"{path}/10017/2024", f"{path}/10017", path}


def test_a_pool_is_no_class_and_stands_beside_them(tmp_path: Path) -> None:
    for name, colour in (("cat/1.png", "red"), ("dog/2.png", "blue"), (f"{UNLABELLED}/3.png", "lime")):
        (tmp_path / "data/pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/pictures" / name).write_bytes(picture(colour))
    rows = scraped(tmp_path, "  - kind: folder", "[{name: cat}, {name: dog}]")
    assert {name for name, _ in rows.values()} == {"cat", "dog", UNLABELLED}
    assert registry.read({"kind": "folder"}).classes(Context(tmp_path, (), "here")) == (UNLABELLED, "cat", "dog")
    # a pool hides nothing that is missing from the classes' own folders when it is empty
    (tmp_path / "data/pictures" / UNLABELLED / "3.png").unlink()
    (tmp_path / "data/pictures/dog/2.png").unlink()
    scraped(tmp_path, "  - kind: folder", "[{name: cat}, {name: dog}]", code=2)


def test_every_parameter_of_every_kind_says_what_it_is_for() -> None:
    for kind in registry.KINDS:
        model = registry.model_of({"kind": kind})
        assert model is not None
        for name, field in model.model_fields.items():
            assert field.description, f"{kind}.{name}"
