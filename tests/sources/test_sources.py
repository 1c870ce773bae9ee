"""What each kind of source lists, and what it refuses."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from listings import CATS, listing, names, partial_listing

from imageloom.errors import DataError
from imageloom.sources import registry
from imageloom.sources.source import Candidate, Context


def page(*pictures: str, more: str = "") -> bytes:
    images = "".join(f'<div class="item"><img src="{name}" alt="No. {name}"></div>' for name in pictures)
    return f"<!doctype html><meta charset=utf-8>{images}{more}".encode()


def cats(site: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "gallery", "start": {"cat": f"{site.address}/cats"}, "item": ".item img"} | more


def test_a_gallery_is_followed_by_its_next_links(site: Any) -> None:
    site.routes["/cats"] = page("/p/1.jpg", "/p/2.jpg", more="<a rel=next href='/cats?p=2'>on</a>")
    site.routes["/cats?p=2"] = page("p/3.jpg#top", "data:image/gif;base64,R0", "/p/1.jpg")
    found = listing(cats(site, next="a[rel=next]", licence="CC0", author="卡特"), CATS)
    assert [candidate.url for candidate in found] == [f"{site.address}/p/{n}.jpg" for n in (1, 2, 3)]
    assert found[2] == Candidate(
        f"{site.address}/p/3.jpg", "cat", "gallery", f"{site.address}/cats?p=2", "No. p/3.jpg#top", "卡特", "CC0"
    )


def test_a_gallery_is_followed_by_the_number_of_pages_it_names(site: Any) -> None:
    for number in range(1, 6):
        address = "/cats" if number == 1 else f"/cats?page={number}"
        site.routes[address] = page(f"{number}.jpg", more="<b class=count>page 1 of 4</b>")
    found = listing(cats(site, page_count=".count", page_address="?page={page}"), CATS)
    assert names(found) == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]


def test_a_fixed_number_of_pages_and_a_limit_hold(site: Any, capsys: Any) -> None:
    for number in range(0, 9):
        site.routes["/cats" if number == 0 else f"/cats/{number}/"] = page(f"/{number}.jpg")
    entry = cats(site, pages=3, first_page=0, page_address="/cats/{page}/")
    assert names(listing(entry, CATS)) == ["0.jpg", "1.jpg", "2.jpg"]
    assert names(listing(entry | {"max_pages": 2}, CATS)) == ["0.jpg", "1.jpg"]
    assert "max_pages = 2" in capsys.readouterr().err


def test_pages_of_unknown_number_are_read_until_nothing_new_comes(site: Any, capsys: Any) -> None:
    for number in range(1, 9):  # as many sites do, a number too high shows the last page again
        site.routes["/cats" if number == 1 else f"/cats?page={number}"] = page(f"/{min(number, 3)}.jpg")
    assert names(listing(cats(site, page_address="?page={page}"), CATS)) == ["1.jpg", "2.jpg", "3.jpg"]
    assert capsys.readouterr().err == ""


def test_a_gallery_that_loops_is_left_with_a_warning(site: Any, capsys: Any) -> None:
    site.routes["/cats"] = page("/1.jpg", more="<a rel=next href='/cats?p=2'>on</a>")
    site.routes["/cats?p=2"] = page("/2.jpg", more="<a rel=next href='/cats'>on</a>")
    assert names(listing(cats(site, next="a[rel=next]"), CATS)) == ["1.jpg", "2.jpg"]
    assert "class 'cat'" in (warning := capsys.readouterr().err)
    assert "loop" in warning
    assert len(site.asked) == 2


def test_a_gallery_that_loops_under_ever_new_addresses_is_left(site: Any, capsys: Any) -> None:
    for number in range(50):
        more = f"<a rel=next href='/cats?s={number + 1}'>on</a>"
        site.routes["/cats" if not number else f"/cats?s={number}"] = page("/1.jpg", more=more)
    assert names(listing(cats(site, next="a[rel=next]"), CATS)) == ["1.jpg"]
    assert "loop" in capsys.readouterr().err
    assert len(site.asked) == 2


@pytest.mark.parametrize("in_header", [True, False])
def test_a_page_in_another_encoding_is_read(site: Any, in_header: bool) -> None:
    body = "<meta charset=gb2312><div class=item><img src=/1.jpg alt='卡特彼勒镕'></div>".encode("gb18030")
    header = {"Content-Type": "text/html; charset=GBK"}
    site.routes["/cats"] = (200, header, body.replace(b"charset=gb2312", b"")) if in_header else body
    assert listing(cats(site), CATS)[0].title == "卡特彼勒镕"


def test_links_are_resolved_against_the_base_and_quoted(site: Any) -> None:
    site.routes["/cats"] = b"<base href='/x/'><div class=item><img data-src=' \xe7\x8c\xab 1.jpg '></div>"
    found = listing(cats(site, attribute="data-src"), CATS)
    assert [candidate.url for candidate in found] == [f"{site.address}/x/%E7%8C%AB%201.jpg"]


def test_one_address_serves_every_class_by_a_template(site: Any) -> None:
    site.routes["/%E7%8C%AB"], site.routes["/a%20dog"] = page("/c.jpg"), page("/d.jpg")
    context = Context(Path(), ("猫", "a dog"), "scrape.sources.0")
    found = listing({"kind": "gallery", "start": f"{site.address}/{{class}}", "item": "img"}, context)
    assert [(candidate.class_name, candidate.url[-5:]) for candidate in found] == [("猫", "c.jpg"), ("a dog", "d.jpg")]


def test_a_dead_gallery_is_an_error_that_names_it_and_what_it_answered(site: Any) -> None:
    site.routes["/cats"] = (503, {}, b"")
    with pytest.raises(DataError) as fault:
        listing(cats(site), CATS)
    for part in ("scrape.sources.0", "gallery", f"{site.address}/cats", "HTTP 503", "'cat'"):
        assert part in fault.value.message


def test_a_dead_class_does_not_hide_the_others(site: Any) -> None:
    site.routes["/dogs"] = page("/d.jpg")
    entry = cats(site) | {"start": {"cat": f"{site.address}/cats", "dog": f"{site.address}/dogs"}}
    found: list[Candidate] = []
    with pytest.raises(DataError, match="cats answered HTTP 404"):
        partial_listing(entry, Context(Path(), (), "here"), found)
    assert names(found) == ["d.jpg"]


def test_a_selector_that_finds_nothing_is_an_error_that_names_it(site: Any) -> None:
    site.routes["/cats"] = b"<p>hello"
    with pytest.raises(DataError, match=r"no '\.item img' on it") as fault:
        listing(cats(site), CATS)
    assert "scrape.sources.0.item" in fault.value.hint


def test_a_dead_later_page_ends_the_class_with_a_warning(site: Any, capsys: Any) -> None:
    site.routes["/cats"] = page("/1.jpg", more="<a rel=next href='/cats?p=2'>on</a>")
    assert names(listing(cats(site, next="a[rel=next]"), CATS)) == ["1.jpg"]
    assert "HTTP 404" in capsys.readouterr().err


LISTS = {
    "no header": "http://a/1.jpg\nhttp://a/2.jpg\n",
    "a column url": "id,URL,x\n7,http://a/1.jpg,http://b/\n8,http://a/2.jpg,\n",
    "a header of other names": "id;address\r\n7;http://a/1.jpg\r\n8;http://a/2.jpg\r\n",
    "no header, a later column": "cat\thttp://a/1.jpg\ncat\thttp://a/2.jpg\n",
    "two columns url": "url,x,URL\nhttp://a/1.jpg,,no\nhttp://a/2.jpg,,no\n",
    "a byte order mark, blanks and comments": "\ufeffurl\n\n# mine\nhttp://a/1.jpg\n  http://a/2.jpg \n",
}


@pytest.mark.parametrize("shape", LISTS)
def test_a_list_of_addresses_is_read_in_every_shape(tmp_path: Path, shape: str) -> None:
    (tmp_path / "data/urls").mkdir(parents=True)
    (tmp_path / "data/urls/urls_cat.csv").write_text(LISTS[shape], encoding="utf-8")
    found = listing({"kind": "urls"}, Context(tmp_path, ("cat",), "here"))
    assert [candidate.url for candidate in found] == ["http://a/1.jpg", "http://a/2.jpg"]
    assert found[0].page == "data/urls/urls_cat.csv"


def test_a_list_tells_about_its_pictures_and_is_cut_at_its_limit(tmp_path: Path) -> None:
    (tmp_path / "urls_猫.csv").write_text("url,title,author,license\nhttp://a/1,挖,me,CC0\nhttp://a/2,,,\n", "utf-8")
    entry = {"kind": "urls", "path": ".", "max_per_class": 1}
    found = listing(entry, Context(tmp_path, (), "here"))
    assert found == [Candidate("http://a/1", "猫", "urls", "urls_猫.csv", "挖", "me", "CC0")]


def test_lists_that_cannot_be_used_are_errors(tmp_path: Path) -> None:
    both = Context(tmp_path, ("cat", "dog"), "scrape.sources.1")
    entry = {"kind": "urls", "path": "."}
    (tmp_path / "urls_cat.csv").write_text("http://a/1\n")
    with pytest.raises(DataError, match=r"scrape\.sources\.1\.path: \.: no urls_dog\.csv"):
        listing(entry, both)
    (tmp_path / "urls_dgo.csv").write_text("http://a/1\n")
    with pytest.raises(DataError, match="no class 'dgo'") as fault:
        listing(entry, both)
    assert "'dog'" in fault.value.hint
    (tmp_path / "urls_dgo.csv").rename(tmp_path / "urls_dog.csv")
    (tmp_path / "urls_dog.csv").write_text("a,b\nc,d\n")
    with pytest.raises(DataError, match="looks like an address"):
        listing(entry, both)
    (tmp_path / "urls_dog.csv").write_bytes(b"http://a/\xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        listing(entry, both)


def test_a_folder_lists_every_file_of_its_classes_in_any_script(tmp_path: Path, capsys: Any) -> None:
    root = tmp_path / "data/pictures"
    for name in (
        "猫/a b.jpg",
        "猫/deep/er/😀.png",
        "dog/1.jpg",
        "dog/.DS_Store",
        "dog/Thumbs.db",
        ".git/x",
        "README.md",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    found = listing({"kind": "folder"}, Context(tmp_path, ("猫", "dog"), "here"))
    assert [(candidate.class_name, candidate.url) for candidate in found] == [
        ("dog", "file:data/pictures/dog/1.jpg"),
        ("猫", "file:data/pictures/猫/a b.jpg"),
        ("猫", "file:data/pictures/猫/deep/er/😀.png"),
    ]
    assert all(candidate.file and candidate.file.read_bytes() == b"x" for candidate in found)
    assert capsys.readouterr().err == ""


def test_a_folder_elsewhere_is_listed_by_its_whole_path_and_warned_of(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "else/cat").mkdir(parents=True)
    (tmp_path / "else/cat/1.jpg").write_bytes(b"x")
    project = tmp_path / "project"
    project.mkdir()
    entry = {"kind": "folder", "path": str(tmp_path / "else")}
    found = listing(entry, Context(project, (), "here"))
    assert [candidate.url for candidate in found] == [f"file:{tmp_path.as_posix()}/else/cat/1.jpg"]
    assert "does not notice" in capsys.readouterr().err
    (project / "dvc.yaml").write_text("stages: {scrape: {cmd: x, deps: [../else]}}")
    listing(entry, Context(project, (), "here"))
    assert capsys.readouterr().err == ""


def test_a_folder_whose_links_go_in_a_circle_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "data/pictures/cat").mkdir(parents=True)
    (tmp_path / "data/pictures/cat/1.jpg").write_bytes(b"x")
    (tmp_path / "data/pictures/cat/again").symlink_to(tmp_path / "data/pictures/cat")
    assert len(listing({"kind": "folder"}, Context(tmp_path, ("cat",), "here"))) == 1


def test_a_folder_gives_no_pipes_and_nothing_from_behind_links_that_lead_out_of_a_class(
    tmp_path: Path, capsys: Any
) -> None:
    elsewhere, pictures = tmp_path / "elsewhere", tmp_path / "data/pictures"
    for folder in (elsewhere, pictures / "dog", pictures / "cat/set"):
        folder.mkdir(parents=True)
        (folder / "1.jpg").write_bytes(b"x")
    (pictures / "bird").symlink_to(elsewhere)  # a class's own folder may stand elsewhere
    (pictures / "cat/friends").symlink_to(pictures / "dog")
    os.mkfifo(pictures / "cat/pipe.jpg")
    found = listing({"kind": "folder"}, Context(tmp_path, (), "here"))
    assert [candidate.url for candidate in found] == [
        f"file:data/pictures/{name}/1.jpg" for name in ("bird", "cat/set", "dog")
    ]
    told = capsys.readouterr().err
    assert "'data/pictures/cat/pipe.jpg' is passed over: it is no regular file" in told
    assert "'data/pictures/cat/friends' is passed over: it is a link that leads out of 'cat'" in told


def test_folders_that_cannot_be_used_are_errors(tmp_path: Path) -> None:
    context = Context(tmp_path, ("cat", "dog"), "scrape.sources.0")
    with pytest.raises(DataError, match=r"scrape\.sources\.0\.path: data/pictures: cannot read"):
        listing({"kind": "folder"}, context)
    (tmp_path / "data/pictures").mkdir(parents=True)
    with pytest.raises(DataError, match="no folders in it"):
        listing({"kind": "folder"}, context)
    (tmp_path / "data/pictures/dgo").mkdir()
    with pytest.raises(DataError, match="no class 'dgo'") as fault:
        listing({"kind": "folder"}, context)
    assert "did you mean 'dog'?" in fault.value.hint


def test_the_documentation_s_examples_are_accepted() -> None:
    text = (Path(__file__).parents[2] / "docs/sources.md").read_text(encoding="utf-8")
    examples = [yaml.safe_load(found) for found in re.findall(r"`(\{kind: .*?\})`", text)]
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        examples += yaml.safe_load(block)["scrape"]["sources"]
    assert {example["kind"] for example in examples} == set(registry.KINDS)
    for example in examples:
        registry.read(example)
