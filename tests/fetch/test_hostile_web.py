"""A crawl of a web that misbehaves in every way: each ends with the status it must have, and none stops the crawl."""

import hashlib
from typing import Any

import hostile_ways  # noqa: F401 - fills WAYS
import pytest
from hostile import JPEG, WAYS, HostileWeb

from imageloom import cli, tables

SETTINGS = """
  retries: 1
  backoff: 0.01
  longest_wait: 0.3
  max_bytes: 300000
  min_side: 8
  concurrency: 32
  per_host: 32
"""

PATIENT = "  timeout: 120\n  idle_timeout: 120\n"
IMPATIENT = "  timeout: 3\n  idle_timeout: 1.5\n"


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The rows of all of it, by the ways' names; `codes` are the crawls' ends.

    Those who let a crawl wait are left to a crawl of their own, which does not wait for long: on a busy machine, others
    would seem to be like them.
    """
    folder = tmp_path_factory.mktemp("hostile")
    with HostileWeb(folder) as web:
        urls = {name: web.address(name) for name in WAYS}
        lists = folder / "data/urls"
        lists.mkdir(parents=True)
        (lists / "urls_last.csv").write_text(f"{web.address('plain')}?last\n{web.address('plain')}?poisoned\n")
        hosts = [f"127.0.0.{number}:{web.port}" for number in (1, 3, 4, 5, 6, 7, 8)] + [f"127.0.0.1:{web.tls_port}"]
        text = f"classes: [{{name: odd}}, {{name: last}}]\nscrape:{SETTINGS}  allow_hosts: {hosts}\n"
        codes = []
        for patience, wait in ((PATIENT, False), (IMPATIENT, True)):
            odd = [url for name, url in urls.items() if (WAYS[name][0] == "timeout") == wait]
            (lists / "urls_odd.csv").write_text("url\n" + "".join(f'"{url}"\n' for url in odd), encoding="utf-8")
            settings = f"{text}{patience}  sources:\n  - kind: urls\n"
            (folder / "params.yaml").write_text(settings, encoding="utf-8")
            codes.append(cli.main(["scrape", "-C", str(folder)]))
            (lists / "urls_last.csv").write_text("ftp://nobody/\n")  # which is not asked, however busy the machine is
    rows = tables.read(folder / "data/raw/manifest.parquet", tables.MANIFEST, "scrape").to_pylist()
    by_url = {(row["class"], row["url"]): row for row in rows}
    named = {name: by_url.get(("odd", url)) for name, url in urls.items()}
    return {"rows": named, "all": rows, "codes": codes, "folder": folder}


def test_there_are_enough_ways() -> None:
    assert len(WAYS) >= 40


@pytest.mark.parametrize("name", WAYS)
def test_a_way_to_misbehave_ends_with_its_status(name: str, crawled: dict[str, Any]) -> None:
    row = crawled["rows"][name]
    assert row is not None
    assert row["status"] == WAYS[name][0], row
    assert (row["error"] is None) == (row["status"] == "ok"), row
    assert bool(row["path"]) == (row["status"] == "ok")


def test_none_of_them_stops_the_crawl(crawled: dict[str, Any]) -> None:
    assert crawled["codes"] == [0, 0]
    assert [row["status"] for row in crawled["all"] if row["class"] == "last"] == ["blocked_address", "ok", "ok"]


def test_every_picture_that_was_kept_is_whole(crawled: dict[str, Any]) -> None:
    kept = [row for row in crawled["all"] if row["path"]]
    for row in kept:
        body = (crawled["folder"] / "data/raw" / row["path"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == row["sha256"]
    assert {row["sha256"] for row in kept if row["class"] == "last"} == {hashlib.sha256(JPEG).hexdigest()}
    on_disk = {path for path in (crawled["folder"] / "data/raw").rglob("*.*") if path.name != "manifest.parquet"}
    assert len(on_disk) == len({row["path"] for row in kept})
