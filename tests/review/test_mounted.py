"""The review page inside the server of predictions: as safe as alone, and neither is in the other's way."""

import json
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from browsers import opened, until
from playwright.sync_api import expect
from servers import serving
from test_review_http import Client
from test_review_page import SENT

from imageloom import decisions


@pytest.fixture
def mounted(desk, exported_model):
    with serving(exported_model, "--review", cwd=desk.paths.root) as (address, _):
        yield address


def test_page_of_the_server_has_the_review_beside_it(mounted, desk, browser):
    with opened(browser, f"{mounted}/review/") as page:
        page.wait_for_selector("#stage img")
        page.keyboard.press("d")
        until(page, SENT)
        assert [one.decision for one in decisions.read(desk.paths.decisions)] == ["drop"]
        page.goto(mounted)
        expect(page).to_have_title("imageloom: what is on this picture?")


def test_what_checks_every_request_does_so_here_too(mounted, desk):
    client = Client(mounted)
    for host in ("evil.example", "evil.example:80"):
        reply, _ = client.ask("/review/session", Host=host)
        assert reply.status == 403
    reply, body = client.ask("/review/session")
    client.csrf = json.loads(body)["csrf"]
    policies = reply.getheader("Content-Security-Policy").split(", ")  # the server's and the page's; both hold
    assert all("script-src 'self';" in policy for policy in policies)
    name = desk.project.rows[0]["sha256"]
    wanted = {"queue": "losses", "decisions": [{"sha256": name, "decision": "drop", "from": "warm"}]}
    for headers in ({"X_CSRF_Token": "0"}, {"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        assert client.ask("/review/decisions", wanted, **headers)[0].status == 403
    assert decisions.read(desk.paths.decisions) == []
    assert client.ask("/review/decisions", wanted)[0].status == 200
    assert client.ask("/healthz")[0].status == 200
    assert b'route="/decisions"' in client.ask("/metrics")[1]


@pytest.mark.parametrize("options", [("--host", "0.0.0.0"), ("--workers", "2")])
def test_it_is_not_shown_to_others(desk, exported_model, options):
    command = [
        sys.executable,
        "-m",
        "imageloom.cli",
        "serve",
        "--review",
        "--model",
        str(exported_model),
        "--port",
        "0",
    ]
    done = subprocess.run(
        [*command, *options], cwd=desk.paths.root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "imageloom review" in done.stderr


def test_it_is_not_there_where_nobody_asked_for_it(exported_model, desk):
    with serving(exported_model, cwd=desk.paths.root) as (address, _):
        assert Client(f"http://{urlsplit(address).netloc}").ask("/review/session")[0].status == 404
