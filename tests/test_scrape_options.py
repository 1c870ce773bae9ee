"""`imageloom scrape --retry`, `--report`, `--dry-run` and `--max`."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_scrape import from_site, gallery, manifest, picture, project, scrape, statuses, stored

from imageloom import cli
from imageloom.fetch.report import starved


def asked(folder: Path, *words: str) -> int:
    return cli.main(["scrape", "-C", str(folder), *words])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_retry_asks_only_what_has_the_status_and_lists_no_source(site: Any, tmp_path: Path) -> None:
    gallery(
        site,
        cat={"ok.jpg": picture(), "down.jpg": (503, {}, b""), "none.jpg": (404, {}, b"")},
        dog={"ok.jpg": picture("blue"), "late.jpg": (503, {}, b""), "page.jpg": b"<html>"},
    )
    folder = project(tmp_path, from_site(site))
    assert scrape(folder) == 0
    first = {row["url"]: row for row in manifest(folder)}
    site.routes |= {"/cat/down.jpg": picture("pink"), "/cat/none.jpg": picture("lime")}
    site.asked.clear()
    assert asked(folder, "--retry", "http_error") == 0
    assert sorted(set(site.asked)) == ["/cat/down.jpg", "/dog/late.jpg"]
    assert statuses(folder) | {"ok.jpg": "ok"} == {
        "ok.jpg": "ok", "down.jpg": "ok", "none.jpg": "gone", "late.jpg": "http_error", "page.jpg": "not_image"
    }  # fmt: skip
    for row in manifest(folder):  # pages, titles and first dates are as they were
        assert all(row[column] == first[row["url"]][column] for column in ("page", "title", "source", "first_seen"))
    site.asked.clear()
    assert asked(folder, "--retry", "failed") == 0
    assert set(site.asked) == {"/cat/none.jpg", "/dog/late.jpg", "/dog/page.jpg"}
    assert Counter(row["status"] for row in manifest(folder)) == {"ok": 4, "http_error": 1, "not_image": 1}
    assert not (folder / "data/.crawl.db").exists()


def test_retry_of_nothing_is_no_error_and_before_the_first_crawl_it_says_what_to_do(
    site: Any, tmp_path: Path, capsys: Any
) -> None:
    gallery(site, cat={"ok.jpg": picture()}, dog={"ok.jpg": picture("blue")})
    folder = project(tmp_path, from_site(site))
    assert asked(folder, "--retry", "failed") == 2
    assert "hint: run `imageloom scrape` first" in capsys.readouterr().err
    assert not (folder / "data/.crawl.db").exists()
    assert scrape(folder) == 0
    assert asked(folder, "--retry", "failed") == 0
    assert "there is nothing to retry" in capsys.readouterr().out
    assert not (folder / "data/.crawl.db").exists()


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("timeout", "1e400", "a finite number"),
        ("delay", ".inf", "a finite number"),
        ("backoff", "1e12", "less than"),
        ("resize", "99999999999", "less than"),
    ],
)
def test_what_nobody_means_is_refused(tmp_path: Path, capsys: Any, name: str, value: str, why: str) -> None:
    folder = project(tmp_path, "  - kind: folder")
    path = folder / "params.yaml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"  {name}:")]
    at = lines.index("scrape:") + 1
    path.write_text("\n".join([*lines[:at], f"  {name}: {value}", *lines[at:]]) + "\n")
    assert scrape(folder) == 2
    error = capsys.readouterr().err
    assert f"scrape.{name}: input should be {why}" in error


def test_a_crawl_says_what_dvc_must_be_told_unless_dvc_runs_it(
    site: Any, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    gallery(site, cat={"1.jpg": picture(), "down.jpg": (503, {}, b"")}, dog={"2.jpg": picture("blue")})
    folder = project(tmp_path, from_site(site))
    for words in ((), ("--retry", "failed")):
        assert asked(folder, *words) == 0
        assert capsys.readouterr().out.endswith("next: `dvc commit --force scrape`, then `dvc repro`\n")
    monkeypatch.setenv("DVC_STAGE", "scrape")
    assert scrape(folder) == 0
    assert "dvc commit" not in capsys.readouterr().out


def test_retry_reads_files_again(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/3.jpg"):
        (tmp_path / "data/pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/pictures" / name).write_bytes(picture(size=len(name) + int(name[4])))
    (tmp_path / "data/pictures/cat/2.jpg").write_bytes(b"half")
    folder = project(tmp_path, "  - kind: folder")
    assert scrape(folder) == 0
    assert statuses(folder)["2.jpg"] == "not_image"
    (tmp_path / "data/pictures/cat/2.jpg").write_bytes(picture("blue"))
    assert asked(folder, "--retry", "not_image,corrupt") == 0
    assert statuses(folder) == {"1.jpg": "ok", "2.jpg": "ok", "3.jpg": "ok"}


def test_retry_reads_no_file_that_a_list_names(site: Any, tmp_path: Path) -> None:
    """Lists and pages come from outside: an address `file:` in one is blocked, on another try as on the first."""
    site.routes = {"/1": picture(), "/2": picture("blue")}
    (tmp_path / "p/data/urls").mkdir(parents=True)
    (tmp_path / "private.jpg").write_bytes(picture("pink"))
    (tmp_path / "p/data/private.jpg").write_bytes(picture("lime"))
    inside = f"file:{tmp_path}/private.jpg\nfile:data/private.jpg\nfile://{tmp_path}/private.jpg\n"
    (tmp_path / "p/data/urls/urls_cat.txt").write_text(f"{site.address}/1\n{inside}")
    (tmp_path / "p/data/urls/urls_dog.txt").write_text(f"{site.address}/2\n")
    folder = project(tmp_path / "p", "  - kind: urls")
    for again in ((), ("--retry", "failed"), ("--retry", "blocked_address")):
        assert asked(folder, *again) == 0
        assert Counter(row["status"] for row in manifest(folder)) == {"ok": 2, "blocked_address": 3}
        assert len(stored(folder)) == 2


def test_retry_of_an_unknown_status_names_the_nearest(site: Any, tmp_path: Path, capsys: Any) -> None:
    gallery(site, cat={"1.jpg": picture()}, dog={"2.jpg": picture("blue")})
    folder = project(tmp_path, from_site(site))
    assert asked(folder, "--retry", "timeuot") == 2
    assert "hint: did you mean 'timeout'?" in capsys.readouterr().err


def test_max_asks_so_many_and_the_next_crawls_go_on(site: Any, tmp_path: Path, capsys: Any) -> None:
    pictures = {f"{n}.png": picture(f"#0000{n:02x}", form="PNG") for n in range(9)}
    gallery(site, cat=pictures, dog={"a.jpg": picture(), "b.jpg": picture("blue")})
    folder = project(tmp_path, from_site(site))
    for done in (4, 8):
        assert asked(folder, "--max", "4") == 0
        assert "--max 4 is reached" in capsys.readouterr().out
        assert len(manifest(folder)) == len(stored(folder)) == done
    assert asked(folder, "--retry", "failed") == 2
    assert "hint: `imageloom scrape` goes on with it" in capsys.readouterr().err
    assert asked(folder, "--max", "4") == 0
    assert "is reached" not in capsys.readouterr().out
    rows = manifest(folder)
    assert Counter(row["status"] for row in rows) == {"ok": 11}
    assert len({row["first_seen"] for row in rows}) == 1
    assert len([path for path in site.asked if path.count("/") > 1]) == 11
    assert not (folder / "data/.crawl.db").exists()


def test_the_report_of_a_crawl_that_did_not_end_says_so_and_gives_no_advice(
    site: Any, tmp_path: Path, capsys: Any
) -> None:
    gallery(site, cat={f"{n}.png": picture(f"#0000{n:02x}", form="PNG") for n in range(9)}, dog={"a.jpg": picture()})
    folder = project(tmp_path, from_site(site))
    assert asked(folder, "--max", "4") == 0
    capsys.readouterr()
    before = files(folder)
    assert asked(folder, "--report") == 0
    said = capsys.readouterr().out
    assert said.endswith("the last crawl did not end: after 4 addresses, `imageloom scrape` goes on with the rest\n")
    assert "starved" not in said
    assert files(folder) == before
    assert scrape(folder) == 0
    capsys.readouterr()
    assert asked(folder, "--report") == 0
    assert "starved: dog" in capsys.readouterr().out


def test_the_report_where_nothing_came_does_not_say_that_all_is_well(site: Any, tmp_path: Path, capsys: Any) -> None:
    folder = project(tmp_path, "  - {kind: urls}")
    (tmp_path / "data/urls").mkdir(parents=True)
    addresses = {"cat": [f"{site.address}/1.jpg", "ftp://example.org/1.jpg"], "dog": ["javascript:alert(1)"]}
    for name, urls in addresses.items():
        (tmp_path / f"data/urls/urls_{name}.csv").write_text("".join(f"{url}\n" for url in ["url", *urls]))
    assert scrape(folder) == 2
    capsys.readouterr()
    assert asked(folder, "--report") == 0
    said = capsys.readouterr().out
    assert said.endswith("no class has a picture\n")
    for line in (
        "cat    (ftp address)",
        "dog    (javascript address)",
        f"cat    {site.address.removeprefix('http://')} ",
    ):
        assert line in said, said


@pytest.mark.parametrize(
    "words", [("--report", "--refresh"), ("--report", "--max", "3"), ("--retry", "failed", "--refresh")]
)
def test_options_that_would_be_ignored_are_refused(tmp_path: Path, capsys: Any, words: tuple[str, ...]) -> None:
    assert asked(project(tmp_path, "  - kind: folder"), *words) == 2
    message, hint = capsys.readouterr().err.splitlines()
    assert message.startswith(f"error: {words[0]} ")
    assert hint == f"hint: leave {words[1] if words[0] == '--report' else words[2]} out"


def test_a_dry_run_keeps_to_a_line_for_each_address_whatever_the_names_hold(tmp_path: Path, capsys: Any) -> None:
    for name in ("cat/a\nb\tc.jpg", "dog/猫.jpg"):
        (tmp_path / "data/pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/pictures" / name).write_bytes(picture())
    assert asked(project(tmp_path, "  - kind: folder"), "--dry-run") == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.split("\t") == ["cat", "new", "file:data/pictures/cat/a\\nb\\tc.jpg"]
    assert second.endswith("猫.jpg")
    assert last == "scrape: would ask 2 addresses, 2 of them new"
    (tmp_path / "data/pictures/dog/猫.jpg").unlink()
    assert asked(tmp_path, "--dry-run") == 0
    assert capsys.readouterr().out.endswith("would ask 1 address, 1 of them new\n")


def test_max_must_be_one_or_more(tmp_path: Path, capsys: Any) -> None:
    assert asked(project(tmp_path, "  - kind: folder"), "--max", "0") == 2
    assert "--max must be 1 or more" in capsys.readouterr().err


def test_dry_run_lists_what_a_crawl_would_ask_and_leaves_no_trace(site: Any, tmp_path: Path, capsys: Any) -> None:
    gallery(site, cat={"1.jpg": picture(), "2.jpg": (404, {}, b"")}, dog={"3.jpg": picture("blue")})
    folder = project(tmp_path, from_site(site))

    def listed() -> list[list[str]]:
        before = files(folder)
        site.asked.clear()
        assert asked(folder, "--dry-run") == 0
        assert files(folder) == before
        assert set(site.asked) == {"/cat", "/dog"}
        said = capsys.readouterr().out.splitlines()
        assert said[-1].startswith("scrape: would ask ")
        return [line.split("\t")[:2] for line in said[:-1]]

    assert listed() == [["cat", "new"], ["cat", "new"], ["dog", "new"]]
    assert asked(folder, "--max", "2") == 0
    capsys.readouterr()
    assert listed() == [["dog", "new"]]  # what is left of the crawl that did not end
    assert scrape(folder) == 0
    capsys.readouterr()
    assert listed() == [["cat", "ok"], ["cat", "gone"], ["dog", "ok"]]


def test_the_report_shows_classes_hosts_and_statuses_and_who_starves(site: Any, tmp_path: Path, capsys: Any) -> None:
    many = {f"{n}.png": picture(f"#0000{n:02x}", form="PNG") for n in range(20)}
    few = {"a.jpg": picture(), "same.jpg": picture(), "b.jpg": (503, {}, b""), "c.jpg": (404, {}, b"")}
    gallery(site, 猫=many, dog=few)
    for path in ("", "/a.jpg", "/b.jpg", "/c.jpg", "/same.jpg"):
        site.routes[f"/dog{path}"] = site.routes.get(f"/dog{path}")
    chinese = "/%E7%8C%AB"
    site.routes |= {path.replace("/猫", chinese): answer for path, answer in list(site.routes.items())}
    folder = project(tmp_path, from_site(site), "[{name: 猫}, {name: dog}, {name: hen}]")
    site.routes["/hen"] = b"".join(b"<img src=/hen/%d.png>" % n for n in range(20))
    site.routes |= {f"/hen/{n}.png": picture(f"#00{n:02x}00", form="PNG") for n in range(20)}
    assert asked(folder, "--report") == 2
    assert "run `imageloom scrape` first" in capsys.readouterr().err
    assert scrape(folder) == 0
    capsys.readouterr()
    before, site.asked[:] = files(folder), []
    assert asked(folder, "--report") == 0
    assert (files(folder), site.asked) == (before, [])
    lines = capsys.readouterr().out.splitlines()
    host = site.address.removeprefix("http://")
    assert [line.split() for line in lines[:4]] == [
        ["class", "host", "ok", "gone", "http_error"],
        ["dog", host, "2", "1", "1"],
        ["hen", host, "20", "0", "0"],
        ["猫", host, "20", "0", "0"],
    ]
    assert lines[4] == "starved: dog has 1 picture and needs 19 more to match the others"
    assert re.search(
        "1 of its addresses failed in a way that may pass: `imageloom scrape --retry .*http_error", lines[5]
    )
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("pictures", "needs"),
    [
        ({"a": 100, "b": 98, "c": 95}, {}),
        ({"a": 100, "b": 40}, {"b": 60}),
        ({"a": 100, "b": 0, "c": 100, "d": 20}, {"b": 100, "d": 80}),
        ({"a": 1000, "b": 10, "c": 10}, {}),  # one class with many makes no starved ones of the rest
        ({"a": 7}, {}),
        ({}, {}),
    ],
)
def test_a_starved_class_is_measured_by_the_median_of_the_others(
    pictures: dict[str, int], needs: dict[str, int]
) -> None:
    assert starved(pictures) == needs


def test_what_no_text_holds_does_not_end_a_crawl(site: Any, tmp_path: Path) -> None:
    gallery(site, cat={"1.jpg": picture(), "2.jpg": picture("pink")}, dog={"3.jpg": picture("blue")})

    def raw_header(handler: Any) -> None:
        body = picture("red")
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nETag: "\xff\xfe"\r\nContent-Length: %d\r\n\r\n' % len(body) + body)

    site.routes["/cat/1.jpg"] = raw_header
    folder = project(tmp_path, from_site(site))
    assert scrape(folder) == 0
    assert Counter(row["status"] for row in manifest(folder)) == {"ok": 3}
