"""The review page lets in whom it should, gives away pictures of the project and nothing else, and tells its faults."""

import io
import json
import signal
import subprocess
import sys
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from desks import Desk, reviewing, sha
from PIL import Image
from projects import picture

from imageloom import decisions, tables
from imageloom.review import app, door
from imageloom.web import problems


class Client:
    """A browser without a screen: it keeps the cookie and knows the CSRF token."""

    def __init__(self, address: str) -> None:
        self.host = urlsplit(address).netloc
        self.cookie = self.csrf = ""

    def ask(self, path: str, content: object = None, **headers: str) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection(self.host, timeout=60)
        sent = {"Cookie": self.cookie} if self.cookie else {}
        body = None
        if content is not None:
            body = json.dumps(content).encode()
            sent |= {"Content-Type": "application/json", "X-CSRF-Token": self.csrf, "Origin": f"http://{self.host}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request("GET" if content is None else "POST", path, body, sent)
            reply = connection.getresponse()
            if given := reply.getheader("Set-Cookie"):
                self.cookie = given.partition(";")[0]
            return reply, reply.read()
        finally:
            connection.close()

    def begin(self) -> dict:
        reply, body = self.ask("/session")
        assert reply.status == 200, body
        told = json.loads(body)
        self.csrf = told["csrf"]
        return told

    def first(self, queue: str) -> dict:
        return json.loads(self.ask(f"/queues/{queue}?count=1")[1])["entries"][0]

    def decide(self, queue: str, *wanted: dict, **headers: str) -> tuple[int, dict]:
        reply, body = self.ask("/decisions", {"queue": queue, "who": "ann", "decisions": list(wanted)}, **headers)
        return reply.status, json.loads(body)


@pytest.fixture
def client(address: str) -> Client:
    found = Client(address)
    found.begin()
    return found


def test_everything_has_the_headers_that_keep_a_browser_safe(client):
    for path in ("/", "/static/page.js", "/session", "/queues/losses", "/nothing", "/queues/nothing", "/thumbnails/x"):
        reply, _ = client.ask(path)
        assert "script-src 'self'" in reply.getheader("Content-Security-Policy"), path
        assert "unsafe" not in reply.getheader("Content-Security-Policy")
        assert reply.getheader("X-Content-Type-Options") == "nosniff"
        assert reply.getheader("X-Frame-Options") == "DENY"
        assert reply.getheader("Referrer-Policy") == "no-referrer"


def test_cookie_is_for_this_site_and_no_script(address):
    reply, _ = Client(address).ask("/session")
    parts = [part.strip().lower() for part in reply.getheader("Set-Cookie").split(";")]
    assert {"httponly", "samesite=strict", "path=/"} <= set(parts)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1", ""])
def test_name_that_is_not_this_machines_is_refused(client, host):
    """Against names of other sites that are made to point here (DNS rebinding)."""
    reply, body = client.ask("/queues/losses", Host=host)
    assert reply.status in (400, 403), body
    assert b"entries" not in body


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_names_of_this_machine_are_let_in(client, host):
    reply, _ = client.ask("/session", Host=f"{host}:{client.host.rpartition(':')[2]}")
    assert reply.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X_CSRF_Token": ""},
        {"X_CSRF_Token": "0" * 64},
        {"Cookie": ""},
        {"Cookie": "imageloom_review_80=" + "0" * 32 + "." + "0" * 64},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
    ],
    ids=str,
)
def test_write_that_does_not_come_from_our_own_page_is_refused(client, shared, headers):
    [picture_] = client.first("losses")["members"]
    wanted = {"sha256": picture_["id"], "decision": "drop", "from": picture_["class"]}
    status, told = client.decide("losses", wanted, **headers)
    assert status in (403, 415), told
    assert shared.decided() == []


def test_write_from_our_own_page_is_taken(desk):
    with reviewing(desk.paths.root) as (address, _):
        client = Client(address)
        client.begin()
        [picture_] = client.first("losses")["members"]
        wanted = {"sha256": picture_["id"], "decision": "drop", "from": picture_["class"]}
        status, told = client.decide("losses", wanted, Sec_Fetch_Site="same-origin")
        assert (status, told["written"]) == (200, 1)
        assert desk.decided() == [(picture_["id"], "drop", "warm", "", "losses")]


WRONG = [
    {},
    {"sha256": "f" * 64, "decision": "drop"},
    {"decision": "destroy"},
    {"decision": "relabel"},
    {"decision": "relabel", "to": "hot"},
    {"decision": "relabel", "to": "_unlabelled"},
    {"decision": "relabel", "to": "x" * 201},
    {"decision": "relabel", "to": 7},
    {"decision": "undo", "from": "everything"},
    {"decision": "drop", "from": "\ud800"},
    "drop",
]


@pytest.mark.parametrize("wanted", WRONG, ids=str)
def test_decision_that_cannot_be_is_refused_whole(client, shared, wanted):
    name = client.first("losses")["members"][0]["id"]
    good = {"sha256": name, "decision": "drop", "from": "warm"}
    wanted = {"sha256": name} | wanted if isinstance(wanted, dict) and "sha256" not in wanted else wanted
    status, told = client.decide("losses", good, wanted)
    assert status == 400
    assert told["detail"]
    assert client.decide("no queue", good)[0] == 400
    assert client.decide("losses")[0] == 400
    assert shared.decided() == []


def test_who_decides_is_one_line_and_no_formula(desk):
    with reviewing(desk.paths.root) as (address, _):
        client = Client(address)
        client.begin()
        name = client.first("losses")["members"][0]["id"]
        body = {
            "queue": "losses",
            "who": '=cmd|"/c calc"!A0\nx,drop,,',
            "decisions": [{"sha256": name, "decision": "keep"}],
        }
        assert client.ask("/decisions", body)[0].status == 200
    lines = desk.paths.decisions.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert ",=" not in lines[1].replace('"', "")


def test_pictures_come_as_jpeg_whatever_they_are(tmp_path):
    desk = Desk(tmp_path)
    wide = io.BytesIO()
    Image.new("RGBA", (3000, 20), (200, 30, 30, 128)).save(wide, "PNG")
    moving = io.BytesIO()
    frames = [Image.new("P", (400, 700), colour) for colour in (1, 2, 3)]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    desk.project.add("warm", [wide.getvalue(), moving.getvalue()])
    desk.write()
    with reviewing(desk.paths.root) as (address, _):
        client = Client(address)
        client.begin()
        for data, size in ((wide.getvalue(), (3000, 20)), (moving.getvalue(), (400, 700))):
            for kind, side in (("thumbnails", 256), ("pictures", 1024)):
                reply, body = client.ask(f"/{kind}/{sha(data)}.jpg")
                assert reply.getheader("Content-Type") == "image/jpeg"
                assert "immutable" in reply.getheader("Cache-Control")
                found = Image.open(io.BytesIO(body))
                scale = min(1, side / max(size))
                assert found.format == "JPEG"
                assert found.size == pytest.approx([max(1, round(length * scale)) for length in size], abs=1)
    assert len(list((tmp_path / "data" / ".thumbnails").rglob("*.jpg"))) == 4


def test_thumbnail_is_made_once(desk):
    row = desk.project.rows[0]
    with reviewing(desk.paths.root) as (address, _):
        client = Client(address)
        client.begin()
        _, made = client.ask(f"/thumbnails/{row['sha256']}.jpg")
        (desk.paths.raw / row["path"]).unlink()
        assert client.ask(f"/thumbnails/{row['sha256']}.jpg")[1] == made


@pytest.mark.parametrize(
    "path",
    [
        "/thumbnails/../../params.yaml",
        "/pictures/..%2f..%2fparams.yaml",
        "/pictures/" + "f" * 64 + ".jpg",
        "/static/../board.py",
        "/static/..%2fboard.py",
        "/static/app.py",
        "/thumbnails/" + "F" * 64 + ".jpg",
        "/thumbnails/" + "0" * 63 + ".jpg",
    ],
)
def test_nothing_but_pictures_of_the_manifest_is_given_away(client, path):
    reply, body = client.ask(path)
    assert reply.status == 404, body
    assert reply.getheader("Content-Type") == problems.TYPE


@pytest.mark.parametrize("path", ["../../params.yaml", "/etc/passwd", "warm/../../../params.yaml"])
def test_manifest_that_leads_elsewhere_is_not_followed(tmp_path, path):
    desk = Desk(tmp_path)
    [name, _] = desk.add("warm", "warm", [1, 2])
    desk.project.rows[0]["path"] = path
    desk.write()
    Image.new("RGB", (40, 40)).save(tmp_path / "params.yaml", "PNG")  # would be shown if it were followed
    tables.write(desk.paths.raw / "manifest.parquet", desk.project.rows, tables.MANIFEST)
    (tmp_path / "params.yaml").write_text("classes: []\n", encoding="utf-8")
    with reviewing(tmp_path) as (address, _):
        client = Client(address)
        client.begin()
        reply, _ = client.ask(f"/pictures/{name}.jpg")
        assert reply.status == 404


def test_picture_that_cannot_be_opened_is_told(desk):
    row = desk.project.rows[0]
    (desk.paths.raw / row["path"]).write_bytes(picture("warm", 0)[:200])
    with reviewing(desk.paths.root) as (address, _):
        client = Client(address)
        client.begin()
        reply, body = client.ask(f"/pictures/{row['sha256']}.jpg")
    assert reply.status == 422
    assert "damaged" in json.loads(body)["detail"]


def test_those_who_do_not_know_the_token_see_nothing_and_can_do_nothing(desk):
    token = "a token of some length"
    with reviewing(desk.paths.root, "--token", token) as (address, _):
        assert address.endswith("/?token=a%20token%20of%20some%20length")
        client = Client(address)
        name = desk.project.rows[0]["sha256"]
        for path in (
            "/session",
            "/queues/losses",
            f"/pictures/{name}.jpg",
            f"/thumbnails/{name}.jpg",
            f"/neighbours/{name}",
        ):
            reply, body = client.ask(path)
            assert reply.status == 401, path
            assert not reply.getheader("Set-Cookie")
        wanted = {"sha256": name, "decision": "drop", "from": "warm"}
        assert client.decide("losses", wanted)[0] == 401
        assert client.ask("/session", {"token": "another token of some length"})[0].status == 401
        assert client.ask("/session", {"token": "\ud800"})[0].status == 400
        reply, body = client.ask("/?token=another%20token%20of%20some%20length")
        assert not reply.getheader("Set-Cookie")
        reply, body = client.ask("/session", {"token": token})
        assert reply.status == 200
        client.csrf = json.loads(body)["csrf"]
        assert client.decide("losses", wanted)[0] == 200
    with reviewing(desk.paths.root, "--token", token) as (address, _):  # whom it let in it still does
        client.host = urlsplit(address).netloc
        client.cookie = client.cookie.replace(
            client.cookie.partition("=")[0], f"imageloom_review_{urlsplit(address).port}"
        )
        assert client.ask("/session")[0].status == 200


def review(*options: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "imageloom.cli", "review", "--port", "0", *options]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_other_addresses_need_a_token(desk):
    done = review("--host", "0.0.0.0", cwd=desk.paths.root)
    assert done.returncode == 2
    assert "--token" in done.stderr
    assert done.stderr.count("\n") == 2
    short = review("--host", "0.0.0.0", "--token", "short", cwd=desk.paths.root)
    assert short.returncode == 2
    assert "16" in short.stderr


def test_token_is_made_up_where_none_is_given(desk):
    with reviewing(desk.paths.root, "--host", "0.0.0.0", "--token") as (address, _):
        assert len(address.partition("?token=")[2]) >= 32


def test_project_without_pictures_is_told_what_to_do(tmp_path):
    (tmp_path / "params.yaml").write_text("classes: []\n", encoding="utf-8")
    done = review(cwd=tmp_path)
    assert done.returncode == 2
    assert "dvc repro scrape" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_ends_when_asked_to(desk, number, code):
    with reviewing(desk.paths.root) as (_, server):
        server.send_signal(number)
        assert server.wait(60) == code


def test_headers_allow_no_inline_script_and_no_other_site():
    policy = door.SECURITY["Content-Security-Policy"]
    assert {part.split()[-1] for part in policy.split("; ")} == {"'none'", "'self'"}


@pytest.mark.parametrize("options", [(), ("--export", "list.csv")], ids=str)
def test_folder_that_is_no_project_is_told_as_by_other_commands(tmp_path, options):
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = review("-C", str(folder), *options, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: no params.yaml in {folder}\nhint: "), done.stderr
        assert "-C" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_request_that_comes_again_is_known_whatever_was_decided_in_between(desk):
    with reviewing(desk.paths.root) as (address, _):
        client = Client(address)
        client.begin()
        name = client.first("losses")["members"][0]["id"]
        bodies = [
            {"id": each, "who": who, "queue": "losses", "decisions": [{"sha256": name, "decision": kind}]}
            for each, who, kind in (("1", "ann", "drop"), ("2", "bob", "keep"), ("1", "ann", "drop"))
        ]
        assert [json.loads(client.ask("/decisions", body)[1])["written"] for body in bodies] == [1, 1, 0]
        elsewhere = client.ask("/decisions", bodies[0] | {"id": "3", "project": "another"})
        assert elsewhere[0].status == 409
    assert [one[1] for one in desk.decided()] == ["drop", "keep"]


def test_decision_that_had_to_wait_says_when_it_was_made(desk):
    longest = app.LONGEST_AGO
    agos = [(0, 0), (5.5, 5.5), (3600, 3600), (-500, 0), (1e300, longest), (10**400, longest), (float("inf"), longest)]
    with reviewing(desk.paths.root) as (address, _):
        client = Client(address)
        client.begin()
        entries = json.loads(client.ask(f"/queues/unlabelled?count={len(agos)}")[1])["entries"]
        for entry, (ago, seconds) in zip(entries, agos, strict=True):
            body = {"queue": "unlabelled", "decisions": [{"sha256": entry["key"], "decision": "drop"}]}
            for wrong in ("5", None, True, [], float("nan")):
                assert client.ask("/decisions", body | {"ago": wrong})[0].status == 400
            earliest = decisions.now(seconds)
            assert client.ask("/decisions", body | {"ago": ago})[0].status == 200
            written = decisions.read(desk.paths.decisions)[-1]
            assert written.sha256 == entry["key"]
            assert earliest <= written.when <= decisions.now(seconds), ago
