"""No way in: addresses from outside that lead inside, at a listener which must never see a connection."""

import asyncio
import random
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from name_server import NameServer, Resolver

from imageloom import cli
from imageloom.errors import ImageloomError
from imageloom.fetch.http import Fetched, Http, Limits
from imageloom.fetch.netguard import Guard, allowance, inside
from imageloom.fetch.status import Status

OUTSIDE = "127.0.0.2"  # stands for a public server: its address alone is allowed


class World:
    """A server outside, a listener inside on the same port, and a name server that knows both.

    Attributes:
        reached: How many connections the listener inside has seen.
        leads: Where the outside's paths redirect to, with which status.
    """

    def __init__(self) -> None:
        self.reached = 0
        self.leads: dict[str, tuple[int, str]] = {}
        self.asked: list[str] = []
        world = self

        class Outside(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                world.asked.append(self.path)
                code, location = world.leads.get(self.path, (404 if self.path == "/robots.txt" else 200, ""))
                self.send_response(code)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "6")
                self.end_headers()
                self.wfile.write(b"public")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((OUTSIDE, 0), Outside)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self._listeners = [self._listen(socket.AF_INET, host) for host in ("127.0.0.1", "127.1.2.3")]
        if socket.has_ipv6:
            self._listeners.append(self._listen(socket.AF_INET6, "::1"))

    def _listen(self, family: int, host: str) -> socket.socket:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, self.port))
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                link, _ = listener.accept()
            except OSError:
                return
            self.reached += 1
            with link:
                link.settimeout(60)
                link.recv(4096)
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


NAMES = {
    "public.test": [[OUTSIDE]],
    "inside.test": [["127.0.0.1"]],
    "inside6.test": [["::1"]],
    "elsewhere.test": [["8.8.8.8"]],
    "both.test": [[OUTSIDE, "127.0.0.1"]],
    "both6.test": [[OUTSIDE, "::1"]],
    "mapped.test": [["::ffff:127.0.0.1"]],
    "nat64.test": [["64:ff9b::7f00:1"]],
    "zero.test": [["0.0.0.0"]],
    "metadata.test": [["169.254.169.254"]],
    "provider.test": [["100.64.0.1"]],
    "private.test": [["10.0.0.1"]],
    "127.0.0.1.nip.test": [["127.0.0.1"]],
    "localhost": [["127.0.0.1", "::1"]],
    "intranet": [["192.168.1.1"]],
    "rebound.test": [[OUTSIDE], ["127.0.0.1"]],
}


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[World, NameServer]]:
    world = World()
    with NameServer() as names:
        yield world, names
    world.close()


@pytest.fixture
def world(servers: tuple[World, NameServer]) -> World:
    world, names = servers
    names.names, names.asked = dict(NAMES), {}
    world.leads, world.asked, world.reached = {}, [], 0
    return world


@pytest.fixture
def names(servers: tuple[World, NameServer], world: World) -> NameServer:
    return servers[1]


def fetch(url: str, world: World, names: NameServer, **limits: Any) -> Fetched:
    settings = {"retries": 0, "timeout": 60.0, "idle_timeout": 60.0, "allow_hosts": (f"{OUTSIDE}/32:{world.port}",)}
    settings |= limits
    settings["allow_hosts"] = tuple(at(entry, world) for entry in settings["allow_hosts"])

    async def once() -> Fetched:
        async with Http(Limits(**settings), Resolver(names)) as http:
            return await http.get(url)

    return asyncio.run(once())


# Addresses; forms that mean 127.0.0.1 to some program; version 6, alone and with an address of version 4 inside.
FORMS = """
127.0.0.1 127.1.2.3 127.255.255.254 0.0.0.0 0 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.1.1
169.254.169.254 169.254.0.1 100.64.0.1 100.100.100.200 100.127.255.255 192.0.0.192 192.0.2.1 192.88.99.1
198.18.0.1 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 168.63.129.16

127.1 127.0.1 2130706433 017700000001 0x7f000001 0x7F.1 0x7f.0.0.1 0177.0.0.1 0177.0.0.01 127.0.0.1.
127.000.000.001 127.0x0.0.1 0000127.0.0.1 4294967297 127.0.0.1.. 1.127.0.0.1
１２７.0.0.1 ①②⑦.⓪.⓪.① 127。0。0。1 %31%32%37.0.0.1 127.0.0.1%2f.public.test 127.0.0.1%00.public.test

[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [::ffff:0:127.0.0.1]
[64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1] [2002:7f00:1::] [2002:a00:1::1]
[2001:0:7f00:1::] [2001:0:4136:e378:8000:63bf:80ff:fffe] [2001:db8::1] [fe80::1] [fe80::1%25lo] [fec0::1]
[fc00::1] [fd00:ec2::254] [ff02::1] [100::1] [::ffff:10.0.0.1] [::ffff:169.254.169.254] [5f00::1] [4000::1]
"""

HOSTS = [
    *FORMS.split(),
    *(name for name in NAMES if name not in ("public.test", "rebound.test")),
    *("LOCALHOST", "localhost.", "ⓛocalhost", "Inside.Test", "inside.test."),
]

ADDRESSES = [
    *(f"http://{host}:PORT/x" for host in HOSTS),
    "https://127.0.0.1:PORT/x",
    "http://127.0.0.1/",
    # a user where a host is thought to stand, and the other way round
    "http://public.test@127.0.0.1:PORT/",
    "http://public.test:PORT@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT@public.test:PORT/",
    "http://user:word@public.test:PORT/",
    "http://public.test%40127.0.0.1:PORT/",
    "http://public.test\\@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT\\@public.test:PORT/",
    "http://127.0.0.1:PORT#@public.test:PORT/",
    "http://127.0.0.1:PORT?@public.test:PORT/",
    "http://local\thost:PORT/",
    " http://127.0.0.1:PORT/",
    "HTTP://127.0.0.1:PORT/",
    "http://[127.0.0.1]:PORT/",
    "http://[::1:PORT/",
    "http://a b:PORT/",
    "http://:PORT/",
    # not http
    "file:///etc/passwd",
    "ftp://127.0.0.1:PORT/x",
    "gopher://127.0.0.1:PORT/_GET%20/",
    "dict://127.0.0.1:PORT/d",
    "ws://127.0.0.1:PORT/",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "jar:http://127.0.0.1:PORT/x!/",
    "data:text/plain,secret",
    "javascript:alert(1)",
    # ports of other services
    *(
        f"http://{host}:{port}/"
        for host in ("elsewhere.test", "8.8.8.8")
        for port in (0, 1, 22, 25, 3306, 6379, 9200, 11211, 65535, 65536)
    ),
]


def at(address: str, world: World) -> str:
    return address.replace("PORT", str(world.port))


def test_there_are_enough_cases() -> None:
    assert len(set(ADDRESSES)) >= 60


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_leads_inside_is_blocked(address: str, world: World, names: NameServer) -> None:
    for robots in (True, False):
        got = fetch(at(address, world), world, names, obey_robots=robots)
        assert (got.status, got.body) == (Status.BLOCKED_ADDRESS, b""), got
        assert got.error
    assert world.reached == 0
    assert world.asked == []


@pytest.mark.parametrize("address", [*ADDRESSES, "//127.0.0.1:PORT/", "//inside.test:PORT/"])
def test_a_redirect_that_leads_inside_is_blocked(address: str, world: World, names: NameServer) -> None:
    code = (301, 302, 303, 307, 308)[len(address) % 5]
    world.leads = {"/a": (302, "/b"), "/b": (code, at(address, world).encode().decode("latin-1"))}
    got = fetch(f"http://public.test:{world.port}/a", world, names)
    assert (got.status, got.body) == (Status.BLOCKED_ADDRESS, b""), got
    assert world.asked == ["/robots.txt", "/a", "/b"]
    assert world.reached == 0


def test_a_robots_txt_that_leads_inside_is_not_followed(world: World, names: NameServer) -> None:
    world.leads = {"/robots.txt": (302, f"http://inside.test:{world.port}/")}
    assert fetch(f"http://public.test:{world.port}/a", world, names).status is Status.BLOCKED_ADDRESS
    assert world.asked == ["/robots.txt"]
    assert world.reached == 0


def test_a_name_that_is_rebound_between_check_and_connection_leads_nowhere(world: World, names: NameServer) -> None:
    address = f"http://rebound.test:{world.port}/a"
    for robots in (True, False):
        names.asked.clear()
        got = fetch(address, world, names, obey_robots=robots)
        assert (got.status, got.body) == (Status.OK, b"public")
        assert names.asked["rebound.test"] == 1  # what was checked is what was connected to
        got = fetch(address, world, names, obey_robots=robots)
        assert (got.status, got.body) == (Status.BLOCKED_ADDRESS, b"")
    assert world.reached == 0


def test_a_name_that_is_rebound_at_every_question_never_leads_inside(world: World, names: NameServer) -> None:
    names.names["flip.test"] = [[OUTSIDE], ["127.0.0.1"]] * 20
    answers = [fetch(f"http://flip.test:{world.port}/a", world, names) for _ in range(20)]
    assert {got.status for got in answers} == {Status.OK, Status.BLOCKED_ADDRESS}
    assert {got.body for got in answers} == {b"public", b""}
    assert world.reached == 0


def test_a_name_that_is_rebound_behind_a_redirect_to_itself_leads_nowhere(world: World, names: NameServer) -> None:
    world.leads = {"/a": (302, f"http://rebound.test:{world.port}/b")}
    got = fetch(f"http://rebound.test:{world.port}/a", world, names)
    assert got.body in (b"public", b"")
    assert world.reached == 0


@pytest.mark.parametrize("way", ["127.0.0.1", "[::1]", "inside.test", "localhost", "redirect", "rebound.test"])
def test_a_client_without_the_guard_does_get_in(way: str, world: World, names: NameServer) -> None:
    """So the listener notices, and the tests above can fail."""
    import aiohttp

    world.leads = {"/a": (302, f"http://inside.test:{world.port}/b")}
    host = "public.test" if way == "redirect" else way

    async def once() -> None:
        resolver = Resolver(names)
        if way == "rebound.test":  # checks, and then asks the name server again
            assert (await resolver.resolve(host))[0]["host"] == OUTSIDE
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver))
        async with session, session.get(f"http://{host}:{world.port}/a") as answer:
            assert await answer.read() == b"secret"

    asyncio.run(once())
    assert world.reached == 1


def test_the_systems_own_resolver_is_checked_as_well(world: World, names: NameServer) -> None:
    async def once() -> Fetched:
        async with Http(Limits(retries=0, allow_ports=(world.port,))) as http:
            return await http.get(f"http://localhost:{world.port}/")

    assert asyncio.run(once()).status is Status.BLOCKED_ADDRESS
    assert world.reached == 0


# One rule: what is listed is asked at every port, or at the one that stands behind it.
@pytest.mark.parametrize(
    ("allowed", "address", "good"),
    [
        (["127.0.0.1"], "http://127.0.0.1:PORT/", True),
        (["127.0.0.1:PORT"], "http://127.0.0.1:PORT/", True),
        (["127.0.0.1:1"], "http://127.0.0.1:PORT/", False),
        (["[::1]:PORT"], "http://[::1]:PORT/", True),
        (["::1"], "http://[::1]:PORT/", True),
        (["::1/128"], "http://[::1]:PORT/", True),
        (["::1/128:PORT"], "http://[::1]:PORT/", True),
        (["::1/128:1"], "http://[::1]:PORT/", False),
        (["127.0.0.0/8"], "http://127.1.2.3:PORT/", True),
        (["127.0.0.0/8"], "http://inside.test:PORT/", True),
        (["127.0.0.0/8:PORT"], "http://127.1.2.3:PORT/", True),
        (["127.0.0.0/8:PORT"], "http://inside.test:PORT/", True),
        (["127.0.0.0/8:1"], "http://127.1.2.3:PORT/", False),
        (["127.0.0.0/8:1"], "http://inside.test:PORT/", False),
        (["127.0.0.0/8:1", "127.0.0.0/8:PORT"], "http://inside.test:PORT/", True),
        (["127.0.0.2/32"], "http://inside.test:PORT/", False),
        (["127.0.0.0/8"], "http://both6.test:PORT/", False),
        (["127.0.0.0/8"], "http://2130706433:PORT/", False),
        (["INSIDE.test"], "http://inside.test:PORT/", True),
        (["inside.test"], "http://inside.test.:PORT/", True),
        (["inside.test:PORT"], "http://inside.test:PORT/", True),
        (["inside.test:1"], "http://inside.test:PORT/", False),
        (["inside.test"], "http://127.0.0.1:PORT/", False),
        (["127.0.0.1"], "http://inside.test:PORT/", False),
        (["127.0.0.1"], "http://me@127.0.0.1:PORT/", False),
    ],
)
def test_what_is_listed_is_let_in_and_nothing_else(
    allowed: list[str], address: str, good: bool, world: World, names: NameServer
) -> None:
    got = fetch(at(address, world), world, names, allow_hosts=allowed, obey_robots=False)
    assert (got.status, got.body) == ((Status.OK, b"secret") if good else (Status.BLOCKED_ADDRESS, b""))
    assert world.reached == good


@pytest.mark.parametrize("inside", ["127.0.0.1", "inside.test"])
@pytest.mark.parametrize(
    ("entry", "good"),
    [("INSIDE", True), ("INSIDE:PORT", True), ("INSIDE:1", False), ("127.0.0.0/8", True), ("127.0.0.0/8:1", False)],
)
def test_a_redirect_to_another_port_needs_that_port(
    entry: str, good: bool, inside: str, world: World, names: NameServer
) -> None:
    world.leads = {"/a": (302, f"http://{inside}:{world.port}/b")}
    allowed = [f"{OUTSIDE}/32:{world.port}", entry.replace("INSIDE", inside)]
    got = fetch(f"http://public.test:{world.port}/a", world, names, allow_hosts=allowed, obey_robots=False)
    assert got.body == (b"secret" if good else b"")
    assert world.reached == good
    assert good or (got.error or "").startswith(f"after a redirect: {inside} is "), got.error


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:PORT", "[::1]:PORT", "inside.test:PORT", "INSIDE.test.:PORT", "localhost:PORT", "both6.test:PORT"],
)
def test_what_the_message_names_is_what_suffices(address: str, world: World, names: NameServer) -> None:
    url = at(f"http://{address}/", world)
    got = fetch(url, world, names, obey_robots=False)
    entry = (got.error or "").rpartition("; asked only if scrape.allow_hosts has ")[2]
    assert entry.endswith(f":{world.port}")
    assert world.reached == 0
    assert fetch(url, world, names, allow_hosts=[entry], obey_robots=False).status is Status.OK


def test_the_message_names_the_port_of_another_service(world: World, names: NameServer) -> None:
    for host in ("elsewhere.test", "8.8.8.8"):
        got = fetch(f"http://{host}:6379/", world, names)
        assert got.error == f"port 6379 may be another service's; asked only if scrape.allow_hosts has {host}:6379"


def test_nothing_that_python_knows_to_be_inside_is_taken_for_outside() -> None:
    number = random.Random(7)
    for _ in range(20_000):
        for address in (IPv4Address(number.getrandbits(32)), IPv6Address(number.getrandbits(128))):
            assert inside(address) or address.is_global, address


def test_public_addresses_are_outside() -> None:
    four = "8.8.8.8 1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.167.0.1"
    six = "2606:4700:4700::1111 2a00:1450::1 64:ff9b::808:808 ::ffff:8.8.8.8"
    assert [address for address in f"{four} {six}".split() if inside(ip_address(address))] == []


@pytest.mark.parametrize(
    "entry",
    ["", " ", "http://a/", "a/b", "10.0.0.0/99", "10.0.0.1/8", "me@a", "a:x", "a:99999", "10.0.0.0/8:", "10.0.0.0/8:0"],
)
def test_what_cannot_be_listed_is_refused(entry: str, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        allowance(entry)
    (tmp_path / "params.yaml").write_text(f"scrape:\n  sources: [{{kind: folder}}]\n  allow_hosts: ['{entry}']\n")
    assert cli.main(["scrape", "-C", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "params.yaml:3: scrape.allow_hosts.0" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("entry", "message", "hint"),
    [
        ("http://cats.example/a", "must be a host, a host:port, or a network", "did you mean 'cats.example'?"),
        ("HTTPS://me@Cats.example:8443/", "must be a host", "did you mean 'cats.example:8443'?"),
        ("http://[fd00::5]:81/x", "must be a host", "did you mean '[fd00::5]:81'?"),
        ("cats.example/pictures", "must be a host", "did you mean 'cats.example'?"),
        (
            "127.0.0.1/8",
            "must be a network by its first address",
            "network '127.0.0.0/8', or the host '127.0.0.1' alone?",
        ),
        ("fd00::1/8", "must be a network by its first address", "did you mean the network 'fd00::/8'"),
        ("cats.example:99999", "must have a port from 1 to 65535 after the colon", ""),
        ("10.0.0.0/8:99999", "must have a port from 1 to 65535 after the colon", ""),
        ("cats.example:http", "must have a port from 1 to 65535 after the colon", ""),
    ],
)
def test_what_cannot_be_listed_is_told_with_its_right_spelling(
    entry: str, message: str, hint: str, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "params.yaml").write_text(f"scrape:\n  sources: [{{kind: folder}}]\n  allow_hosts: ['{entry}']\n")
    assert cli.main(["scrape", "-C", str(tmp_path)]) == 2
    error, told = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: params.yaml:3: scrape.allow_hosts.0: {message}")
    assert error.endswith(f", not {entry!r}")
    assert told.startswith("hint: ")
    assert hint in told
    meant = re.findall("'([^']*)'", told)
    assert all(allowance(text) for text in meant)
    assert bool(meant) == bool(hint)


def test_a_guard_alone_tells_what_is_wrong() -> None:
    """As a server that fetches for its clients uses it."""
    from yarl import URL

    guard = Guard.of(["cats.example:8000"])
    guard.check(URL("https://example.org/cat.jpg"))
    guard.check(URL("http://cats.example:8000/cat.jpg"))
    for address, why in (
        ("http://10.0.0.1/", "private"),
        ("http://a:22/", "port 22 .* a:22"),
        ("http://cats.example:22/", "port 22"),
        ("ftp://a/", "http"),
        ("http://1/", "form"),
    ):
        with pytest.raises(ImageloomError, match=why):
            guard.check(URL(address))
