"""Lists of addresses in every format, with the columns that they have."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from listings import listing

from imageloom.errors import DataError
from imageloom.params import UNLABELLED
from imageloom.sources import registry
from imageloom.sources.source import Candidate, Context

ROWS = [
    {
        "url": "http://a/1.jpg",
        "class": "猫",
        "title": '挖, "x"',
        "author": "Ada",
        "licence": "CC0",
        "page": "http://a/",
    },
    {"url": "http://a/2.jpg", "class": "dog", "title": None, "author": None, "licence": None, "page": None},
    {"url": "http://a/3.jpg", "class": "猫", "title": "3", "author": None, "licence": "CC BY 4.0", "page": None},
]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> None:
    """Writes the rows as the file's name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n", "utf-8")
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        quoted = [['"' + (row[key] or "").replace('"', '""') + '"' for key in row] for row in rows]
        path.write_text("\r\n".join(mark.join(line) for line in [list(rows[0]), *quoted]), "utf-8")


def urls(path: str = ".", **more: Any) -> dict[str, Any]:
    return {"kind": "urls", "path": path} | more


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_one_file_with_a_class_in_each_row_is_read_in_every_format(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"all.{suffix}")
    context = Context(tmp_path, (), "here")
    found = listing(urls(f"all.{suffix}"), context)
    assert found == [
        Candidate("http://a/1.jpg", "猫", "urls", "http://a/", '挖, "x"', "Ada", "CC0"),
        Candidate("http://a/2.jpg", "dog", "urls", f"all.{suffix}"),
        Candidate("http://a/3.jpg", "猫", "urls", f"all.{suffix}", "3", None, "CC BY 4.0"),
    ]
    assert set(registry.read(urls(f"all.{suffix}")).classes(context)) == {"猫", "dog"}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "jsonl", "parquet"])
def test_a_file_for_each_class_is_read_in_every_format(tmp_path: Path, suffix: str) -> None:
    for name in ("猫", "dog"):
        path = tmp_path / f"urls_{name}.{suffix}"
        if suffix == "txt":
            path.write_text(f"# mine\nhttp://a/{name},1.jpg\n\n  http://a/2.jpg  \n", "utf-8")
        else:
            write(path, [{"url": f"http://a/{name},1.jpg"}, {"url": "http://a/2.jpg"}])
    found = listing(urls(), Context(tmp_path, ("猫", "dog"), "here"))
    assert {(candidate.class_name, candidate.url) for candidate in found} == {
        (name, url) for name in ("猫", "dog") for url in (f"http://a/{name},1.jpg", "http://a/2.jpg")
    }


def test_commas_in_a_tsv_part_nothing(tmp_path: Path) -> None:
    (tmp_path / "urls_cat.tsv").write_text("url\ttitle, as it is, in full\nhttp://a/1,2,3.jpg\tx\n")
    assert [each.url for each in listing(urls(), Context(tmp_path, (), "here"))] == ["http://a/1,2,3.jpg"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_columns_of_other_names_are_told_by_what_they_mean(tmp_path: Path, suffix: str) -> None:
    names = {"url": "Link", "class": "品牌", "author": "by", "licence": "rights", "title": "caption"}
    write(tmp_path / f"all.{suffix}", [{names.get(key, key): value for key, value in row.items()} for row in ROWS])
    found = listing(urls(f"all.{suffix}", columns=names), Context(tmp_path, (), "here"))
    first = found[0]
    assert (first.class_name, first.title, first.author, first.licence) == ("猫", '挖, "x"', "Ada", "CC0")
    with pytest.raises(DataError, match=r"no column|no address under 'adress'"):
        listing(urls(f"all.{suffix}", columns={"url": "adress"}), Context(tmp_path, (), "here"))


def test_a_column_that_is_missing_is_named_with_those_there_are(tmp_path: Path) -> None:
    write(tmp_path / "all.csv")
    with pytest.raises(DataError, match=r"all\.csv: no column 'brand' in it; it has 'url', 'class'") as fault:
        listing(urls("all.csv", columns={"class": "brand"}), Context(tmp_path, (), "here"))
    assert "columns: {class: ...}" in fault.value.hint
    (tmp_path / "some.csv").write_text("url\nhttp://a/1.jpg\n")
    with pytest.raises(DataError, match=r"no class for http://a/1\.jpg in a column 'class'"):
        listing(urls("some.csv"), Context(tmp_path, (), "here"))
    with pytest.raises(ValueError, match="columns"):
        listing(urls("all.csv", columns={"brand": "class"}), Context(tmp_path, (), "here"))


@pytest.mark.parametrize(
    ("path", "names", "columns", "message"),
    [
        ("all.txt", ["all.txt"], {"url": "link"}, r"here\.columns: a txt has no columns"),
        (".", ["urls_cat.txt", "urls_dog.txt"], {"title": "name"}, r"here\.columns: a txt has no columns"),
        (
            ".",
            ["urls_cat.csv", "urls_dog.csv"],
            {"class": "kind"},
            r"columns\.class: the lists in \. have",
        ),
        ("all.jsonl", ["all.jsonl"], {"title": "nmae"}, r"all\.jsonl: no row has 'nmae'"),
    ],
)
def test_columns_that_no_list_can_have_are_refused(
    tmp_path: Path, path: str, names: list[str], columns: dict[str, str], message: str
) -> None:
    for name in names:
        write(tmp_path / name, [{"url": "http://a/1.jpg", "class": "cat", "name": "A"}])
    with pytest.raises(DataError, match=message) as fault:
        listing(urls(path, columns=columns), Context(tmp_path, (), "here"))
    assert "columns" in fault.value.hint
    (tmp_path / "urls_cat.txt").unlink(missing_ok=True)
    if path == "." and columns == {"title": "name"}:  # a txt beside a list that has columns is as it ever was
        write(tmp_path / "urls_cat.csv", [{"url": "http://a/1.jpg", "name": "A"}])
        found = listing(urls(path, columns=columns), Context(tmp_path, (), "here"))
        assert found[0].title == "A"


def test_rows_of_other_classes_are_left_out_and_told(tmp_path: Path, capsys: Any) -> None:
    write(tmp_path / "all.csv")
    found = listing(urls("all.csv"), Context(tmp_path, ("dgo", "猫"), "here"))
    assert [candidate.class_name for candidate in found] == ["猫", "猫"]
    assert "left out, of classes that params.yaml does not list: 1 row, such as 'dog' (did you mean 'dgo'?)" in (
        capsys.readouterr().err
    )


def test_each_class_of_one_file_has_its_own_limit(tmp_path: Path) -> None:
    rows = [{"url": f"http://a/{n // 2}.jpg", "class": name} for n in range(20) for name in ("cat", "dog")]
    write(tmp_path / "all.jsonl", rows)
    found = listing(urls("all.jsonl", max_per_class=3), Context(tmp_path, (), "here"))
    assert [(each.class_name, each.url[-5:]) for each in found] == [
        (name, f"{n}.jpg") for n in range(3) for name in ("cat", "dog")
    ]


def test_a_list_of_a_pool_has_no_label(tmp_path: Path) -> None:
    (tmp_path / f"urls_{UNLABELLED}.txt").write_text("http://a/1.jpg")
    (tmp_path / "urls_cat.txt").write_text("http://a/2.jpg")
    found = listing(urls(), Context(tmp_path, ("cat",), "here"))
    assert [candidate.class_name for candidate in found] == [UNLABELLED, "cat"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"url": "http://a/1", "class": "x"}\n{oops\n', r"a\.jsonl:2: not JSON"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1: not JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: neither an object nor an address"),
        ("a.jsonl", b'{"link": "http://a/1"}\n', "no address under 'url'"),
        ("a.parquet", b"junk", r"a\.parquet: cannot read it"),
        ("a.csv", b"url,class\nhttp://a/\xff,x\n", r"a\.csv: not UTF-8"),
        ("a.csv", b'url,class\n"' + b"x" * 200_000 + b'",x\n', "field larger than field limit"),
    ],
)
def test_lists_that_are_not_what_their_names_say_are_errors(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        listing(urls(name), Context(tmp_path, (), "here"))


def test_a_long_list_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    """So that ten million rows need the memory of a thousand."""
    import tracemalloc

    def peak(rows: int) -> int:
        with (tmp_path / "all.csv").open("w") as file:
            file.write("url,class\n")
            file.writelines(f"http://a.example/a/rather/long/address/{n}.jpg,cat\n" for n in range(rows))
        listed = registry.read(urls("all.csv"))._listing(Context(tmp_path, ("cat",), "here"))
        tracemalloc.start()
        assert sum(1 for _ in listed) == rows
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    few, many = peak(3_000), peak(30_000)
    assert many < few + 1_000_000  # all rows would take several; a little is what other threads do meanwhile
