"""A second crawl asks for nothing that its server says is fresh."""

import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from test_scrape import from_site, gallery, manifest, picture, project, scrape, statuses

from imageloom import cli

PAGES = ["/cat", "/dog"]


def asked_by(site: Any, folder: Path, *words: str) -> list[str]:
    """The paths that a crawl asks for, pages aside."""
    site.asked.clear()
    site.headers.clear()
    assert cli.main(["scrape", "-C", str(folder), *words]) == 0
    return sorted(set(site.asked) - set(PAGES))


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["url"].rpartition("/")[2]: row for row in manifest(folder)}


def kept_for(seconds: int, body: bytes, **headers: str) -> Any:
    """A route whose answer is fresh so long, and that knows its picture by an ETag."""

    def answer(handler: Any) -> tuple[int, dict[str, str], bytes]:
        unchanged = handler.headers.get("If-None-Match") == '"1"'
        return (
            304 if unchanged else 200,
            {"ETag": '"1"', "Cache-Control": f"max-age={seconds}"} | headers,
            body * (not unchanged),
        )

    return answer


@pytest.fixture
def crawled(site: Any, tmp_path: Path) -> Path:
    """A project after its first crawl of three pictures: fresh for an hour, for a second, and for no time."""
    cats = {"hour.jpg": kept_for(3600, picture()), "second.jpg": kept_for(1, picture("lime"))}
    gallery(site, cat=cats, dog={"none.jpg": kept_for(0, picture("blue"))})
    folder = project(tmp_path / "project", from_site(site))
    assert asked_by(site, folder) == ["/cat/hour.jpg", "/cat/second.jpg", "/dog/none.jpg"]
    return folder


def test_only_what_is_no_longer_fresh_is_asked(site: Any, crawled: Path) -> None:
    first = rows(crawled)
    assert abs(first["hour.jpg"]["fresh_until"].timestamp() - time.time() - 3600) < 60
    assert first["none.jpg"]["fresh_until"] is None
    time.sleep(1.2)
    assert asked_by(site, crawled) == ["/cat/second.jpg", "/dog/none.jpg"]
    assert set(site.asked) >= set(PAGES)
    second = rows(crawled)
    assert set(statuses(crawled).values()) == {"unchanged"}
    assert [second["hour.jpg"][name] for name in ("attempts", "http_status", "error")] == [0, None, None]
    assert [second["none.jpg"][name] for name in ("attempts", "http_status", "error")] == [1, 304, None]
    same = ("sha256", "path", "etag", "fresh_until", "page", "first_seen")
    assert all(second["hour.jpg"][name] == first["hour.jpg"][name] for name in same)
    # The answer 304 has made it fresh again.
    assert second["second.jpg"]["fresh_until"] > first["second.jpg"]["fresh_until"]


def test_refresh_asks_for_what_is_fresh_too(site: Any, crawled: Path) -> None:
    assert asked_by(site, crawled, "--refresh") == ["/cat/hour.jpg", "/cat/second.jpg", "/dog/none.jpg"]
    assert all(headers["if-none-match"] == '"1"' for headers in site.headers if "image" in headers["accept"])
    assert rows(crawled)["hour.jpg"]["http_status"] == 304


def test_retry_asks_for_what_is_fresh_too(site: Any, crawled: Path) -> None:
    assert asked_by(site, crawled, "--retry", "ok") == ["/cat/hour.jpg", "/cat/second.jpg", "/dog/none.jpg"]


def test_a_fresh_picture_that_is_not_on_the_disk_is_asked_whole(site: Any, crawled: Path) -> None:
    path = crawled / "data/raw" / rows(crawled)["hour.jpg"]["path"]
    path.unlink()
    assert "/cat/hour.jpg" in asked_by(site, crawled)
    assert rows(crawled)["hour.jpg"]["http_status"] == 200
    assert path.is_file()


def test_what_failed_is_not_fresh(site: Any, crawled: Path) -> None:
    site.routes["/cat/hour.jpg"] = (404, {"Cache-Control": "max-age=3600"}, b"")
    asked_by(site, crawled, "--refresh")
    assert (rows(crawled)["hour.jpg"]["status"], rows(crawled)["hour.jpg"]["fresh_until"]) == ("gone", None)
    site.routes["/cat/hour.jpg"] = kept_for(3600, picture())
    assert "/cat/hour.jpg" in asked_by(site, crawled)
    assert rows(crawled)["hour.jpg"]["status"] == "unchanged"


def test_what_is_fresh_counts_neither_for_max_nor_in_a_dry_run(site: Any, crawled: Path, capsys: Any) -> None:
    capsys.readouterr()
    time.sleep(1.2)
    assert asked_by(site, crawled, "--dry-run") == []
    said = capsys.readouterr().out
    assert "would ask 2 addresses, 0 of them new" in said
    assert "hour.jpg" not in said
    assert asked_by(site, crawled, "--max", "2") == ["/cat/second.jpg", "/dog/none.jpg"]
    assert "is reached" not in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "fresh"), [(3600, True), (0, False)])
def test_a_redirect_is_asked_again_unless_it_is_fresh_itself(
    site: Any, tmp_path: Path, seconds: int, fresh: bool
) -> None:
    site.routes["/there.jpg"] = kept_for(7200, picture())
    leads = (301, {"Location": "/there.jpg", "Cache-Control": f"max-age={seconds}"}, b"")
    gallery(site, cat={"moved.jpg": leads}, dog={"1.jpg": kept_for(3600, picture("blue"))})
    folder = project(tmp_path / "project", from_site(site))
    assert scrape(folder) == 0
    until = rows(folder)["moved.jpg"]["fresh_until"]
    assert (until is not None and until.timestamp() < time.time() + 3601) == fresh
    assert asked_by(site, folder) == ([] if fresh else ["/cat/moved.jpg", "/there.jpg"])


def test_a_project_of_an_earlier_version_is_crawled_on(site: Any, crawled: Path) -> None:
    path = crawled / "data/raw/manifest.parquet"
    pq.write_table(pq.read_table(path).drop_columns("fresh_until"), path)
    assert asked_by(site, crawled) == ["/cat/hour.jpg", "/cat/second.jpg", "/dog/none.jpg"]
    assert set(statuses(crawled).values()) == {"unchanged"}
    assert rows(crawled)["hour.jpg"]["fresh_until"] is not None
