"""The stage `scrape`, whole: real sites and folders in, pictures and a manifest out."""

import asyncio
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from full_disk import assert_told_and_untouched
from noted import NotedCrawl, wait_until
from PIL import Image
from ports import free_port

from imageloom import cli, tables
from imageloom.engine import cores
from imageloom.fetch.crawl import BATCH, Crawl
from imageloom.fetch.forgotten import Forgotten
from imageloom.fetch.http import Limits
from imageloom.fetch.ledger import Ledger
from imageloom.fetch.store import Store
from imageloom.sources.demo_gallery import DemoGallery
from imageloom.sources.source import Candidate, Context, GetPage, Source

GALLERY = "kind: gallery, start: 'http://a/{class}', item: img"
SETTINGS = "  backoff: 0.01\n  retries: 1\n  timeout: 300\n  allow_hosts: [127.0.0.1]\n"
PATIENT = SETTINGS + "  idle_timeout: 300\n"  # for servers that let it wait, be it on purpose


def picture(colour: str = "red", size: int = 20, form: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(file, form)
    return file.getvalue()


def gallery(site: Any, **classes: dict[str, Any]) -> None:
    """Serves a page for each class that shows the pictures of `classes`, which become routes."""
    for name, pictures in classes.items():
        images = "".join(f'<img src="/{name}/{file}">' for file in pictures)
        site.routes[f"/{name}"] = images.encode()
        site.routes |= {f"/{name}/{file}": answer for file, answer in pictures.items()}


def project(folder: Path, sources: str, classes: str = "[{name: cat}, {name: dog}]", settings: str = SETTINGS) -> Path:
    folder.mkdir(exist_ok=True)
    text = f"classes: {classes}\nscrape:\n{settings}  sources:\n{sources}\n"
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return folder


def from_site(site: Any) -> str:
    return f"  - {{kind: gallery, start: '{site.address}/{{class}}', item: img}}"


def scrape(folder: Path) -> int:
    return cli.main(["scrape", "-C", str(folder)])


def manifest(folder: Path) -> list[dict[str, Any]]:
    return tables.read(folder / "data/raw/manifest.parquet", tables.MANIFEST, "scrape").to_pylist()


def statuses(folder: Path) -> dict[str, str]:
    return {row["url"].rsplit("/", 1)[-1]: row["status"] for row in manifest(folder)}


def stored(folder: Path) -> set[str]:
    raw = folder / "data/raw"
    return {path.relative_to(raw).as_posix() for path in raw.rglob("*.*") if path.name != "manifest.parquet"}


def test_every_address_has_a_row_whatever_became_of_it(site: Any, tmp_path: Path, capsys: Any) -> None:
    good = picture()
    page_404 = (200, {"Content-Type": "image/jpeg"}, b"<html><h1>404 not found</h1></html>")
    gallery(
        site,
        cat={"ok.jpg": good, "404page.jpg": page_404, "cut.jpg": picture(size=200)[:800], "none.jpg": (404, {}, b"")},
        dog={"ok.png": picture("blue", form="PNG"), "small.png": picture(size=3), "big.bmp": picture("red", 90, "BMP")},
    )
    site.routes["/dog/down.jpg"] = (500, {}, b"")
    site.routes["/dog"] += b"<img src=/dog/down.jpg>"
    folder = project(tmp_path, from_site(site), settings=SETTINGS + "  min_side: 8\n  max_bytes: 20000\n")
    assert scrape(folder) == 0
    assert statuses(folder) == {
        "ok.jpg": "ok",
        "404page.jpg": "not_image",
        "cut.jpg": "corrupt",
        "none.jpg": "gone",
        "ok.png": "ok",
        "small.png": "too_small",
        "big.bmp": "too_large",
        "down.jpg": "http_error",
    }
    rows = manifest(folder)
    assert [(row["class"], row["url"]) for row in rows] == sorted((row["class"], row["url"]) for row in rows)
    kept = next(row for row in rows if row["url"].endswith("ok.jpg"))
    assert (folder / "data/raw" / kept["path"]).read_bytes() == good
    assert kept["path"] == f"cat/{kept['sha256'][:20]}.jpg"
    assert (kept["bytes"], kept["width"], kept["format"], kept["attempts"]) == (len(good), 20, "JPEG", 1)
    assert next(row for row in rows if row["status"] == "http_error")["attempts"] == 2
    assert stored(folder) == {row["path"] for row in rows if row["path"]}
    said = capsys.readouterr().out
    assert "not_image" in said
    assert "gone (HTTP 404)" in said
    assert "http_error (HTTP 500)" in said


def test_failures_are_shown_by_examples_of_each_cause(site: Any, tmp_path: Path, capsys: Any) -> None:
    pages = {f"page{n}.jpg": b"<html>" for n in range(7)}
    hidden = (200, {"X-Robots-Tag": "noai"}, picture())
    wide = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (40_000).to_bytes(4, "big") * 2 + b"\x08\2\0\0\0"
    wide += zlib.crc32(wide[12:]).to_bytes(4, "big") + b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
    gallery(
        site, cat={"1.jpg": picture(), "hidden.jpg": hidden, **pages}, dog={"2.jpg": picture("blue"), "b.png": wide}
    )
    assert scrape(project(tmp_path, from_site(site))) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("  not_image, such as:")
    shown = [line for line in lines[start + 1 :] if line.startswith(f"    {site.address}/cat/page")]
    assert len(shown) == 5
    assert all(line.endswith(")") for line in shown)
    assert "  too many pixels (bomb), such as:" in lines
    assert "every address with its status and error is in data/raw/manifest.parquet" in lines[-2]
    assert not any("hidden.jpg" in line for line in lines)


def test_what_is_lost_since_the_last_crawl_is_told(tmp_path: Path, capsys: Any) -> None:
    for name in ("cat", "dog", "hen"):
        (tmp_path / "data/pictures" / name).mkdir(parents=True)
        (tmp_path / "data/pictures" / name / "1.jpg").write_bytes(picture(size=20 + ord(name[0])))
    folder = project(tmp_path, "  - kind: folder", classes="[]")
    assert scrape(folder) == 0
    assert "warning" not in capsys.readouterr().err
    shutil.rmtree(tmp_path / "data/pictures/hen")
    (tmp_path / "data/pictures/stray.JPG").write_bytes(picture())
    (tmp_path / "data/pictures/notes.txt").write_text("no picture")
    assert scrape(folder) == 0
    warnings = capsys.readouterr().err
    assert "passed over in no class's folder: 1 picture, such as 'stray.JPG'" in warnings
    assert "no source has the class 'hen' any more" in warnings
    assert warnings.count("warning") == 2


def test_a_next_page_that_is_not_found_any_more_is_told(site: Any, tmp_path: Path, capsys: Any) -> None:
    gallery(site, cat={"1.jpg": picture()}, dog={"2.jpg": picture("blue")})
    site.routes |= {"/more": b"<img src=/cat/3.jpg>", "/cat/3.jpg": picture("lime")}
    site.routes["/cat"] += b"<a rel=next href=/more>"
    entry = from_site(site).replace("item:", "next: 'a[rel=next]', item:")
    folder = project(tmp_path, entry)
    assert [scrape(folder), scrape(folder)] == [0, 0]
    assert "check next" not in capsys.readouterr().err
    site.routes["/cat"] = site.routes["/cat"].replace(b"rel=next", b"class=on")
    assert scrape(folder) == 0
    error = capsys.readouterr().err
    assert "not listed any more: 1 known address; no page has 'a[rel=next]', check next" in error


def test_a_second_crawl_downloads_nothing_that_it_has(tmp_path: Path) -> None:
    with DemoGallery(limit=60) as demo:
        entry = f"  - {{kind: gallery, start: '{demo.address}/{{class}}/', item: .item img, next: 'a[rel=next]'}}"
        folder = project(tmp_path, entry, "[{name: functional}, {name: defective}]")
        assert scrape(folder) == 0
        assert (demo.bodies, Counter(row["status"] for row in manifest(folder))) == (120, {"ok": 120})
        before = {path: path.stat().st_mtime_ns for path in (folder / "data/raw").rglob("*.png")}
        first = manifest(folder)
        time.sleep(1.1)
        assert scrape(folder) == 0
        assert (demo.bodies, Counter(row["status"] for row in manifest(folder))) == (120, {"unchanged": 120})
        assert {path: path.stat().st_mtime_ns for path in (folder / "data/raw").rglob("*.png")} == before
        for old, new in zip(first, manifest(folder), strict=True):
            assert new["first_seen"] == old["first_seen"] < new["last_seen"]
            assert (new["sha256"], new["etag"]) == (old["sha256"], old["etag"])

        demo.limit = 75
        next(iter(before)).unlink()
        assert scrape(folder) == 0
        assert demo.bodies == 120 + 30 + 1  # what is new, and what is missing from the disk
        assert len(stored(folder)) == 150
        assert len({row["first_seen"] for row in manifest(folder)}) == 2


def test_a_picture_that_changed_gets_a_new_digest_and_the_old_file_stays(site: Any, tmp_path: Path) -> None:
    gallery(site, cat={"1.jpg": picture("red")}, dog={"2.jpg": picture("blue")})
    folder = project(tmp_path, from_site(site))
    assert scrape(folder) == 0
    old = manifest(folder)[0]
    site.routes["/cat/1.jpg"] = picture("green")
    assert scrape(folder) == 0
    new, same = manifest(folder)
    assert (new["status"], same["status"]) == ("ok", "unchanged")  # the second by its bytes: it has no ETag
    assert new["sha256"] != old["sha256"]
    assert new["first_seen"] == old["first_seen"]
    assert {old["path"], new["path"]} <= stored(folder)


def test_a_recrawl_that_fails_keeps_the_picture(site: Any, tmp_path: Path) -> None:
    gallery(site, cat={"1.jpg": (200, {"ETag": '"e"'}, picture())}, dog={"2.jpg": picture("blue")})
    folder = project(tmp_path, from_site(site))
    assert scrape(folder) == 0
    old = manifest(folder)[0]
    site.routes["/cat/1.jpg"] = (410, {}, b"")
    site.routes["/dog/2.jpg"] = b"<html>sold"
    assert scrape(folder) == 0
    gone, page = manifest(folder)
    assert (gone["status"], gone["http_status"], page["status"]) == ("gone", 410, "not_image")
    for column in ("sha256", "path", "bytes", "width", "etag"):
        assert gone[column] == old[column]
    assert page["sha256"]


def test_a_row_that_is_not_listed_any_more_stays_with_its_dates(site: Any, tmp_path: Path) -> None:
    gallery(site, cat={"1.jpg": picture(), "3.jpg": picture("pink")}, dog={"2.jpg": picture("blue")})
    folder = project(tmp_path, from_site(site))
    assert scrape(folder) == 0
    old = {row["url"]: row for row in manifest(folder)}
    site.routes["/cat"] = b"<img src=/cat/1.jpg>"
    time.sleep(1.1)
    assert scrape(folder) == 0
    same = [row for row in manifest(folder) if row == old[row["url"]]]
    assert [row["url"][-5:] for row in same] == ["3.jpg"]


def test_two_crawls_of_one_site_give_equal_rows(site: Any, tmp_path: Path) -> None:
    pictures = {f"{n}.png": (200, {"ETag": f'"{n}"'}, picture(f"#0000{n:02x}", form="PNG")) for n in range(60)}
    gallery(site, cat=pictures, dog={"a.jpg": picture(), "b.jpg": picture(), "c.jpg": b"no"})  # a and b: same bytes
    folders = [project(tmp_path / name, from_site(site), settings=PATIENT) for name in ("one", "two")]
    assert [scrape(folder) for folder in folders] == [0, 0]
    one, two = ([{**row, "first_seen": 0, "last_seen": 0} for row in manifest(folder)] for folder in folders)
    assert one == two
    assert len(one) == 63
    assert stored(folders[0]) == stored(folders[1])


def test_folders_of_any_script_are_taken_as_classes_and_copied_once(tmp_path: Path) -> None:
    for name, colour in (("卡特彼勒/a b 😀.jpg", "red"), ("狗/deep/1.png", "blue"), ("狗/same.png", "blue")):
        (tmp_path / "data/pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/pictures" / name).write_bytes(picture(colour, form="PNG"))
    (tmp_path / "data/pictures/狗/notes.txt").write_text("Hund")
    folder = project(tmp_path, "  - kind: folder", classes="[]")
    assert scrape(folder) == 0
    assert {(row["class"], row["url"], row["status"]) for row in manifest(folder)} == {
        ("卡特彼勒", "file:data/pictures/卡特彼勒/a b 😀.jpg", "ok"),
        ("狗", "file:data/pictures/狗/deep/1.png", "ok"),
        ("狗", "file:data/pictures/狗/same.png", "ok"),
        ("狗", "file:data/pictures/狗/notes.txt", "not_image"),
    }
    files = {name: (tmp_path / "data/raw" / name).stat().st_mtime_ns for name in stored(folder)}
    assert len(files) == 2
    assert scrape(folder) == 0
    assert {name: (tmp_path / "data/raw" / name).stat().st_mtime_ns for name in stored(folder)} == files
    assert Counter(row["status"] for row in manifest(folder)) == {"unchanged": 3, "not_image": 1}


def test_a_picture_moved_to_another_folder_leaves_its_old_class(tmp_path: Path) -> None:
    for name, colour in (("cat/1.jpg", "red"), ("cat/2.jpg", "pink"), ("dog/3.jpg", "blue")):
        (tmp_path / "data/pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/pictures" / name).write_bytes(picture(colour))
    folder = project(tmp_path, "  - kind: folder")
    assert scrape(folder) == 0
    (tmp_path / "data/pictures/cat/1.jpg").rename(tmp_path / "data/pictures/dog/1.jpg")
    assert scrape(folder) == 0
    rows = {(row["class"], row["url"][-5:]): row for row in manifest(folder)}
    assert rows["cat", "1.jpg"]["status"] == "gone"
    assert rows["cat", "1.jpg"]["path"] is None
    assert rows["dog", "1.jpg"]["status"] == "ok"


def test_a_list_of_addresses_is_crawled_and_what_is_no_address_is_told(site: Any, tmp_path: Path) -> None:
    site.routes = {"/1": picture(), "/2": picture("blue")}
    (tmp_path / "data/urls").mkdir(parents=True)
    (tmp_path / "data/urls/urls_cat.csv").write_text(f"url\n{site.address}/1\nftp://a/b.jpg\nnonsense\n")
    (tmp_path / "data/urls/urls_dog.csv").write_text(f"{site.address}/2\n")
    folder = project(tmp_path, "  - kind: urls")
    assert scrape(folder) == 0
    assert statuses(folder) == {"1": "ok", "b.jpg": "blocked_address", "nonsense": "blocked_address", "2": "ok"}


def test_a_dead_source_is_an_error_and_what_others_gave_is_kept(site: Any, tmp_path: Path, capsys: Any) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "data/pictures" / name).mkdir(parents=True)
        (tmp_path / "data/pictures" / name / "1.jpg").write_bytes(picture("red" if name == "cat" else "blue"))
    folder = project(tmp_path, from_site(site) + "\n  - kind: folder")
    site.routes["/cat"] = (503, {}, b"")
    assert scrape(folder) == 2
    error = capsys.readouterr().err
    fault = f"error: scrape.sources.0 (gallery), class 'cat': {site.address}/cat answered HTTP 503 after 2 attempts"
    assert f"{fault}; and nothing of 'dog'\n" in error
    assert "hint: " in error
    assert "Traceback" not in error
    assert Counter(row["status"] for row in manifest(folder)) == {"ok": 2}


def test_a_dead_gallery_leaves_the_data_as_it_was(site: Any, tmp_path: Path) -> None:
    gallery(site, cat={"1.jpg": picture()}, dog={"2.jpg": picture("blue")})
    folder = project(tmp_path, from_site(site))
    assert scrape(folder) == 0
    before = manifest(folder), stored(folder)
    site.server.shutdown()
    site.server.server_close()
    assert scrape(folder) == 2
    assert (manifest(folder), stored(folder)) == before


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"cat/1.txt": b"one", "dog/2.txt": b"two"}, "no picture came of 2 addresses: 2 not_image"),
        ({"cat/1.jpg": None, "dog/2.txt": b"two"}, "no picture of the class 'dog'"),
        ({"cat/1.jpg": None}, "no picture of the class 'dog'"),
        ({"cat/.hidden": b"", "dog/.hidden": b""}, "scrape.sources.0: lists nothing"),
    ],
)
def test_too_few_pictures_are_an_error(tmp_path: Path, capsys: Any, files: dict[str, Any], message: str) -> None:
    for name, content in files.items():
        (tmp_path / "data/pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/pictures" / name).write_bytes(picture() if content is None else content)
    assert scrape(project(tmp_path, "  - kind: folder")) == 2
    error = capsys.readouterr().err
    assert f"error: {message}" in error
    assert "hint: " in error


def test_one_folder_only_is_an_error_that_names_it(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "data/pictures/猫").mkdir(parents=True)
    (tmp_path / "data/pictures/猫/1.jpg").write_bytes(picture())
    assert scrape(project(tmp_path, "  - kind: folder", classes="[]")) == 2
    assert "one class only, '猫'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("{kind: galery}", "params.yaml:8: scrape.sources.0.kind: ", "did you mean 'gallery'?"),
        ("{kind: folder, pth: x}", "params.yaml:8: scrape.sources.0.pth: unknown key", "did you mean 'path'?"),
        ("{kind: gallery, item: img, strat: x}", "scrape.sources.0.strat: unknown key", "did you mean 'start'?"),
        ("{kind: demo, port: x}", "scrape.sources.0.port: ", "Where to serve it"),
        ("{kind: gallery, start: 'http://a/{class}', item: 'a['}", "must be a CSS selector, not 'a['", "CSS selector"),
        ("{kind: gallery, start: {cat: x}, item: a}", "scrape.sources.0.start.cat: must be an http", ""),
        ("{kind: gallery, start: 'http://a/', item: a}", "start must have {class}", ""),
        ("{kind: gallery, start: {cta: 'http://a/'}, item: a}", "no class 'cta' in params.yaml", "did you mean 'cat'?"),
        ("folder", "must be a mapping with a kind", "known are: archive, commons, demo, folder, gallery"),
        ("{path: x}", "needs a kind", "known are: archive, commons, demo, folder, gallery"),
    ],
)
def test_a_wrong_source_is_named_by_its_line_and_key(
    tmp_path: Path, capsys: Any, source: str, message: str, hint: str
) -> None:
    assert scrape(project(tmp_path, f"  - {source}")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert hint in error


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("contact: '  '", "contact: must not be blank: leave it out, or say how to reach you, not '  '"),
        ("contact: me@exämple.org", "contact: only ASCII may stand here, in one line, not 'me@exämple.org'"),
        ('contact: "a\\nb"', "contact: only ASCII may stand here, in one line"),
        ("user_agent: 蜘蛛", "user_agent: only ASCII may stand here, in one line, not '蜘蛛'"),
        ("user_agent: /2", "user_agent: must begin with a letter from a to z, not '/2'"),
        ("user_agent: ''", "user_agent: must begin with a letter"),
        ("retries: yes", "retries: must be a number, and YAML reads yes as a truth value"),
        ("delay: false", "delay: must be a number, and YAML reads false as a truth value"),
        ("resize: true", "resize: must be a number, and YAML reads true as a truth value"),
        ("allow_ports: [8000, true]", "allow_ports: must be a number"),
        ("sources: [{kind: demo, port: yes}]", "sources.0.port: must be a number, and YAML reads yes as a truth value"),
        (f"sources: [{{{GALLERY}, pages: 9999999}}]", "sources.0.pages: input should be less than or equal"),
        (f"sources: [{{{GALLERY}, max_pages: 9999999}}]", "sources.0.max_pages: input should be less than or equal"),
        (f"sources: [{{{GALLERY}, max_pages: yes}}]", "sources.0.max_pages: must be a number, and YAML reads yes"),
        ("sources: [{kind: urls, max_per_class: 1e30}]", "sources.0.max_per_class: "),
        ("sources: [{kind: demo, limit: no}]", "sources.0.limit: must be a number"),
    ],
)
def test_a_wrong_setting_says_what_may_stand_there(tmp_path: Path, capsys: Any, setting: str, message: str) -> None:
    sources = "" if setting.startswith("sources") else ", sources: [{kind: folder}]"
    (tmp_path / "params.yaml").write_text(f"scrape: {{{setting}{sources}}}\n", encoding="utf-8")
    assert scrape(tmp_path) == 2
    error = capsys.readouterr().err
    assert f"params.yaml:1: scrape.{message}" in error
    assert "hint: " in error


def test_a_class_that_no_source_names_is_told_once(site: Any, tmp_path: Path, capsys: Any) -> None:
    gallery(site, cat={"1.jpg": picture()}, dog={"2.jpg": picture("blue")})

    def preview(sources: str) -> str:
        assert cli.main(["scrape", "-C", str(project(tmp_path, sources)), "--dry-run"]) == 0
        return str(capsys.readouterr().err)

    cats = f"  - {{kind: gallery, start: {{cat: '{site.address}/cat'}}, item: img}}"
    told = "warning: class 'dog': no source has a start, a search, a folder or a list for it\n"
    assert preview(cats) == told
    assert preview(f"{cats}\n{cats.replace('{cat:', '{ cat:')}") == told
    assert preview(f"{cats}\n{cats.replace('cat', 'dog')}") == ""
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool/1.jpg").write_bytes(picture())
    assert "class 'dog'" not in preview(f"{cats}\n  - {{kind: folder, path: pool, pool: true}}")


def test_a_list_without_an_address_is_named(site: Any, tmp_path: Path, capsys: Any) -> None:
    site.routes = {"/1": picture(), "/2": picture("blue")}
    (tmp_path / "data/urls").mkdir(parents=True)
    cats, dogs = (tmp_path / f"data/urls/urls_{name}.csv" for name in ("cat", "dog"))
    cats.write_text(f"{site.address}/1\n")
    dogs.write_text("# none yet\n")
    folder = project(tmp_path, "  - kind: urls")
    assert scrape(folder) == 2
    error = capsys.readouterr().err
    assert "warning: scrape.sources.0.path: data/urls: no address in urls_dog.csv\n" in error
    assert "error: no picture of the class 'dog'" in error
    cats.write_text("")
    assert scrape(folder) == 2
    error = capsys.readouterr().err
    assert "error: scrape.sources.0.path: data/urls: no address in urls_cat.csv, urls_dog.csv\n" in error
    assert "warning: scrape.sources.0.path" not in error
    cats.write_text(f"{site.address}/1\n")
    dogs.write_text(f"{site.address}/2\n")
    assert scrape(folder) == 0
    assert "no address" not in capsys.readouterr().err


def test_one_demo_is_enough(tmp_path: Path, capsys: Any) -> None:
    entries = "  - {kind: demo, port: 1}\n  - {kind: urls}\n  - {kind: demo, port: 2}"
    assert scrape(project(tmp_path, entries, "[{name: functional}, {name: defective}]")) == 2
    assert capsys.readouterr().err == (
        "error: params.yaml:7: scrape.sources: can have one entry of the kind demo\nhint: keep one of them\n"
    )


def test_no_sources_are_an_error(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "params.yaml").write_text("scrape: {sources: []}\n")
    assert scrape(tmp_path) == 2
    assert "scrape.sources" in capsys.readouterr().err


def test_a_damaged_manifest_is_an_error_and_stays(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "data/pictures/cat").mkdir(parents=True)
    (tmp_path / "data/raw").mkdir()
    (tmp_path / "data/raw/manifest.parquet").write_bytes(b"junk")
    assert scrape(project(tmp_path, "  - kind: folder")) == 2
    assert "dvc checkout" in capsys.readouterr().err
    assert (tmp_path / "data/raw/manifest.parquet").read_bytes() == b"junk"


@pytest.mark.parametrize(
    ("ending", "code", "to_all"),
    [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, False), (signal.SIGTERM, 143, True)],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM to its processes as well"],
)
def test_a_crawl_that_is_broken_off_waits_for_nobody_and_keeps_what_came(
    site: Any, tmp_path: Path, ending: int, code: int, to_all: bool
) -> None:
    many = {f"{n}.png": picture(f"#0000{n:02x}", form="PNG") for n in range(40)}
    gallery(site, cat=many, dog={"1.jpg": picture()})
    stuck = threading.Event()
    for number in range(20, 40):
        site.routes[f"/cat/{number}.png"] = lambda handler: stuck.wait(300) and b""
    folder = project(tmp_path / "project", from_site(site), settings=PATIENT)
    crawl = NotedCrawl(folder)
    process = crawl.process
    wait_until(lambda: crawl.noted == 20 and len(site.asked) >= 21 + 8)  # all that are not stuck, and as many as may be
    (os.killpg if to_all else os.kill)(process.pid, ending)
    said, errors = process.communicate(timeout=120)  # those that are stuck would take longer
    stuck.set()
    assert process.returncode == code
    assert "broken off after 20 addresses; `imageloom scrape` goes on with the rest" in said
    assert "Traceback" not in errors
    rows = manifest(folder)
    assert len(rows) == 20
    assert {row["status"] for row in rows} == {"ok"}
    assert stored(folder) == {row["path"] for row in rows}


def test_what_came_before_the_disk_was_full_is_kept_and_the_next_crawl_goes_on(tmp_path: Path) -> None:
    for name, colour in (("cat", "red"), ("dog", "blue")):
        (tmp_path / "data/pictures" / name).mkdir(parents=True)
        (tmp_path / "data/pictures" / name / "1.png").write_bytes(picture(colour, form="PNG"))
    folder = project(tmp_path, "  - kind: folder")
    (folder / "data/raw").mkdir()
    for number in range(40):
        noise = Image.frombytes("RGB", (120, 120), os.urandom(120 * 120 * 3))
        noise.save(tmp_path / f"data/pictures/cat/n{number}.png")
    script = """
        mount -t tmpfs -o size=1m tmpfs data/raw || exit 77
        "$0" -m imageloom.cli scrape; echo $? > "$noted/code"
        test -z "$(find data/raw -name '*.tmp')" || exit 1
        find data/raw -name '*.png' -exec sha256sum {} + > "$noted/before"
        test $(wc -l < "$noted/before") -gt 10 || exit 1
        mount -o remount,size=8m data/raw
        "$0" -m imageloom.cli scrape > said || exit 1
        grep -q "goes on with" said || exit 1
        sha256sum --check --quiet "$noted/before" && cp "$noted/before" "$noted/after"
        find data/raw -name '*.png' | wc -l > "$noted/all"
    """
    assert_told_and_untouched(script, folder)
    assert (folder / "noted/all").read_text().strip() == "42"


@pytest.mark.parametrize("what", ["data/raw", "data/raw/cat", "dangling", "data/raw/manifest.parquet"])
def test_what_stands_where_a_folder_should_be_is_named(tmp_path: Path, capsys: Any, what: str) -> None:
    for name, colour in (("cat", "red"), ("dog", "blue")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        (tmp_path / "pictures" / name / "1.png").write_bytes(picture(colour, form="PNG"))
    obstacle = tmp_path / ("data/raw" if what == "dangling" else what)
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    if what == "dangling":
        obstacle.symlink_to("nowhere")
    elif what.endswith("parquet"):
        obstacle.mkdir()
    else:
        obstacle.write_text("mine")
    assert scrape(project(tmp_path, "  - {kind: folder, path: pictures}")) == 2
    message, hint = capsys.readouterr().err.splitlines()[-2:]
    assert message.startswith("error: ")
    assert str(obstacle) in message
    assert hint.startswith("hint: ")
    assert obstacle.is_symlink() or obstacle.exists()
    assert message.endswith("is no folder") or what.endswith("parquet")


@pytest.mark.parametrize("most", [12, 18, 24, 30])
def test_too_few_open_files_are_an_error_that_says_what_to_do(site: Any, tmp_path: Path, most: int) -> None:
    ended = threading.Event()
    gallery(site, cat={f"{n}.jpg": lambda handler: ended.wait(60) and picture() for n in range(30)}, dog={})
    folder = project(tmp_path, from_site(site), settings=PATIENT + "  concurrency: 30\n  per_host: 30\n")
    script = 'ulimit -n "$1"; exec "$0" -m imageloom.cli scrape -C "$2"'
    command = ["sh", "-c", script, sys.executable, str(most), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    ended.set()
    message, hint = done.stderr.splitlines()
    assert message.startswith("error: ")
    assert "open files" in message
    assert "`ulimit -n 1024`" in hint
    assert "scrape.concurrency" in hint
    assert done.returncode == 2


def test_the_listing_waits_for_the_fetching(site: Any, tmp_path: Path) -> None:
    """So that a crawl of ten million addresses holds as few of them in flight as one of a hundred."""
    site.routes = {f"/{n}": lambda handler: time.sleep(0.01) or b"no picture" for n in range(120)}
    ahead = []

    class Endless(Source):
        kind: Literal["endless"] = "endless"

        async def candidates(self, context: Context, get: GetPage) -> AsyncIterator[Candidate]:
            for number in range(120):
                ahead.append(number - crawl.counts.total())
                yield Candidate(f"{site.address}/{number}", "cat", self.kind)

    class Silent:
        def update(self, done: int, total: int | None = None, note: str = "") -> None:
            pass

    with Ledger(None, tmp_path / "manifest.parquet") as ledger:
        crawl = Crawl(ledger, Store(tmp_path), Forgotten())
        context = Context(tmp_path, (), "here")
        asyncio.run(crawl.run([(Endless(), context)], Limits(concurrency=4, allow_hosts=("127.0.0.1",)), Silent()))
    assert crawl.counts.total() == 120
    assert max(ahead) <= 4 + 2 * 4 + 1 + (cores() + 1) * BATCH


def test_the_demo_is_crawled_by_its_own_kind(tmp_path: Path) -> None:
    port = free_port()
    entry = f"  - {{kind: demo, limit: 3, port: {port}}}"
    folder = project(tmp_path, entry, "[{name: functional}, {name: defective}]")
    assert scrape(folder) == 0
    rows = manifest(folder)
    assert Counter((row["class"], row["source"]) for row in rows) == {
        ("functional", "demo"): 3,
        ("defective", "demo"): 3,
    }
    assert {row["licence"] for row in rows} == {"CC BY-NC-SA 4.0"}
    assert all("Deitsch" in row["author"] and row["title"].startswith("Cell ") for row in rows)
    assert rows[0]["url"].startswith(f"http://127.0.0.1:{port}/defective/")


def test_the_demo_at_another_port_is_the_same_gallery(tmp_path: Path) -> None:
    classes = "[{name: functional}, {name: defective}]"
    port, other_port = free_port(), free_port()
    folder = project(tmp_path, f"  - {{kind: demo, limit: 3, port: {port}}}", classes)
    assert scrape(folder) == 0
    first = manifest(folder)
    project(folder, f"  - {{kind: demo, limit: 2, port: {other_port}}}", classes)
    assert scrape(folder) == 0
    rows = manifest(folder)
    assert [row["sha256"] for row in rows] == [row["sha256"] for row in first]
    assert {row["url"].split("/")[2] for row in rows} == {f"127.0.0.1:{other_port}"}
    assert Counter(row["http_status"] for row in rows if row["status"] == "unchanged") == {304: 4}


def test_addresses_that_two_ports_gave_become_one(tmp_path: Path) -> None:
    with Ledger(None, tmp_path / "manifest.parquet") as ledger:
        row: dict[str, Any] = dict.fromkeys(tables.MANIFEST.names)
        for port, source in ((1, "demo"), (2, "demo"), (3, "demo"), (1, "gallery")):
            url = f"http://127.0.0.1:{port}/cat/{source}.png?a=b"
            ledger.record(row | {"url": url, "class": "cat", "source": source, "page": url, "title": str(port)})
        ledger.move("demo", "127.0.0.1:3")
        assert list(ledger.select("SELECT url, page, title FROM rows ORDER BY url")) == [
            ("http://127.0.0.1:1/cat/gallery.png?a=b", "http://127.0.0.1:1/cat/gallery.png?a=b", "1"),
            ("http://127.0.0.1:3/cat/demo.png?a=b", "http://127.0.0.1:3/cat/demo.png?a=b", "3"),
        ]


def test_pictures_of_a_source_that_was_taken_out_are_kept_and_not_used(site: Any, tmp_path: Path, capsys: Any) -> None:
    gallery(site, cat={"a.jpg": picture("red")}, dog={"b.jpg": picture("blue")})
    folder = project(tmp_path / "p", from_site(site))
    assert scrape(folder) == 0
    for name in ("cat", "dog"):
        (folder / "data/pictures" / name).mkdir(parents=True)
        (folder / "data/pictures" / name / "own.png").write_bytes(
            picture({"cat": "lime", "dog": "navy"}[name], form="PNG")
        )
    project(folder, "  - kind: folder")
    assert scrape(folder) == 0
    kept = "kept and not used: 2 pictures of sources or classes that params.yaml no longer has"
    assert kept in capsys.readouterr().out
    assert {row["source"]: row["used"] for row in manifest(folder)} == {"gallery": False, "folder": True}
    assert len(stored(folder)) == 4
    project(folder, "  - kind: folder")
    assert scrape(folder) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()[1:4]]
    assert table == [["class", "unchanged", "pictures"], ["cat", "1", "1"], ["dog", "1", "1"]]
    project(folder, from_site(site))
    assert scrape(folder) == 0
    assert {row["source"]: row["used"] for row in manifest(folder)} == {"gallery": True, "folder": False}


def test_pictures_can_be_stored_smaller_and_are_still_known_the_next_time(site: Any, tmp_path: Path) -> None:
    lying = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 60), "red").save(lying, "JPEG", exif=exif)
    gallery(
        site,
        cat={"lying.jpg": lying.getvalue(), "small.jpg": picture(size=20), "half.jpg": picture(size=400)[:3000]},
        dog={"clear.png": picture("blue", 300, "PNG")},
    )
    folder = project(tmp_path, from_site(site), settings=SETTINGS + "  resize: 32\n")
    assert scrape(folder) == 0
    rows = {row["url"].rsplit("/", 1)[-1]: row for row in manifest(folder)}
    sizes = {name: (row["status"], row["width"], row["height"], row["format"]) for name, row in rows.items()}
    assert sizes == {
        "lying.jpg": ("ok", 32, 48, "JPEG"),
        "small.jpg": ("ok", 20, 20, "JPEG"),
        "half.jpg": ("corrupt", None, None, None),
        "clear.png": ("ok", 32, 32, "JPEG"),
    }
    for row in rows.values():
        if row["path"]:
            stored_bytes = (folder / "data/raw" / row["path"]).read_bytes()
            assert hashlib.sha256(stored_bytes).hexdigest() == row["sha256"]
    assert scrape(folder) == 0
    assert Counter(row["status"] for row in manifest(folder)) == {"unchanged": 3, "corrupt": 1}


def test_the_table_counts_pictures_and_not_the_addresses_that_gave_them(site, tmp_path, capsys):
    gallery(
        site, cat={"1.jpg": picture("red"), "2.jpg": picture("red"), "3.jpg": picture("pink")}, dog={"4.jpg": picture()}
    )
    assert scrape(project(tmp_path / "p", from_site(site))) == 0
    [row] = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["cat"]]
    assert row == ["cat", "3", "2"]
