"""Tokens, limits, origins: who is let in, and what is written down of it."""

import json
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from test_api import zipped
from test_serve_command import serve
from test_serve_http import RED, ask, assert_problem, encoded, form
from test_tensorflow_serving import B64, MODEL, as_json

from imageloom.errors import ImageloomError
from imageloom.serving import inbox as inbox_module
from imageloom.serving import rates as rates_module
from imageloom.serving import tokens
from imageloom.serving.inbox import CORRECTION, FullError, Inbox
from imageloom.serving.rates import Rates
from imageloom.serving.tokens import Tokens

OPEN = ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/static/page.js")


def test_token_lets_in_and_its_absence_does_not(serving, exported_model, tmp_path):
    path = tmp_path / "tokens"
    token = tokens.add(path, "shop")
    log = tmp_path / "access.jsonl"
    with serving(exported_model, "--tokens", str(path), "--access-log", str(log), cwd=tmp_path) as (address, _):
        for wrong in ({}, {"Authorization": "Bearer x"}, {"Authorization": token}, {"Authorization": f"Basic {token}"}):
            reply, body = ask(address, "/predict", RED, **wrong)
            assert_problem(reply, body, 401)
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        for route in ("/labels", "/model", "/metrics", "/v1/models/imageloom"):
            assert ask(address, route)[0].status == 401
        for route in OPEN:
            reply, body = ask(address, route)
            assert (reply.status, "红" in body.decode()) == (200, False)
        assert json.loads(ask(address, "/openapi.json")[1])["security"] == [{"token": []}]
        for scheme in ("Bearer", "bearer"):
            assert ask(address, "/predict", RED, Authorization=f"{scheme} {token}")[0].status == 200
        path.write_text("", encoding="utf-8")
        assert ask(address, "/predict", RED, Authorization=f"Bearer {token}")[0].status == 401, "withdrawn"
    text = log.read_text(encoding="utf-8")
    assert '"token": "shop"' in text
    assert token not in text
    assert token not in path.read_text(encoding="utf-8")


def test_command_adds_a_token_whose_hash_alone_is_kept(tmp_path):
    path = tmp_path / "tokens"
    first, second = (serve("--tokens", path, "--add-token", name).stdout.strip() for name in ("a", "b"))
    assert re.fullmatch(r"il_[\w-]{43}", first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    known = Tokens(path)
    assert (known.owner(f"Bearer {first}"), known.owner(f"Bearer {second}")) == ("a", "b")
    assert known.owner(f"Bearer {first[:-1]}") is None
    again = serve("--tokens", path, "--add-token", "a")
    assert (again.returncode, "has a token 'a'" in again.stderr) == (2, True)
    assert serve("--add-token", "a").returncode == 2


@pytest.mark.parametrize("content", [None, b"no colon", b"name:abc", b"\xff"])
def test_file_of_tokens_that_cannot_be_used_is_an_error(tmp_path, content, exported_model):
    path = tmp_path / "tokens"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageloomError):
        Tokens(path)
    run = serve("--port", 0, "--model", exported_model, "--tokens", path)
    assert (run.returncode, run.stderr.startswith("error: ")) == (2, True)


def test_comments_and_empty_lines_are_no_tokens(tmp_path):
    path = tmp_path / "tokens"
    token = tokens.add(path, "名")
    path.write_text(f"# who may ask\n\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    assert Tokens(path).owner(f"Bearer {token}") == "名"


def test_rate_limits_each_client_and_says_when_to_come_again(serving, exported_model):
    with serving(exported_model, "--rate", "0.2") as (address, _):
        statuses = [ask(address, "/predict", RED)[0].status for _ in range(3)]
        assert statuses == [200, 429, 429]  # the next may come after 5 s
        reply, body = ask(address, "/v1/models/imageloom:predict", b"{}")
        assert reply.status == 429
        assert 1 <= int(reply.headers["Retry-After"]) <= 5
        assert "too many pictures" in json.loads(body)["error"]
        assert ask(address, "/labels")[0].status == 200
        time.sleep(int(reply.headers["Retry-After"]) + 0.1)
        assert ask(address, "/predict", RED)[0].status == 200


FILES = [(str(number), f"{number}.png", RED) for number in range(20)]
ZIP = ("upload", "all.zip", zipped(*((name, data) for _, name, data in FILES)))


@pytest.mark.parametrize(
    ("path", "many"),
    [
        ("/predict", form(*FILES)),
        ("/classify", form(ZIP)),
        (f"{MODEL}:predict", as_json({"instances": 20 * [B64]})),
        (f"{MODEL}:predict", as_json({"inputs": {"images": 20 * [B64]}, "signature_name": "features"})),
        (f"{MODEL}:classify", as_json({"examples": 20 * [{"image": B64}]})),
    ],
    ids=["form", "zip", "rows", "columns", "examples"],
)
def test_pictures_of_one_request_are_counted_each(serving, exported_model, path, many):
    body, content_type = many
    with serving(exported_model, "--rate", "1") as (address, _):
        assert ask(address, path, body, Content_Type=content_type)[0].status == 200
        assert int(ask(address, "/predict", RED)[0].headers["Retry-After"]) >= 6  # 16 if nothing takes any time


def test_clients_do_not_take_each_others_share(monkeypatch):
    monkeypatch.setattr(rates_module, "time", SimpleNamespace(monotonic=lambda: 100.0))
    rates = Rates(1)
    assert [rates.take("192.0.2.1") for _ in range(5)] == [0] * 5
    assert rates.take("192.0.2.1") > 0
    assert rates.take("192.0.2.2") == 0
    rare = Rates(0.5)  # 2.5 may come at once
    assert [rare.take("192.0.2.1") == 0 for _ in range(4)] == [True, True, False, False]
    # One customer's addresses are one client.
    assert [rates.take(f"2001:db8::{number}") for number in range(1, 6)] == [0] * 5
    assert rates.take("2001:db8::ffff") > 0
    assert rates.take("2001:db8:0:1::1") == 0


def test_of_many_clients_those_that_are_gone_are_forgotten_first(monkeypatch):
    monkeypatch.setattr(rates_module, "time", SimpleNamespace(monotonic=lambda: 100.0))
    rates = Rates(1)
    for client in ("gone", "eager"):
        assert [rates.take(client) == 0 for _ in range(6)] == [True] * 5 + [False]
    others = [f"198.51.{high}.{low}" for high in range(100) for low in range(200)]
    assert [client for client in others[:5000] if rates.take(client)] == []
    assert (rates.take("gone") > 0, rates.take("eager") > 0) == (True, True), "thousands are remembered"
    for number, client in enumerate(others[5000:]):
        rates.take(client)
        assert number % 1000 or rates.take("eager") > 0
    assert rates.take("gone") == 0


def test_pages_of_other_origins_may_not_ask(address):
    reply, body = ask(address, "/predict", RED, Origin="https://evil.example")
    assert_problem(reply, body, 403)
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert_problem(*ask(address, "/corrections?label=green", RED, Origin="null"), 403)
    assert ask(address, "/predict", RED, Origin=address)[0].status == 200
    reply, _ = ask(address, "/labels", Origin="https://evil.example")
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_pages_of_listed_origins_may_ask(serving, exported_model):
    shop = "https://shop.example"
    with serving(exported_model, "--cors", shop) as (address, _):
        asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}
        reply, body = ask(address, "/predict", method="OPTIONS", Origin=shop, **asked)
        assert (reply.status, body) == (204, b"")
        assert reply.headers["Access-Control-Allow-Origin"] == shop
        assert "POST" in reply.headers["Access-Control-Allow-Methods"]
        reply, _ = ask(address, "/predict", RED, Origin=shop)
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (200, shop)
        assert reply.headers["Vary"] == "Origin"
        assert_problem(*ask(address, "/predict", RED, Origin="https://evil.example"), 403)
        reply, _ = ask(address, "/predict", b"hello", Origin=shop)
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (415, shop)


def test_pages_of_all_origins_may_ask_where_a_star_lets_them(serving, exported_model):
    asked = {"Access_Control_Request_Method": "POST"}
    with serving(exported_model, "--cors", "*") as (address, _):
        for origin in ("https://shop.example", "http://localhost:1", "null"):
            reply, body = ask(address, "/predict", method="OPTIONS", Origin=origin, **asked)
            assert (reply.status, body, reply.headers["Access-Control-Allow-Origin"]) == (204, b"", "*")
            reply, _ = ask(address, "/predict", RED, Content_Type="image/png", Origin=origin)
            assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (200, "*")
            assert reply.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize(
    "option",
    ["--cors=shop.example", "--cors=https://a.example/x", "--rate=0", "--rate=x", "--name=a/b", "--inbox-size=0"],
)
def test_bad_option_is_refused(exported_model, option):
    assert serve("--port", 0, option, "--model", exported_model).returncode == 2


@pytest.mark.parametrize("path", ["/", "/docs", "/predict", "/nope", "/static/page.js", "/metrics"])
def test_every_answer_has_the_headers_that_protect(address, path):
    headers = ask(address, path)[0].headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_access_log_tells_who_asked_for_what_and_no_secret(serving, exported_model, tmp_path):
    log = tmp_path / "access.jsonl"
    with serving(exported_model, "--access-log", str(log)) as (address, _):
        ask(address, "/predict?url=http%3A%2F%2F127.0.0.1%2F%3Fkey%3Dsecret")
        ask(address, "/predict?top_k=1", RED, User_Agent="me\u00e9", Authorization="Bearer secret")
        ask(address, "/a%22%0a%22b")
        where = urlsplit(address)
        with socket.create_connection((where.hostname, where.port), timeout=20) as half:
            half.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(RED), RED))
            half.shutdown(socket.SHUT_WR)
            assert half.recv(65_536).startswith(b"HTTP/1.1 200 ")
        log.rename(tmp_path / "access.1")  # as what rotates logs does
        ask(address, "/healthz")
    lines = [json.loads(line) for line in (tmp_path / "access.1").read_text(encoding="utf-8").splitlines()]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/predict", 403),
        ("POST", "/predict", 200),
        ("GET", '/a"\n"b', 404),
        ("POST", "/predict", 200),
    ]
    assert lines[1].keys() >= {"time", "client", "received", "sent", "milliseconds", "model", "label", "agent"}
    assert lines[1]["received"] == len(RED)
    assert "secret" not in (tmp_path / "access.1").read_text(encoding="utf-8")
    assert json.loads(log.read_text(encoding="utf-8"))["path"] == "/healthz"


def test_access_log_may_go_to_standard_output(serving, exported_model):
    with serving(exported_model, "--access-log", "-") as (address, server):
        ask(address, "/healthz")
        server.send_signal(signal.SIGTERM)
        lines = server.communicate(timeout=60)[0].splitlines()
    assert json.loads(lines[-1])["path"] == "/healthz"


def test_access_log_that_cannot_be_written_is_an_error(exported_model, tmp_path):
    run = serve("--port", 0, "--model", exported_model, "--access-log", tmp_path)
    assert (run.returncode, "check --access-log" in run.stderr) == (2, True)


def lines_of(log: Path) -> list[dict]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("harm", ["folder is gone", "folder is a file", "file is a folder"])
def test_access_log_that_cannot_be_opened_again_spoils_no_answer(serving, exported_model, tmp_path, harm):
    folder, log = tmp_path / "logs", tmp_path / "logs" / "access.jsonl"
    folder.mkdir()
    with serving(exported_model, "--access-log", str(log)) as (address, server):
        assert ask(address, "/labels")[0].status == 200
        folder.rename(tmp_path / "before")
        if harm == "folder is a file":
            folder.write_bytes(b"")
        elif harm == "file is a folder":
            log.mkdir(parents=True)
        for _ in range(2):
            assert ask(address, "/predict", RED)[0].status == 200
            assert ask(address, "/healthz")[0].status == 200
        if folder.exists():
            folder.rename(tmp_path / "meanwhile")
        folder.mkdir()
        assert ask(address, "/readyz")[0].status == 200
        server.send_signal(signal.SIGTERM)
        errors = server.communicate(timeout=60)[1]
    assert [line["path"] for line in lines_of(tmp_path / "before" / "access.jsonl")] == ["/labels"]
    assert [line["path"] for line in lines_of(log)] == ["/readyz"]
    assert (errors.count("\n"), errors.startswith(f"warning: cannot write {log}: ")) == (1, True), errors


IMPATIENT = "from imageloom.serving import channel; channel.SECONDS_TO_RECEIVE = 0.2"

AGENT = b"Host: localhost\r\nUser-Agent: me\r\n"


@pytest.mark.parametrize(
    ("said", "method", "path", "status"),
    [
        (b"hello\r\n\r\n", "", "", 400),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "", "", 400),
        (b"POST /%e7%ba%a2 HTTP/1.1\r\nUser-Agent: me\r\n\r\n", "POST", "/红", 400),
        (b"POST /predict?a=secret HTTP/1.1\r\n" + AGENT + b"Content-Length: 99999999\r\n\r\n", "POST", "/predict", 413),
        (b"POST /predict HTTP/1.1\r\n" + AGENT + b"Content-Length: 9\r\n\r\nabc", "POST", "/predict", 408),
        (b"POST /predict HTTP/1.1\r\n" + AGENT, "", "", 408),
        (b"POST /predict HTTP/1.1\r\nA: " + 40_000 * b"a", "", "", 431),
        (b"GET /labels HTTP/1.1\r\n" + AGENT + b"\r\n", "GET", "/labels", 503),
    ],
)  # fmt: skip
def test_who_is_refused_has_a_line_in_the_access_log(serving, exported_model, tmp_path, said, method, path, status):
    log = tmp_path / "access.jsonl"
    options = ("--deadline", "1e-9") if status == 503 else ()
    with serving(exported_model, "--access-log", str(log), *options, before=IMPATIENT) as (address, _):
        where = urlsplit(address)
        with socket.create_connection((where.hostname, where.port), timeout=60) as client:
            client.sendall(said)
            assert int(client.recv(65_536).split()[1]) == status
    [line] = lines_of(log)
    assert (line["method"], line["path"], line["status"], line["client"]) == (method, path, status, "127.0.0.1")
    assert (line["agent"], "secret" in str(line)) == ("me" if method else "", False)
    assert line["received"] == (3 if b"abc" in said else 0)
    assert line["sent"] > 50
    assert 0 <= line["milliseconds"] < 60_000


@pytest.mark.parametrize(("proxy", "believed"), [("127.0.0.1", True), ("127.0.0.2", False), (None, False)])
def test_x_forwarded_for_is_believed_from_the_proxy_alone(serving, exported_model, tmp_path, proxy, believed):
    log = tmp_path / "access.jsonl"
    options = ("--trusted-proxy", proxy) if proxy else ()
    with serving(exported_model, "--rate", "0.01", "--access-log", str(log), *options) as (address, _):

        def status(client: str, length: str = str(len(RED))) -> int:
            return ask(address, "/predict", RED, X_Forwarded_For=client, Content_Length=length)[0].status

        statuses = [status(f"203.0.113.7, 192.0.2.{number}") for number in (1, 2, 1)]  # the first is what a client says
        assert statuses == ([200, 200, 429] if believed else [200, 429, 429])
        assert status("2001:db8::1") == (200 if believed else 429)
        assert status("192.0.2.3", "9" * 12) == 413
        assert status('"', "9" * 12) == 413
    told = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "192.0.2.3", "127.0.0.1"]
    assert [line["client"] for line in lines_of(log)] == (told if believed else 6 * ["127.0.0.1"])


def metrics(address: str) -> dict[str, float]:
    reply, body = ask(address, "/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain")
    lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def asked_of_everything(address: str) -> None:
    for body in (RED, RED, encoded((20, 230, 10)), encoded((250, 110, 90)), b"hello"):
        ask(address, "/predict", body)
    ask(address, "/nope/one")
    ask(address, "/nope/two", b"", method="BREW")


def test_metrics_count_what_happened(serving, exported_model):
    with serving(exported_model) as (address, _):
        asked_of_everything(address)
        counts = metrics(address)
    assert counts['imageloom_requests_total{method="POST",route="/predict",status="200"}'] == 4
    assert counts['imageloom_requests_total{method="POST",route="/predict",status="415"}'] == 1
    assert counts['imageloom_requests_total{method="GET",route="other",status="404"}'] == 1
    assert not any("nope" in name or "BREW" in name for name in counts), "what clients invent takes memory"
    assert counts['imageloom_request_seconds_count{route="/predict"}'] == 5
    assert counts['imageloom_predictions_total{known="true",label="red"}'] == 2
    assert counts['imageloom_predictions_total{known="true",label="green"}'] == 1
    assert counts['imageloom_predictions_total{known="false",label="red"}'] == 1
    assert counts['imageloom_rejects_total{kind="not_image"}'] == 1
    assert counts["imageloom_queue_waiting"] == 0
    assert counts["imageloom_queue_capacity"] > 0
    assert [value for name, value in counts.items() if "model_info" in name] == [1]


def test_metrics_of_several_processes_are_added_up(serving, exported_model):
    with serving(exported_model, "--workers", "2") as (address, _):
        for _ in range(4):
            asked_of_everything(address)
        counts = metrics(address)
    assert counts['imageloom_requests_total{method="POST",route="/predict",status="200"}'] == 16
    assert counts['imageloom_rejects_total{kind="not_image"}'] == 4


@pytest.fixture
def prediction(exported_model):
    from imageloom.predictor import Predictor

    return Predictor(exported_model).predict(RED)


def test_inbox_grows_no_further_than_it_may(tmp_path, prediction):
    inbox = Inbox(tmp_path / "inbox", 1000)
    kept = 0

    def put_many() -> None:
        nonlocal kept
        for shade in range(200):
            inbox.put(encoded((shade, 0, 0)), prediction, CORRECTION, "green")
            kept += 1

    with pytest.raises(FullError):
        put_many()
    assert 1 <= kept < 10
    assert sum(path.stat().st_size for path in inbox_files(tmp_path)) <= 1000
    assert len((tmp_path / "inbox" / "inbox.csv").read_text(encoding="utf-8").splitlines()) == 1 + kept


def test_inbox_lists_no_more_than_it_may(tmp_path, prediction, monkeypatch):
    monkeypatch.setattr(inbox_module, "MAX_LINES", 2)
    inbox = Inbox(tmp_path / "inbox", 10**6)
    for shade in range(2):
        inbox.put(encoded((shade, 0, 0)), prediction, CORRECTION, "green")
    inbox.put(encoded((1, 0, 0)), prediction, CORRECTION, "green")  # is there already
    with pytest.raises(FullError):
        inbox.put(encoded((2, 0, 0)), prediction, CORRECTION, "green")


def test_full_inbox_is_told_to_the_sender(serving, exported_model, tmp_path):
    import numpy as np
    from PIL import Image

    path = tmp_path / "noise.bmp"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (700, 600, 3), dtype=np.uint8)).save(path)
    with serving(exported_model, "--inbox-size", "1", cwd=tmp_path) as (address, _):
        assert_problem(*ask(address, "/corrections?label=green", path.read_bytes()), 507)
        assert ask(address, "/corrections?label=green", RED)[0].status == 201


def inbox_files(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "inbox").iterdir())


PUT = """
import sys
from pathlib import Path
from types import SimpleNamespace
from imageloom.predictor import Predictor
from imageloom.serving.inbox import Inbox
sys.path.insert(0, {tests!r})
from test_serve_http import encoded
prediction = Predictor(Path(sys.argv[1])).predict(encoded((240, 20, 10)))
for shade in range(40):
    Inbox(Path(sys.argv[2]), 10**7).put(encoded((shade, int(sys.argv[3]), 0)), prediction, "correction", "green")
"""


def test_several_processes_write_one_inbox(exported_model, tmp_path):
    script = PUT.format(tests=str(Path(__file__).parent))
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(exported_model), str(tmp_path / "inbox"), str(number)])
        for number in range(3)
    ]
    assert [writer.wait(300) for writer in writers] == [0, 0, 0]
    lines = (tmp_path / "inbox" / "inbox.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 120
    assert len({line.split(",")[1] for line in lines}) == 121


def test_who_asks_by_the_name_of_another_machine_is_refused(address):
    """As a page does whose name has been made to lead here: it is of the same origin as what it asks."""
    evil = {"Host": "evil.example", "Origin": "http://evil.example"}
    for path, body in (("/corrections?label=green", RED), ("/predict", RED), ("/", None), ("/metrics", None)):
        assert "--server-name" in assert_problem(*ask(address, path, body, **evil), 403)
    # Bottle is not asked about a plain picture.
    assert_problem(*ask(address, "/predict", RED, Host="evil.example", Content_Type="image/png"), 403)
    assert_problem(*ask(address, "/predict", RED, Host="localhost.evil.example:80"), 403)
    for host in ("localhost", "LOCALHOST:8090", "shop.localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:8090"):
        assert ask(address, "/predict", RED, Host=host)[0].status == 200, host


def test_names_may_be_added_and_who_has_a_token_may_ask_by_any(serving, exported_model, tmp_path):
    with serving(exported_model, "--server-name", "Shop.example", "--server-name", "::2") as (address, _):
        for host, status in (("shop.example.:443", 200), ("[::2]:80", 200), ("127.0.0.1", 200), ("evil.example", 403)):
            assert ask(address, "/predict", RED, Host=host, Origin=f"https://{host}")[0].status == status, host
    token = tokens.add(tmp_path / "tokens", "shop")
    with serving(exported_model, "--tokens", str(tmp_path / "tokens")) as (address, _):
        assert ask(address, "/predict", RED, Host="a.example", Authorization=f"Bearer {token}")[0].status == 200


@pytest.mark.parametrize("name", ["shop.example:80", "https://shop.example", "", "a b"])
def test_a_name_that_cannot_be_asked_for_is_refused(exported_model, name):
    assert serve("--port", 0, f"--server-name={name}", "--model", exported_model).returncode == 2


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: localhost\r\n", b"Host: localhost evil\r\n"])
def test_a_request_says_once_whom_it_asks(address, hosts):
    """RFC 9112, 3.2."""
    where = urlsplit(address)
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        connection.sendall(b"GET /labels HTTP/1.1\r\n" + hosts + b"\r\n")
        reply = HTTPResponse(connection)
        reply.begin()
        assert "Host" in assert_problem(reply, reply.read(), 400)


def test_who_is_refused_at_the_door_is_counted_by_the_route_that_was_asked_for(serving, exported_model):
    with serving(exported_model, "--rate", "0.2") as (address, _):
        assert [ask(address, "/predict", RED)[0].status for _ in range(3)] == [200, 429, 429]
        ask(address, "/v1/models/imageloom:classify", b"{}")
        ask(address, "/nope", b"", Origin="https://evil.example")
        ask(address, "/predict", method="OPTIONS", Origin="https://evil.example")
        counts = metrics(address)
    asked = {name: count for name, count in counts.items() if name.startswith("imageloom_requests_total")}
    assert asked.pop('imageloom_requests_total{method="POST",route="/predict",status="200"}') == 1
    assert asked.pop('imageloom_requests_total{method="POST",route="/predict",status="429"}') == 2
    assert asked.pop('imageloom_requests_total{method="POST",route="other",status="403"}') == 1
    assert asked.pop('imageloom_requests_total{method="OPTIONS",route="other",status="403"}') == 1
    [(name, count)] = asked.items()
    assert (count, "/v1/models/" in name, 'status="429"' in name) == (1, True, True)


@pytest.mark.parametrize("name", ["", "#shop", "a b", "a:b"])
def test_a_token_without_a_name_is_refused_and_nothing_is_served(tmp_path, name):
    run = serve("--port", 0, "--tokens", tmp_path / "tokens", "--add-token", name)
    assert (run.returncode, "cannot name a token" in run.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_tokens_that_is_lost_withdraws_none_and_is_told_once(tmp_path, capsys):
    path = tmp_path / "tokens"
    token = tokens.add(path, "shop")
    good, known = path.read_bytes(), Tokens(path)
    for damage in (path.unlink, lambda: path.write_bytes(b"garbage"), path.unlink):
        damage()
        assert [known.owner(f"Bearer {token}") for _ in range(3)] == ["shop"] * 3
        told = capsys.readouterr().err
        assert (told.count("\n"), "warning: " in told, str(path) in told) == (1, True, True)
        path.write_bytes(good)
        assert known.owner(f"Bearer {token}") == "shop"
    path.write_bytes(b"")
    assert known.owner(f"Bearer {token}") is None
    assert capsys.readouterr().err == ""
