"""Whatever is sent, every answer is a well-formed refusal in good time; then a normal request gets the right answer.

`make torture` sends 20,000 mutated requests; otherwise some hundreds are sent.
"""

import base64
import contextlib
import json
import os
import random
import re
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import hostile_pictures
import hostile_requests
import pytest
from test_serve_http import COLOURS, RED, ask, encoded, form

from imageloom import images
from imageloom.errors import ImageError

# 501 is what HTTP wants for a transfer coding that is not known (RFC 9112, 6.1).
REFUSALS = {*range(400, 500), 501, 503}
DEADLINE = 60.0  # seconds: none waits for ever

FUZZED = 20_000 if os.environ.get("IMAGELOOM_TORTURE") else 600
SILENCE = 0.4  # seconds without an answer, after which the server waits for more of the request

PICTURE = encoded(COLOURS["green"], "JPEG")


@pytest.fixture(scope="module")
def hardened(serving, exported_model):
    """A server and its process, which must have said nothing at its end."""
    with serving(exported_model, "--threads", "2", "--no-fetch") as (address, server):
        yield address, server
        server.terminate()
        output, errors = server.communicate(timeout=60)
        assert server.returncode == 0
        # libtiff, which is in C, says of its own accord what is wrong with a TIFF, after the name of its function.
        assert [line for line in errors.splitlines() if not re.match(r"_?[A-Z][A-Za-z0-9]+: ", line)] == []
        assert "Traceback" not in output


def can_be_read(data: bytes) -> bool:
    try:
        images.load(data, 32)
    except ImageError:
        return False
    return True


def posts() -> list[hostile_requests.Posted]:
    bodies = [*hostile_pictures.truncations(), *hostile_pictures.others(), *hostile_pictures.bombs()]
    found = [(name, "/predict", "image/png", body) for name, body in bodies]
    for make in (hostile_requests.forms, hostile_requests.jsons, hostile_requests.zips):
        found += make(PICTURE)
    return found


def test_hostile_bodies_are_refused_in_good_time(hardened):
    address, server = hardened
    bodies = posts()
    assert len(bodies) >= 300
    for name, path, kind, body in bodies:
        started = time.monotonic()
        reply, answer = ask(address, path, body, Content_Type=kind)
        assert time.monotonic() - started < DEADLINE, name
        content = json.loads(answer)
        if reply.status == 200:
            harmless = path == "/classify" or "form" in name or can_be_read(body) or "TensorFlow" in name
            assert harmless, (name, content)
            continue
        assert reply.status in REFUSALS, (name, answer)
        keys = {"error"} if path.startswith("/v1/") else {"type", "title", "status", "detail"}
        assert content.keys() == keys, (name, content)
    assert_well(address, server)


def test_most_hostile_pictures_are_refused_not_answered():
    """The twin of the test above, which lets those pass that can be read: they are few."""
    bodies = [*hostile_pictures.truncations(), *hostile_pictures.others(), *hostile_pictures.bombs()]
    read = [name for name, body in bodies if can_be_read(body)]
    assert len(read) < len(bodies) / 10, read


def test_what_breaks_http_is_refused_in_good_time(hardened):
    address, server = hardened
    conversations = list(hostile_requests.raw(PICTURE))
    for name, sent in conversations:
        started = time.monotonic()
        statuses = converse(address, sent, silence=2 if len(sent) > 500_000 else SILENCE)
        assert time.monotonic() - started < DEADLINE, name
        assert set(statuses) <= {200, 204, *REFUSALS}, (name, statuses)
    assert_well(address, server)


def test_every_refused_conversation_has_an_answer(hardened):
    """Those that are whole, so that nobody waits for more."""
    address, _ = hardened
    conversations = dict(hostile_requests.raw(PICTURE))
    for name in (
        "a megabyte of headers",
        "a negative length",
        "two lengths",
        "crumbs",
        "a chunk's endless size",
        "TLS",
    ):
        assert converse(address, conversations[name], silence=DEADLINE)[:1] in ([400], [431]), name
    flood = converse(address, conversations["a thousand requests at once"], silence=DEADLINE)
    assert set(flood) == {400, 404}
    assert len(flood) < 100


def test_mutated_requests_are_refused_in_good_time(hardened):
    address, server = hardened
    dice = random.Random(11)
    seeds = list(valid())
    for seed in seeds:
        assert converse(address, seed, silence=DEADLINE) == [200]
    requests = [mutated(dice.choice(seeds), dice, seeds) for _ in range(FUZZED)]
    statuses, silence = Counter({0: FUZZED}), SILENCE
    # On a busy machine those that are to be answered may be silent for a while as well as those that are not whole.
    while statuses[0] >= len(requests) / 2 and silence < DEADLINE:
        with ThreadPoolExecutor(16) as pool:
            found = pool.map(partial(converse, address, silence=silence), requests)
            statuses, silence = Counter(status for some in found for status in some or [0]), 4 * silence
    assert set(statuses) - {0} <= {200, 204, *REFUSALS}, statuses
    assert statuses[0] < FUZZED / 2, statuses
    assert len(statuses) > 4, statuses
    assert_well(address, server)


def test_slow_senders_are_let_go(serving, exported_model):
    """A byte now and then keeps a connection; not for ever. Others are answered meanwhile."""
    impatient = "from imageloom.serving import channel; channel.SECONDS_TO_RECEIVE = 1.5"
    with serving(exported_model, before=impatient) as (address, _):
        host = urlsplit(address)
        slow = [socket.create_connection((host.hostname, host.port), timeout=60) for _ in range(20)]
        for number, connection in enumerate(slow):
            connection.sendall(b"POST /predict HTTP/1.1\r\n" + (b"Content-Length: 99\r\n\r\nab" if number % 2 else b""))
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            assert ask(address, "/predict", RED)[0].status == 200
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b"a")
            time.sleep(0.2)
        for connection in slow:
            assert answers(read_until_silent(connection, DEADLINE)) == [408]
            connection.close()


def test_those_who_hang_up_cost_nothing(hardened):
    address, server = hardened
    host = urlsplit(address)
    head = f"POST /predict HTTP/1.1\r\nContent-Length: {len(PICTURE)}\r\n\r\n".encode()
    for number in range(300):
        with socket.create_connection((host.hostname, host.port), timeout=60) as connection:
            connection.sendall(head + (PICTURE if number % 2 else PICTURE[:50]))
    assert_well(address, server)


def assert_well(address: str, server) -> None:
    """It answers rightly, keeps no request waiting, no connection or thread, and no memory to speak of."""
    ends = time.monotonic() + DEADLINE
    while len(list(Path(f"/proc/{server.pid}/fd").iterdir())) > 40:
        assert time.monotonic() < ends, "connections are kept"
        time.sleep(0.1)
    while json.loads(ask(address, "/readyz")[1])["queue"]["waiting"]:
        assert time.monotonic() < ends, "requests wait for nothing"
        time.sleep(0.1)
    reply, body = ask(address, "/predict", RED)
    assert (reply.status, json.loads(body)["label"]) == (200, "红")
    status = Path(f"/proc/{server.pid}/status").read_text()
    assert int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) < 150_000
    assert int(re.search(r"Threads:\s+(\d+)", status)[1]) < 12


def converse(address: str, sent: bytes, silence: float = SILENCE) -> list[int]:
    """Sends bytes and gives the statuses of all that is answered, until the server closes or is silent."""
    host = urlsplit(address)
    with socket.create_connection((host.hostname, host.port), timeout=60) as connection:
        with contextlib.suppress(OSError):  # refused before all of it was sent
            connection.sendall(sent)
        return answers(read_until_silent(connection, silence))


def read_until_silent(connection: socket.socket, silence: float) -> bytes:
    received = b""
    connection.settimeout(silence)
    with contextlib.suppress(OSError):
        while data := connection.recv(65_536):
            received += data
    return received


def answers(received: bytes) -> list[int]:
    """The statuses of a stream of answers, each of which must be whole and well-formed."""
    statuses = []
    while received:
        if received.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            received = received[25:]
            continue
        head, separator, received = received.partition(b"\r\n\r\n")
        line = re.match(rb"HTTP/1\.[01] (\d{3}) [A-Z][A-Za-z -]+\r\n", head)
        assert separator, head
        assert line, head
        statuses.append(int(line[1]))
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        body = received[: int(length[1])] if length else received
        assert length is None or len(body) == int(length[1]), head
        received = received[len(body) :]
        if statuses[-1] >= 400 and body:
            content = json.loads(body)
            assert content.keys() in ({"type", "title", "status", "detail"}, {"error"}), content
    return statuses


def valid() -> list[bytes]:
    """Requests of every kind, which are answered."""
    b64 = base64.b64encode(PICTURE).decode()
    body, kind = form(("f", "玫瑰.jpg", PICTURE), ("g", "b.png", RED))
    archive = hostile_requests.zipped(("a.jpg", PICTURE), ("b.png", RED))
    upload, upload_kind = form(("upload", "a.zip", archive))
    found = [("/predict?top_k=2", "image/jpeg", PICTURE), ("/predict", "image/png", RED), ("/predict", kind, body)]
    found += [("/predict", "application/json", json.dumps({"b64": b64}).encode()), ("/classify", upload_kind, upload)]
    found += [("/v1/models/imageloom:predict", "application/json", json.dumps({"instances": [{"b64": b64}]}).encode())]
    for kind, data in hostile_pictures.whole().items():
        if len(data) < 20_000:
            found.append(("/predict", f"image/{kind}", data))
    end = "Connection: close\r\n\r\n"
    requests = [
        f"POST {path} HTTP/1.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{end}".encode() + body
        for path, kind, body in found
    ]
    chunks = b"40\r\n" + RED[:64] + b"\r\n" + f"{len(RED) - 64:x}".encode() + b"\r\n" + RED[64:] + b"\r\n0\r\n\r\n"
    return [
        *requests,
        b"POST /predict HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
        b"GET /labels HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /v1/models/imageloom HTTP/1.0\r\n\r\n",
    ]


_ODD = (
    b"\0",
    b"\xff",
    b"\r\n",
    b"\r\n\r\n",
    b"%",
    b"{",
    b'"',
    b"--",
    b"\xff\xd8",
    b"\xff\xda",
    b"PK\3\4",
    b"-1",
    b"99999999",
)


def mutated(request: bytes, dice: random.Random, others: list[bytes]) -> bytes:
    """The request with up to four faults; every other one only in its body, so that its picture is reached."""
    start = request.index(b"\r\n\r\n") + 4 if dice.random() < 0.5 else 0
    head, data = request[:start], bytearray(request[start:])
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(data) + 1)
        match dice.randrange(6):
            case 0:
                data[place : place + 1] = bytes([dice.randrange(256)])
            case 1:
                data[place:place] = dice.choice(_ODD) * dice.choice((1, 1, 2, 50))
            case 2:
                del data[place : place + dice.choice((1, 2, 9, 200))]
            case 3:
                data[place : place + 4] = dice.choice(
                    (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4), b"\0\0\0\x01")
                )
            case 4:
                other = dice.choice(others)
                cut = dice.randrange(len(other))
                data[place:place] = other[cut : cut + 80]
            case _:
                data[place:] = data[place:] if place < 20 else b""
    return head + bytes(data)
