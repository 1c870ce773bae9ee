"""`imageloom forget`, and that nothing which was forgotten or dropped comes back."""

import csv
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_scrape import from_site, gallery, manifest, picture, project, scrape, stored

from imageloom import cli, tables
from imageloom.features import FeatureStore, key
from imageloom.fetch.forgotten import Forgotten
from imageloom.files import Paths

RED, BLUE, PINK, LIME = (picture(colour) for colour in ("red", "blue", "pink", "lime"))


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def forget(folder: Path, *words: str) -> int:
    return cli.main(["forget", "-C", str(folder), *words])


def rows_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {f"{row['class']}/{row['url'].rsplit('/', 1)[-1]}": row for row in manifest(folder)}


@pytest.fixture
def crawled(site: Any, tmp_path: Path) -> Path:
    """Two classes; the red picture is at two addresses, one in each class."""
    gallery(site, cat={"1.jpg": RED, "2.jpg": PINK, "3.jpg": LIME}, dog={"4.jpg": BLUE, "5.jpg": RED})
    folder = project(tmp_path / "p", from_site(site))
    assert scrape(folder) == 0
    return folder


def embed(folder: Path) -> FeatureStore:
    store = FeatureStore(folder / "data/features")
    store.prepare({"made": "here"})
    shas = sorted({row["sha256"] for row in manifest(folder) if row["sha256"]})
    store.append(((name, np.full(4, 0.5, np.float32)) for name in shas), 4)
    store.write_failed({sha(LIME): "cannot be opened"})
    return store


def test_a_forgotten_picture_leaves_features_that_are_being_made_anew(crawled: Path) -> None:
    store = embed(crawled)
    beside = store.prepare({"made": "otherwise"})
    beside.append([(name, np.zeros(4, np.float32)) for name in store.ids()], 4)
    assert forget(crawled, sha(RED)) == 0
    assert sha(RED) not in store.ids()
    assert sha(RED) not in beside.ids()
    assert len(beside.ids()) == 3


def test_a_forgotten_picture_leaves_no_view_of_it(crawled: Path) -> None:
    store = embed(crawled)
    store.append([(key(name, "mirror"), np.zeros(4, np.float32)) for name in store.ids()], 4)
    assert forget(crawled, sha(RED)) == 0
    assert not [name for name in store.ids() if name.startswith(sha(RED))]
    assert len(store.ids()) == 6


@pytest.mark.parametrize("by", ["url", "sha", "start of sha", "file name"])
def test_a_forgotten_picture_leaves_everything_and_does_not_come_back(
    site: Any, crawled: Path, capsys: Any, by: str
) -> None:
    store = embed(crawled)
    names = {"url": f"{site.address}/cat/1.jpg", "sha": sha(RED), "start of sha": sha(RED)[:12]}
    name = names.get(by) or manifest(crawled)[0]["path"]
    assert forget(crawled, name, "--why", "the owner asked, politely") == 0
    rows = rows_of(crawled)
    for place in ("cat/1.jpg", "dog/5.jpg"):
        assert (rows[place]["status"], rows[place]["error"]) == ("opted_out", "forgotten on request")
        assert [rows[place][column] for column in ("sha256", "path", "bytes", "width", "etag")] == [None] * 5
    assert {row["status"] for key, row in rows.items() if key not in ("cat/1.jpg", "dog/5.jpg")} == {"ok"}
    assert {row["used"] for row in rows.values()} == {True}
    assert not [path for path in stored(crawled) if sha(RED)[:20] in path]
    assert sha(RED) not in store.ids()
    assert len(store.ids()) == 3
    with (crawled / "data/review/forgotten.csv").open(encoding="utf-8", newline="") as file:
        noted = list(csv.DictReader(file))
    assert {row["why"] for row in noted} == {"the owner asked, politely"}
    assert ("sha256", sha(RED)) in {(row["what"], row["value"]) for row in noted}
    assert "forgot 1 picture of 2 addresses: 2 files and 1 feature vector removed" in capsys.readouterr().out

    site.asked.clear()
    assert scrape(crawled) == 0
    assert rows_of(crawled)["cat/1.jpg"]["status"] == rows_of(crawled)["dog/5.jpg"]["status"] == "opted_out"
    assert not [path for path in stored(crawled) if sha(RED)[:20] in path]
    if by == "url":
        assert "/cat/1.jpg" not in site.asked
    site.routes["/cat"] += b"<img src=/cat/again.jpg>"  # the same picture elsewhere
    site.routes["/cat/again.jpg"] = RED
    assert scrape(crawled) == 0
    assert rows_of(crawled)["cat/again.jpg"]["status"] == "opted_out"
    assert not [path for path in stored(crawled) if sha(RED)[:20] in path]
    assert not (crawled / "data/.crawl.db").exists()


def test_a_forgotten_host_is_not_asked_and_pictures_that_others_show_stay(
    site: Any, crawled: Path, tmp_path: Path
) -> None:
    (crawled / "data/pictures/cat").mkdir(parents=True)
    (crawled / "data/pictures/cat/own.jpg").write_bytes(PINK)
    (crawled / "data/pictures/dog").mkdir()
    (crawled / "data/pictures/dog/own.jpg").write_bytes(picture("navy"))
    project(crawled, from_site(site) + "\n  - kind: folder")
    assert scrape(crawled) == 0
    assert forget(crawled, "--host", "127.0.0.1") == 0
    rows = rows_of(crawled)
    assert {key for key, row in rows.items() if row["status"] == "opted_out"} == {
        "cat/1.jpg", "cat/2.jpg", "cat/3.jpg", "dog/4.jpg", "dog/5.jpg"
    }  # fmt: skip
    assert len(stored(crawled)) == 2
    assert rows["cat/own.jpg"]["path"] in stored(crawled)
    site.asked.clear()
    assert scrape(crawled) == 0
    assert set(site.asked) == {"/cat", "/dog"}
    assert len(stored(crawled)) == 2


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("shop.example", True),
        ("img.shop.example", True),
        ("a.b.shop.example:8080", True),
        ("workshop.example", False),
        ("example", False),
        ("shop.example.net", False),
        ("", False),
    ],
)
def test_a_host_stands_for_those_below_it(name: str, covered: bool) -> None:
    assert Forgotten(hosts={"shop.example"}).covers(name) is covered


def test_a_picture_dropped_in_review_is_not_asked_nor_taken_from_elsewhere(site: Any, crawled: Path) -> None:
    decisions = crawled / "data/review/decisions.csv"
    decisions.parent.mkdir()
    header = "sha256,decision,from,to,who,when,queue\n"
    drop = f"{sha(PINK)},drop,cat,,ann,2026-01-01T00:00:00Z,outliers\n"
    decisions.write_text(header + drop)
    site.asked.clear()
    site.routes["/cat/2.jpg"] = picture("navy")  # another rendering of it
    site.routes["/dog"] += b"<img src=/dog/copy.jpg>"
    site.routes["/dog/copy.jpg"] = PINK
    assert scrape(crawled) == 0
    assert "/cat/2.jpg" not in site.asked
    rows = rows_of(crawled)
    assert (rows["cat/2.jpg"]["status"], rows["cat/2.jpg"]["error"]) == ("opted_out", "dropped in review")
    assert rows["cat/2.jpg"]["sha256"] == sha(PINK)  # nothing is destroyed: the decision can be undone
    assert rows["cat/2.jpg"]["path"] in stored(crawled)
    assert (rows["dog/copy.jpg"]["status"], rows["dog/copy.jpg"]["sha256"]) == ("opted_out", None)
    decisions.write_text(header + drop + drop.replace("drop,cat", "undo,drop") + "half a li")
    assert scrape(crawled) == 0
    assert rows_of(crawled)["cat/2.jpg"]["sha256"] == sha(picture("navy"))


def test_forget_says_on_which_side_of_the_split_a_picture_is(crawled: Path, capsys: Any) -> None:
    rows = [
        {"id": sha(body), "class": "cat", "path": "x", "group": sha(body), "side": side}
        for body, side in ((RED, "test"), (PINK, "train"), (BLUE, "validation"))
    ]
    tables.write(Paths(crawled).split, rows, tables.SPLIT)
    for body, words in ((RED, "measured with 1"), (PINK, "trained with 1"), (LIME, "made without them")):
        assert forget(crawled, sha(body)) == 0
        assert f"what is trained on the current split was {words}" in capsys.readouterr().out


def test_what_the_page_for_review_showed_of_a_picture_is_removed_and_nothing_of_others(crawled: Path) -> None:
    kept, gone = (Paths(crawled).thumbnails / "pictures" / sha(body)[:2] / f"{sha(body)}.jpg" for body in (PINK, RED))
    for path in (kept, gone):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"JPEG")
    assert forget(crawled, sha(RED)) == 0
    assert kept.exists()
    assert not gone.exists()


@pytest.mark.slow
def test_forget_says_which_model_versions_saw_a_picture(crawled: Path, empty_mlflow: Path, capsys: Any) -> None:
    import mlflow

    shutil.copy(empty_mlflow, crawled / "mlflow.db")
    tables.write(
        Paths(crawled).split,
        [{"id": sha(RED), "class": "cat", "path": "x", "group": sha(RED), "side": "train"}],
        tables.SPLIT,
    )
    uri = f"sqlite:///{crawled}/mlflow.db"
    client = mlflow.MlflowClient(uri, uri)
    experiment = client.create_experiment("imageloom", (crawled / "mlruns").as_uri())
    client.create_registered_model("imageloom")
    for with_split in (False, True):
        run = client.create_run(experiment)
        if with_split:
            client.log_artifact(run.info.run_id, str(Paths(crawled).split), "data")
        client.create_model_version("imageloom", "nowhere", run.info.run_id)
    assert forget(crawled, sha(RED)) == 0
    said = capsys.readouterr().out
    assert "model version 2: trained with 1" in said
    assert "model version 1: not known" in said


def test_forgetting_during_a_crawl_that_did_not_end_keeps_what_it_has(site: Any, crawled: Path) -> None:
    assert cli.main(["scrape", "-C", str(crawled), "--max", "2"]) == 0
    assert forget(crawled, sha(RED)) == 0
    site.asked.clear()
    assert scrape(crawled) == 0
    assert "/cat/2.jpg" not in site.asked
    assert rows_of(crawled)["cat/1.jpg"]["status"] == "opted_out"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name one thing to forget"),
        (["0123456789abcdef"], "no picture begins with 0123456789abcdef"),
        (["nothing"], "'nothing' is no address and no SHA-256"),
        (["--host", "http://a/b"], "not 'http://a/b'\nhint: did you mean --host a?"),
        (["--host", "https://Shop.example:8000"], "hint: did you mean --host shop.example:8000?"),
        (["--host", "*"], "--host must be a host's name such as shop.example, not '*'"),
        (["--host", "*.*"], "--host must be a host's name"),
        (["--host", "10.0.0.0/8"], "--host must be a host's name"),
        (["--host", " "], "--host must be a host's name"),
        (["http://a/b", "--host", "a"], "name one thing to forget"),
    ],
)
def test_what_is_not_known_is_refused(crawled: Path, capsys: Any, words: list[str], message: str) -> None:
    before = manifest(crawled)
    assert forget(crawled, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "hint: " in error
    assert manifest(crawled) == before
    assert not (crawled / "data/review/forgotten.csv").exists()
    assert not (crawled / "data/.crawl.db").exists()


def test_an_address_that_was_never_crawled_can_be_forgotten_beforehand(site: Any, crawled: Path, capsys: Any) -> None:
    assert forget(crawled, f"{site.address}/cat/new.jpg") == 0
    said = capsys.readouterr().out
    assert "no crawl has seen this address; noted, it will not come: commit data/review/forgotten.csv" in said
    assert "dvc" not in said
    site.routes["/cat"] += b"<img src=/cat/new.jpg>"
    assert scrape(crawled) == 0
    assert "/cat/new.jpg" not in site.asked
    assert rows_of(crawled)["cat/new.jpg"]["status"] == "opted_out"


@pytest.mark.parametrize("what", ["url", "host", "sha"])
def test_what_is_forgotten_before_the_first_crawl_does_not_come(
    site: Any, tmp_path: Path, capsys: Any, what: str
) -> None:
    gallery(site, cat={"1.jpg": RED, "2.jpg": PINK}, dog={"3.jpg": BLUE})
    folder = project(tmp_path / "p", from_site(site))
    words = {"url": [f"{site.address}/cat/1.jpg"], "host": ["--host", "Shop.example."], "sha": [sha(RED)]}
    assert forget(folder, *words[what]) == 0
    said = capsys.readouterr()
    assert not said.err
    if what == "host":
        assert said.out.startswith("nothing known is at this host; noted, it will not come")
        assert ",host,shop.example," in f",{(folder / 'data/review/forgotten.csv').read_text()}".replace("\n", ",")
    assert not (folder / "data/raw").exists()
    assert not (folder / "data/.crawl.db").exists()
    assert scrape(folder) == 0
    rows = rows_of(folder)
    assert rows["cat/1.jpg"]["status"] == ("ok" if what == "host" else "opted_out")
    assert rows["cat/2.jpg"]["status"] == "ok"


def test_forgetting_is_told_in_numbers_that_fit(crawled: Path, site: Any, capsys: Any) -> None:
    embed(crawled)
    assert forget(crawled, f"{site.address}/cat/2.jpg") == 0
    assert "forgot 1 picture of 1 address: 1 file and 1 feature vector removed" in capsys.readouterr().out


def test_outside_a_project_nothing_is_forgotten(tmp_path: Path, capsys: Any) -> None:
    assert forget(tmp_path, "--host", "shop.example") == 2
    assert "no params.yaml in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    file = project(tmp_path, "") / "params.yaml"
    for command in (["forget", "--host", "a"], ["scrape"], ["summary"]):
        assert cli.main([*command, "-C", str(file)]) == 2
        error = capsys.readouterr().err
        assert (
            error == f"error: {file} is a file, and -C names a folder\nhint: name the folder that params.yaml is in\n"
        )


@pytest.mark.parametrize("spelt", ["{}/%31.jpg", "{}/1.jpg#top", "{}/1.jpg"])
def test_an_address_is_forgotten_however_it_is_spelt(site: Any, tmp_path: Path, capsys: Any, spelt: str) -> None:
    gallery(site, cat={"1.jpg": RED, "2.jpg": PINK}, dog={"4.jpg": BLUE})
    folder = project(tmp_path / "p", from_site(site))
    assert scrape(folder) == 0
    [url] = [row["url"] for row in manifest(folder) if row["sha256"] == sha(RED)]
    start = url.rpartition("/")[0]
    assert forget(folder, spelt.format(start.replace("http:", "HTTP:"))) == 0
    assert "forgot 1 picture of 1 address" in capsys.readouterr().out
    site.asked.clear()
    scrape(folder)
    assert sha(RED) not in {row["sha256"] for row in manifest(folder)}
    assert "/cat/1.jpg" not in site.asked
    assert "/cat/2.jpg" in site.asked


@pytest.mark.parametrize("name", ["例え.example", "xn--r8jz45g.example"])
def test_a_host_in_another_script_is_known_in_both_spellings(name: str) -> None:
    forgotten = Forgotten()
    forgotten.add("host", name)
    assert forgotten.covers("例え.example")
    assert forgotten.covers("img.xn--r8jz45g.example:8080")
    assert not forgotten.covers("other.example")


def test_a_damaged_list_of_what_was_forgotten_stops_the_crawl(crawled: Path, capsys: Any) -> None:
    path = crawled / "data/review/forgotten.csv"
    path.parent.mkdir()
    path.write_text("what,value,when,why\nurl,http://a/1,2026-01-01,\nulr,http://a/2,2026-01-01,\n")
    assert scrape(crawled) == 2
    assert "forgotten.csv:3: must hold one of url, sha256, host" in capsys.readouterr().err
