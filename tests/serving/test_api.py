"""Pictures come in many ways and get the same answer; what is asked beside it is answered; what is wrong is told."""

import base64
import csv
import io
import json
import struct
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from test_serve_http import COLOURS, RED, ask, assert_problem, encoded, form

from imageloom.predictor import Predictor
from imageloom.serving import zips

B64 = base64.b64encode(RED).decode()
GREEN = encoded(COLOURS["green"])


def get(address: str, path: str) -> dict:
    reply, body = ask(address, path)
    assert reply.status == 200, body
    return json.loads(body)


def post(address: str, path: str, body: bytes, content_type: str = "image/png") -> dict:
    reply, answer = ask(address, path, body, Content_Type=content_type)
    assert reply.status == 200, answer
    return json.loads(answer)


def post_json(address: str, path: str, content: object) -> tuple[HTTPResponse, bytes]:
    return ask(address, path, json.dumps(content).encode(), Content_Type="application/json; charset=utf-8")


@pytest.fixture
def expected(exported_model) -> dict:
    return Predictor(exported_model).predict(RED).to_dict()


@pytest.fixture(scope="module")
def fetching(serving, exported_model):
    """Where pictures on loopback are fetched, which is inside."""
    with serving(exported_model, "--allow-host", "127.0.0.1", "--threads", "2") as (address, _):
        yield address


def test_base64_gives_the_same_answer_in_either_alphabet(address, expected):
    usual = post_json(address, "/predict", {"b64": B64})[1]
    for_urls = post_json(address, "/predict", {"b64": base64.urlsafe_b64encode(RED).decode().rstrip("=")})[1]
    assert json.loads(usual) == json.loads(for_urls) == expected


@pytest.mark.parametrize(
    "content",
    [{}, [], 7, None, {"b64": 7}, {"b64": ""}, {"b64": "%"}, {"b64": "红"}, {"b64": B64, "url": "x"}, {"a": 1}],
)
def test_json_of_another_kind_is_refused(address, content):
    assert_problem(*post_json(address, "/predict", content), 400)


def test_json_that_would_take_much_memory_is_refused(address):
    reply, body = ask(address, "/predict", b"[" + b"[]," * 600_000 + b"[]]", Content_Type="application/json")
    assert "1,000,000 items" in assert_problem(reply, body, 413)


def test_several_files_get_an_answer_each_and_one_bad_does_not_spoil_the_rest(address, expected):
    body, content_type = form(("a", "玫瑰 🌹.png", RED), ("b", "notes.txt", b"hello"), ("c", "c.png", GREEN))
    answers = post(address, "/predict?top_k=1", body, content_type)["answers"]
    assert [one["file"] for one in answers] == ["玫瑰 🌹.png", "notes.txt", "c.png"]
    assert answers[0]["predictions"] == expected["predictions"][:1]
    assert answers[1]["error"]["status"] == 415
    assert answers[2]["label"] == "green"
    assert {answers[0]["model"], answers[2]["model"]} == {expected["model"]}


def test_address_gives_the_same_answer(fetching, site, expected):
    site.routes["/a.png"] = RED
    url = f"{site.address}/a.png"
    assert get(fetching, f"/predict?url={quote(url)}") == expected
    assert json.loads(post_json(fetching, "/predict", {"url": url})[1]) == expected


def test_classify_url_answers_every_class_as_the_servers_of_fast_ai_do(fetching, address, site, expected):
    site.routes["/a.png"] = RED
    answer = get(fetching, f"/classify-url?url={quote(site.address)}/a.png")
    assert answer == {"predictions": [[one["label"], one["probability"]] for one in expected["predictions"]]}
    assert len(answer["predictions"]) == 3
    assert "no public server" in assert_problem(*ask(address, f"/classify-url?url={quote(site.address)}/a.png"), 403)
    assert "url=" in assert_problem(*ask(address, "/classify-url"), 400)


@pytest.mark.parametrize(
    ("route", "status"),
    [((404, {}, b""), 502), ((200, {}, b"hello"), 415), ((302, {"Location": "http://10.0.0.1/"}, b""), 403)],
)
def test_what_another_server_answers_is_told_briefly(fetching, site, route, status):
    site.routes["/x"] = route
    detail = assert_problem(*ask(fetching, f"/predict?url={quote(site.address)}/x"), status)
    assert "10.0.0.1" not in detail


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x.png",
        "http://localhost/x.png",
        "http://2130706433/x.png",
        "http://[::1]/x.png",
        "http://169.254.169.254/latest/meta-data",
        "http://user@example.com/x.png",
    ],
)
def test_address_inside_is_never_asked(address, url):
    for reply, body in (ask(address, f"/predict?url={quote(url)}"), post_json(address, "/heatmap", {"url": url})):
        assert "no public server" in assert_problem(reply, body, 403)


@pytest.mark.parametrize("url", ["", "x", "file:///etc/passwd", "ftp://example.com/x", "http://" + "a" * 3000])
def test_what_is_no_address_is_refused(address, url):
    assert_problem(*ask(address, f"/predict?url={quote(url)}"), 400)


def test_get_without_an_address_is_refused(address):
    assert "url=" in assert_problem(*ask(address, "/predict"), 400)


def test_no_address_is_fetched_for_other_machines_unless_allowed(serving, exported_model, site):
    site.routes["/a.png"] = RED
    path = f"/predict?url={quote(site.address)}/a.png"
    with serving(exported_model, "--host", "0.0.0.0", "--allow-host", "127.0.0.1") as (address, _):
        assert "--fetch" in assert_problem(*ask(address, path), 403)
    assert site.asked == []
    with serving(exported_model, "--host", "0.0.0.0", "--fetch", "--allow-host", "127.0.0.1") as (address, _):
        assert get(address, path)["label"] == "红"


def test_wrong_allowed_host_is_an_error_with_a_hint(exported_model):
    from test_serve_command import serve

    run = serve("--port", 0, "--model", exported_model, "--allow-host", "a b")
    assert run.returncode == 2
    assert run.stderr.startswith("error: --allow-host: ")
    assert "\nhint: " in run.stderr


@pytest.mark.parametrize("word", ["red", "红"])
def test_expected_class_is_agreed_with(address, word):
    told = post(address, f"/predict?expected={quote(word)}", RED)["expected"]
    assert (told["name"], told["label"], told["rank"], told["agrees"]) == ("red", "红", 1, True)
    assert told["probability"] > 0.9


def test_expected_class_is_disagreed_with(address):
    told = post(address, "/predict?expected=green", RED)["expected"]
    assert (told["rank"], told["agrees"]) == (2, False)


def test_a_picture_that_is_not_known_agrees_with_nothing(address):
    answer = post(address, "/predict?expected=red", encoded((250, 110, 90)))
    assert answer["known"] is False
    assert answer["expected"]["agrees"] is None


def test_expected_class_that_is_none_is_refused(address):
    assert "/labels" in assert_problem(*ask(address, "/predict?expected=violet", RED), 400)


def test_heat_map_and_preview_come_as_jpeg(address):
    answer = post(address, "/predict?heatmap=true&preview=1", RED)
    for key in ("heatmap", "preview"):
        picture = Image.open(io.BytesIO(base64.b64decode(answer[key])))
        assert (picture.format, picture.size) == ("JPEG", (32, 32))
    assert answer["heatmap"] != answer["preview"]
    assert "heatmap" not in post(address, "/predict?heatmap=false", RED)
    assert_problem(*ask(address, "/predict?heatmap=perhaps", RED), 400)


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def classify(address: str, name: str, data: bytes) -> tuple[HTTPResponse, bytes]:
    body, content_type = form(("username", None, b"me"), ("upload", name, data))
    return ask(address, "/classify", body, Content_Type=content_type)


def test_classify_answers_as_text_image_classifier_does(address, expected):
    content = json.loads(classify(address, "红.png", RED)[1])
    assert content.keys() == {"红.png"}
    assert content["红.png"]["preds"] == [
        {"tagName": one["label"], "probablity": one["probability"], "probability": one["probability"]}
        for one in expected["predictions"]
    ]


def test_classify_answers_for_every_picture_in_a_zip_file(address):
    data = zipped(
        ("a.png", RED),
        ("deep/玫瑰.png", GREEN),
        ("../../etc/slip.png", RED),
        ("broken.png", RED[:70]),
        ("notes.txt", b"hello"),
        ("__MACOSX/._a.png", b"x"),
        (".hidden.png", b"x"),
        ("folder/", b""),
    )
    content = json.loads(classify(address, "all.zip", data)[1])
    assert content.keys() == {"a.png", "玫瑰.png", "slip.png", "broken.png"}
    assert content["玫瑰.png"]["preds"][0]["tagName"] == "green"
    assert content["broken.png"]["preds"] == []
    assert "cut short" in content["broken.png"]["error"]


def test_names_that_two_folders_share_stay_apart(address):
    content = json.loads(classify(address, "all.zip", zipped(("a/1.png", RED), ("b/1.png", GREEN)))[1])
    assert {name: told["preds"][0]["tagName"] for name, told in content.items()} == {
        "a/1.png": "红",
        "b/1.png": "green",
    }


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (zipped(*((f"{number}.png", b"") for number in range(201))), 413),
        (zipped(("a.png", RED))[:-30], 400),
        (b"PK\3\4" + bytes(100), 400),
        (RED[:70], 422),
        (b"hello", 415),
        (b"", 400),
    ],
)
def test_classify_refuses_what_it_cannot_take(address, data, status):
    assert_problem(*classify(address, "x.zip", data), status)


def test_classify_needs_the_field_upload(address):
    body, content_type = form(("file", "a.png", RED))
    assert "'upload'" in assert_problem(*ask(address, "/classify", body, Content_Type=content_type), 400)
    assert "'upload'" in assert_problem(*ask(address, "/classify", RED), 400)


def test_zip_bomb_costs_no_more_than_is_allowed():
    bomb = zipped(*((f"{number}.png", bytes(40 * 2**20)) for number in range(10)))
    assert len(bomb) < 2**20
    told: list[bytes | zips.ZipError] = []
    with pytest.raises(zips.ZipError, match="268,435,456 bytes"):
        told.extend(content for _, content in zips.members(bomb, 32 * 2**20))
    assert all(isinstance(content, zips.ZipError) for content in told)


TEN = [(f"{number}.png", RED) for number in range(10)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (zipped(*TEN, method=zipfile.ZIP_BZIP2), "deflate"),
        (zipped(*TEN).replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"), "encrypted"),
        (zipped(*TEN, method=zipfile.ZIP_STORED).replace(RED[-12:], bytes(12)), "damaged"),
    ],
)
def test_small_members_that_are_not_taken_count_as_small(data, why):
    """Ten of the largest would be more than all may be."""
    told = [str(content) for _, content in zips.members(data, 32 * 2**20)]
    assert [why in one for one in told] == 10 * [True], told


def as_zip64(data: bytes) -> bytes:
    """A zip file whose list is told of in a ZIP64 record; the plain one says that there is nothing."""
    count, length, start = struct.unpack("<10xHLL2x", data[-22:])
    record = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(data) - 22, 1)
    return data[:-22] + record + locator + b"PK\5\6" + bytes(18)


@pytest.mark.parametrize("comment", [b"", b"a word"])
def test_list_that_zip64_tells_of_is_not_read(comment):
    data = as_zip64(zipped(*((f"{number}.png", b"") for number in range(1000))))
    data = data[:-2] + struct.pack("<H", len(comment)) + comment
    assert len(zipfile.ZipFile(io.BytesIO(data)).infolist()) == 1000
    with pytest.raises(zips.ZipError, match="ZIP64"):
        list(zips.members(data, 2**20))


def test_list_that_is_longer_than_the_number_of_its_members_says_is_not_read():
    data = bytearray(zipped(*((f"{number}.png", b"") for number in range(2000))))
    data[-14:-10] = struct.pack("<2H", 1, 1)
    assert len(zipfile.ZipFile(io.BytesIO(data)).infolist()) == 2000
    with pytest.raises(zips.ZipError, match="lists more than"):
        list(zips.members(bytes(data), 2**20))


@pytest.mark.parametrize(
    ("stated", "most", "why"),
    [(0, 200_000, "damaged"), (10, 200_000, "damaged"), (2**32 - 2, 5_000_000, "larger than the 1,000,000 bytes")],
)
def test_zip_file_that_lies_about_a_size_is_not_believed(stated, most, why):
    data = bytearray(zipped(("a.png", bytes(20_000_000))))
    where = data.rindex(b"PK\1\2")
    data[where + 24 : where + 28] = struct.pack("<L", stated)
    tracemalloc.start()
    ((_, content),) = zips.members(bytes(data), 1_000_000)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (isinstance(content, zips.ZipError), why in str(content), taken < most) == (True, True, True), taken


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_methods_that_take_what_memory_they_like_are_not_taken(method):
    ((_, content),) = zips.members(zipped(("a.png", RED), method=method), 2**20)
    assert "deflate" in str(content)


def test_zip_in_a_zip_is_not_opened():
    assert list(zips.members(zipped(("inner.zip", zipped(("a.png", RED)))), 2**20)) == []


def rows_of(inbox: Path) -> list[dict[str, str]]:
    with (inbox / "inbox.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_correction_goes_to_the_inbox(serving, exported_model, tmp_path, expected):
    with serving(exported_model, cwd=tmp_path) as (address, _):
        for label in ("green", "green", ""):
            reply, body = ask(address, f"/corrections?label={label}", RED)
            assert reply.status == 201, body
            assert json.loads(body)["predicted"] == "red"
        assert_problem(*ask(address, "/corrections?label=violet", RED), 400)
        assert_problem(*ask(address, "/corrections", RED), 400)
        assert_problem(*ask(address, "/corrections?label=green", b"hello"), 415)
        assert_problem(*ask(address, "/corrections?label=green", b""), 400)
    inbox = tmp_path / "data" / "inbox"
    rows = rows_of(inbox)
    assert [(row["reason"], row["predicted"], row["label"]) for row in rows] == [
        ("correction", "red", "green"),
        ("correction", "red", ""),
    ]
    assert {row["model"] for row in rows} == {expected["model"]}
    assert (inbox / rows[0]["file"]).read_bytes() == RED


def test_nothing_is_kept_where_others_can_reach_the_server(serving, exported_model, tmp_path):
    with serving(exported_model, "--host", "0.0.0.0", cwd=tmp_path) as (address, _):
        assert "--inbox" in assert_problem(*ask(address, "/corrections?label=green", RED), 403)
        ask(address, "/predict", encoded((250, 110, 90)))
        assert "are not kept" in ask(address, "/")[1].decode()
    assert list(tmp_path.iterdir()) == []


def test_unsure_pictures_are_kept_where_asked_and_sure_ones_are_not(serving, exported_model, tmp_path):
    unsure = encoded((250, 110, 90))
    with serving(exported_model, "--inbox", "unsure", cwd=tmp_path) as (address, _):
        assert post(address, "/predict", RED)["known"] is True
        assert post(address, "/predict", unsure)["known"] is False
        assert "not sure of" in ask(address, "/")[1].decode()
    (row,) = rows_of(tmp_path / "data" / "inbox")
    assert (row["reason"], row["known"], row["label"]) == ("unsure", "false", "")
    assert (tmp_path / "data" / "inbox" / row["file"]).read_bytes() == unsure


def test_ready_tells_model_and_queue(address, expected):
    content = get(address, "/readyz")
    assert content["status"] == "ready"
    assert content["model"] == expected["model"]
    assert content["queue"]["capacity"] >= 1


PATIENT = "from imageloom.serving import remote\nremote.SECONDS = remote.IDLE_SECONDS = 60.0"


@pytest.mark.parametrize(("threads", "most"), [(2, 1), (5, 2)])
def test_half_of_the_threads_wait_for_other_servers_and_the_rest_answer(serving, exported_model, site, threads, most):
    asked, answered = threading.Semaphore(0), threading.Event()

    def slow(_: object) -> bytes:
        asked.release()
        answered.wait(60)
        return RED

    site.routes |= {"/slow.png": slow, "/a.png": RED}
    path = f"/predict?url={quote(site.address)}"
    options = ("--allow-host", "127.0.0.1", "--threads", str(threads))
    with serving(exported_model, *options, before=PATIENT) as (address, _), ThreadPoolExecutor(most) as pool:
        try:
            waiting = [pool.submit(ask, address, f"{path}/slow.png") for _ in range(most)]
            assert all(asked.acquire(timeout=60) for _ in waiting)
            reply, body = ask(address, f"{path}/a.png")
            assert "are being fetched" in assert_problem(reply, body, 503)
            assert (reply.headers["Retry-After"], site.count("/a.png")) == ("1", 0)
            assert post(address, "/predict", RED)["label"] == "红"
        finally:
            answered.set()
        assert [one.result(60)[0].status for one in waiting] == [200] * most
        assert get(address, f"{path}/a.png")["label"] == "红"


def test_the_only_thread_may_fetch(serving, exported_model, site):
    site.routes["/a.png"] = RED
    with serving(exported_model, "--allow-host", "127.0.0.1", "--threads", "1") as (address, _):
        for _ in range(2):
            assert get(address, f"/predict?url={quote(site.address)}/a.png")["label"] == "红"


@pytest.mark.parametrize("path", ["/predict", "/classify-url", "//predict"])
def test_another_sites_page_cannot_have_a_picture_fetched(fetching, site, path):
    site.routes["/a.png"] = RED
    asked = f"{path}?url={quote(site.address)}/a.png"
    for theirs in ({"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "http://a.example"}):
        for method in ("GET", "HEAD"):
            reply, _ = ask(fetching, asked, method=method, **theirs)
            assert reply.status == 403, (theirs, method)
    assert site.asked == []
    for ours in ({}, {"Sec_Fetch_Site": "none"}, {"Sec_Fetch_Site": "same-origin"}, {"Origin": fetching}):
        assert ask(fetching, asked, **ours)[0].status == 200, ours
    assert ask(fetching, "/labels", Sec_Fetch_Site="cross-site")[0].status == 200  # their browser does not show it them
