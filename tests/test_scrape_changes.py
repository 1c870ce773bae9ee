"""What a crawl says of itself when not all of it went well: nothing is counted that it does not know."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_scrape import from_site, gallery, manifest, picture, project, scrape, statuses

from imageloom import cli, decisions
from imageloom.decisions import Decision
from imageloom.fetch.ledger import Ledger
from imageloom.files import Paths


def diff(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "reports/scrape/diff.json").read_text())


def changes(folder: Path, name: str) -> dict[str, int]:
    """What is not 0 of a class."""
    rows = [row for row in diff(folder)["by_class_and_host"] if row["class"] == name]
    return {key: count for row in rows for key, count in row.items() if isinstance(count, int) and count}


def pages(site: Any, count: int = 3) -> str:
    """Serves cats on pages of two and one dog, and returns a source that goes from page to page."""
    gallery(
        site, cat={f"{n}.png": picture(f"#00{n:02x}00", form="PNG") for n in range(2 * count)}, dog={"d": picture()}
    )
    for page in range(count):
        shown = b"".join(b"<img src=/cat/%d.png>" % n for n in (2 * page, 2 * page + 1))
        site.routes["/cat" + (f"/page{page}" if page else "")] = shown + b"<a class=next href=/cat/page%d>" % (page + 1)
    site.routes[f"/cat/page{count - 1}"] = site.routes[f"/cat/page{count - 1}"].partition(b"<a")[0]
    return from_site(site).replace("item:", "next: a.next, item:")


@pytest.mark.parametrize("dead", ["/cat", "/cat/page1", "/cat/page2"])
def test_what_stands_on_pages_that_cannot_be_read_is_not_counted_as_no_longer_listed(
    site: Any, tmp_path: Path, capsys: Any, dead: str
) -> None:
    folder = project(tmp_path, pages(site))
    assert scrape(folder) == 0
    assert diff(folder)["unread"] == []
    read = {"/cat": 0, "/cat/page1": 2, "/cat/page2": 4}[dead]
    live, site.routes[dead] = site.routes[dead], (503, {}, b"")
    assert scrape(folder) == (2 if dead == "/cat" else 0)
    assert changes(folder, "cat") == ({"unchanged": read} if read else {})
    assert changes(folder, "dog") == {"unchanged": 1}
    assert diff(folder)["total"]["not_listed"] == 0
    assert diff(folder)["unread"] == [{"source": "gallery", "class": "cat", "addresses": 6 - read}]
    assert f"not read whole: gallery, class 'cat': {6 - read} known addresses" in capsys.readouterr().out
    site.routes[dead] = live.replace(b"<img src=/cat/4.png>", b"")  # what a page that can be read has no more
    assert scrape(folder) == 0
    assert diff(folder)["unread"] == []
    assert diff(folder)["total"]["not_listed"] == (dead == "/cat/page2")


def test_an_item_s_page_that_is_down_is_not_one_that_is_gone(site: Any, tmp_path: Path) -> None:
    site.routes |= {"/cat": b"<a href=/i/1>1</a><a href=/i/2>2</a>", "/dog": b"<a href=/i/3>3</a>"}
    for n in (1, 2, 3):
        site.routes |= {f"/i/{n}": b"<img src=/%d.png>" % n, f"/{n}.png": picture(f"#00{n:02x}00", form="PNG")}
    folder = project(tmp_path, from_site(site).replace("item:", "follow: a, item:"))
    assert scrape(folder) == 0
    site.routes["/i/2"] = (503, {}, b"")
    assert scrape(folder) == 0
    assert diff(folder)["unread"] == [{"source": "gallery", "class": "cat", "addresses": 1}]
    site.routes["/i/2"] = (404, {}, b"")
    assert scrape(folder) == 0
    assert (diff(folder)["unread"], changes(folder, "cat")) == ([], {"unchanged": 1, "not_listed": 1})


def test_pages_without_a_number_end_where_there_is_none_and_not_where_one_is_down(
    site: Any, tmp_path: Path, capsys: Any
) -> None:
    source = pages(site).replace("next: a.next", f"page_address: '{site.address}/{{class}}/page{{page}}'")
    folder = project(tmp_path, source.replace("item:", "first_page: 0, item:"))
    assert scrape(folder) == 0
    assert "warning" not in capsys.readouterr().err  # page 3 is not there, nor any of dogs
    site.routes["/cat/page2"] = (503, {}, b"")
    assert scrape(folder) == 0
    assert "/cat/page2 answered HTTP 503 after 2 attempts: the pages from there on" in capsys.readouterr().err
    assert diff(folder)["unread"] == [{"source": "gallery", "class": "cat", "addresses": 2}]


def test_what_is_taken_out_of_a_folder_leaves_although_a_gallery_is_dead(site: Any, tmp_path: Path) -> None:
    gallery(site, cat={"1.jpg": picture()}, dog={"2.jpg": picture("blue")})
    for name in ("cat", "dog"):
        (tmp_path / f"data/pictures/{name}").mkdir(parents=True)
        for n in range(2):
            (tmp_path / f"data/pictures/{name}/{n}.png").write_bytes(picture(f"#{n}0{ord(name[0]):x}00", form="PNG"))
    folder = project(tmp_path, from_site(site) + "\n  - kind: folder")
    assert scrape(folder) == 0
    (tmp_path / "data/pictures/cat/0.png").unlink()
    site.routes["/cat"] = site.routes["/dog"] = (503, {}, b"")
    assert scrape(folder) == 2
    assert statuses(folder) == {"1.jpg": "ok", "2.jpg": "ok", "0.png": "unchanged", "1.png": "unchanged"}
    gone = [row["url"] for row in manifest(folder) if row["status"] == "gone"]
    assert gone == ["file:data/pictures/cat/0.png"]
    assert diff(folder)["total"]["not_listed"] == 0
    assert {row["class"] for row in diff(folder)["unread"]} == {"cat", "dog"}


def damage_csv(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"http://a/\xff\n")


def damage_parquet(path: Path) -> None:
    path.unlink()
    path.with_suffix(".parquet").write_bytes(b"PAR1junkPAR1")


@pytest.mark.parametrize("damage", [damage_csv, damage_parquet])
def test_one_damaged_list_keeps_no_other_from_being_crawled(
    site: Any, tmp_path: Path, capsys: Any, damage: Callable[[Path], None]
) -> None:
    lists = tmp_path / "data/urls"
    lists.mkdir(parents=True)
    site.routes = {f"/{name}{n}": picture(f"#{n}0{ord(name):x}00") for name in "cdh" for n in range(2)}
    for name in ("cat", "dog", "hen"):
        (lists / f"urls_{name}.csv").write_text(f"{site.address}/{name[0]}0\n")
    folder = project(tmp_path, "  - kind: urls", "[{name: cat}, {name: dog}, {name: hen}]")
    assert scrape(folder) == 0
    for name in ("dog", "hen"):
        with (lists / f"urls_{name}.csv").open("a") as file:
            file.write(f"{site.address}/{name[0]}1\n")
    damage(lists / "urls_cat.csv")
    capsys.readouterr()
    assert scrape(folder) == 2
    error = capsys.readouterr().err
    assert re.search(r"error: .*urls_cat\.(csv: not UTF-8|parquet: cannot read it)", error)
    assert "Traceback" not in error
    assert {row["url"][-2:] for row in manifest(folder)} >= {"c0", "d0", "d1", "h0", "h1"}
    assert {row["class"] for row in diff(folder)["unread"]} == {"cat"}
    assert diff(folder)["total"]["not_listed"] == 0
    damage_csv(lists / "urls_hen.csv")
    assert scrape(folder) == 2
    error = capsys.readouterr().err
    assert ("urls_cat" in error, "urls_hen" in error, "urls_dog" in error) == (True, True, False)


def test_no_picture_is_said_of_the_addresses_of_this_crawl(tmp_path: Path, capsys: Any) -> None:
    lists = tmp_path / "data/urls"
    lists.mkdir(parents=True)
    (lists / "urls_cat.txt").write_text("ftp://a/1\nftp://a/2\nftp://a/3\n")
    (lists / "urls_dog.txt").write_text("ftp://a/4\n")
    folder = project(tmp_path, "  - kind: urls")
    assert scrape(folder) == 2
    assert "error: no picture came of 4 addresses: 4 blocked_address" in capsys.readouterr().err
    (lists / "urls_cat.txt").write_text("")
    assert scrape(folder) == 2
    assert "error: no picture came of 1 address: 1 blocked_address" in capsys.readouterr().err


def test_what_somebody_forgot_or_dropped_has_not_failed(site: Any, tmp_path: Path) -> None:
    cats = {f"{n}.png": picture(f"#00{n}000", form="PNG") for n in range(4)}
    gallery(site, cat=cats, dog={"d.jpg": picture("blue"), "shy.jpg": (200, {"X-Robots-Tag": "noai"}, picture("navy"))})
    folder = project(tmp_path, from_site(site))
    assert scrape(folder) == 0
    assert cli.main(["forget", f"{site.address}/cat/0.png", "-C", str(folder)]) == 0
    sha = next(row["sha256"] for row in manifest(folder) if row["url"].endswith("cat/1.png"))
    dropped = Decision(sha, "drop", "cat", "", "me", decisions.now(), "test")
    decisions.append(Paths(folder).decisions, [dropped])
    site.routes |= {"/cat/2.png": cats["1.png"], "/cat/3.png": cats["0.png"]}  # the same pictures elsewhere
    assert scrape(folder) == 0
    assert changes(folder, "cat") == {"forgotten": 4}
    assert changes(folder, "dog") == {"unchanged": 1, "failed": 1}


def test_a_crawl_loads_nothing_that_it_has_no_use_for(tmp_path: Path) -> None:
    """What is loaded before the first picture is asked for is waited for in each crawl, be it of three pictures."""
    for name, colour in (("cat", "red"), ("dog", "blue")):
        (tmp_path / "data/pictures" / name).mkdir(parents=True)
        (tmp_path / "data/pictures" / name / "1.jpg").write_bytes(picture(colour))
    folder = project(tmp_path, "  - kind: folder")

    def loaded(*more: str) -> set[str]:
        code = (
            "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
            "from imageloom import cli; sys.exit(cli.main(sys.argv[1:]))"
        )
        command = [sys.executable, "-c", code, "scrape", "-C", str(folder), *more]
        return set(subprocess.run(command, check=True, capture_output=True, text=True).stderr.split())

    first = loaded()
    assert first >= {"imageloom.sources.folder", "pyarrow"}
    assert not first & {"aiohttp", "pandas", "pyarrow.compute", "imageloom.sources.gallery", "selectolax", "rich"}
    assert "imageloom.sources.gallery" in loaded("--help")


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("http://\x1b[2Ja/\x1b]0;owned\x07\u202e.jpg", id="address"),
        pytest.param("http://\x1bcowned\u202e/1.jpg", id="host"),  # which tables show
    ],
)
def test_what_a_list_holds_does_not_move_the_cursor(address: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "data/urls").mkdir(parents=True)
    for name in ("cat", "dog"):
        (tmp_path / f"data/urls/urls_{name}.txt").write_text(f"{address}\n", "utf-8")
    folder = project(tmp_path, "  - kind: urls")
    assert scrape(folder) == 2
    assert cli.main(["scrape", "--report", "-C", str(folder)]) == 0
    said = "".join(capsys.readouterr())
    assert "owned" in said
    assert not {letter for letter in said if not letter.isprintable()} - {"\n"}


def test_max_tells_of_a_source_that_is_dead(site: Any, tmp_path: Path, capsys: Any) -> None:
    gallery(site, cat={"1.jpg": picture(), "3.jpg": picture("pink")}, dog={"2.jpg": picture("blue")})
    site.routes["/cat"] = (503, {}, b"")
    (tmp_path / "data/urls").mkdir(parents=True)
    for name, number in (("cat", 1), ("dog", 2)):
        (tmp_path / f"data/urls/urls_{name}.txt").write_text(f"{site.address}/{name}/{number}.jpg\n")
    folder = project(tmp_path, from_site(site) + "\n  - kind: urls")
    assert cli.main(["scrape", "--max", "2", "-C", str(folder)]) in (0, 2)
    assert "answered HTTP 503" in capsys.readouterr().err
    assert cli.main(["scrape", "--dry-run", "-C", str(folder)]) == 2
    assert "answered HTTP 503" in capsys.readouterr().err


def report(folder: Path, capsys: Any) -> str:
    capsys.readouterr()
    assert cli.main(["scrape", "--report", "-C", str(folder)]) == 0
    return str(capsys.readouterr().out)


def test_the_report_advises_to_retry_what_is_still_listed(site: Any, tmp_path: Path, capsys: Any) -> None:
    dogs = {f"{n}.png": picture(f"#0000{n:02x}", form="PNG") for n in range(20)}
    down = {f"{n}.jpg": (503, {}, b"") for n in range(5)}
    gallery(site, cat={"a.jpg": picture()} | down, dog=dogs)
    folder = project(tmp_path, from_site(site))
    assert scrape(folder) == 0
    assert "\n  5 of its addresses failed in a way that may pass" in report(folder, capsys)
    site.routes["/cat"] = b"".join(b"<img src=/cat/%s>" % name for name in (b"a.jpg", b"0.jpg", b"1.jpg"))
    time.sleep(1.1)
    assert scrape(folder) == 0
    assert "\n  2 of its addresses failed in a way that may pass" in report(folder, capsys)
    site.routes["/cat/0.jpg"] = (500, {}, b"")
    time.sleep(1.1)
    assert cli.main(["scrape", "--retry", "http_error", "-C", str(folder)]) == 0  # is no list, so it unlists nothing
    assert "\n  2 of its addresses failed in a way that may pass" in report(folder, capsys)
    site.routes["/cat/1.jpg"] = picture("pink")
    assert cli.main(["scrape", "--retry", "http_error", "-C", str(folder)]) == 0
    assert "\n  1 of its addresses failed in a way that may pass" in report(folder, capsys)


def test_what_a_killed_retry_asked_is_listed_by_the_crawl_that_goes_on(site: Any, tmp_path: Path) -> None:
    gallery(site, cat={"a.jpg": picture(), "b.jpg": (503, {}, b"")}, dog={"c.jpg": picture("blue")})
    folder = project(tmp_path, from_site(site))
    assert scrape(folder) == 0
    time.sleep(1.1)
    with Ledger(Paths(folder).ledger, Paths(folder).raw / "manifest.parquet") as ledger:
        row = ledger.find("cat", f"{site.address}/cat/b.jpg")
        assert row is not None
        ledger.record(row)  # of a retry, which keeps the date, and was killed before its end
    site.asked.clear()
    assert scrape(folder) == 0
    assert "/cat/b.jpg" not in site.asked
    assert len({row["last_seen"] for row in manifest(folder)}) == 1


def test_retry_says_what_it_leaves_to_a_crawl(tmp_path: Path, capsys: Any) -> None:
    for name, colour in (("cat", "red"), ("dog", "blue")):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "1.jpg").write_bytes(picture(colour))
    (tmp_path / "in/cat/text.jpg").write_bytes(b"no picture")
    shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path / "in")
    folder = project(tmp_path, "  - {kind: archive, path: all.zip}")
    assert scrape(folder) == 0
    capsys.readouterr()
    assert cli.main(["scrape", "--retry", "not_image", "-C", str(folder)]) == 0
    said = capsys.readouterr()
    assert said.err == "warning: left to the next crawl, being neither on the web nor in a folder: 1 address\n"
