"""The main thread sleeps while there is nothing for it to do, whatever clients do, and is woken when there is."""

import gc
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from waitress import wasyncore
from waitress.adjustments import Adjustments

from imageloom.serving import channel
from imageloom.serving import server as serving
from imageloom.serving.connections import Connections
from imageloom.serving.gate import Gate
from imageloom.web.sockets import listen

PATIENCE = 60
WAITING = 16  # requests that may wait
LARGE = 20_000_000  # bytes: more than the system takes at once for a client that does not read
ASK = b"POST /%s HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\n12345"


class App:
    """Answers `/large` at length, and all else when it is let."""

    def __init__(self) -> None:
        self.begun, self.let = threading.Semaphore(0), threading.Event()
        self.told: list[tuple[int, str]] = []

    def refused(self, status: int, size: int, known: Callable[[], dict]) -> None:
        self.told.append((status, known()["PATH_INFO"]))

    def __call__(self, environ: dict, start: Callable) -> list[bytes]:
        environ["wsgi.input"].read(5)
        large = environ["PATH_INFO"] == "/large"
        self.begun.release()
        assert large or self.let.wait(PATIENCE)
        body = b"x" * (LARGE if large else 3)
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]


class Running:
    """A server in a thread.

    Attributes:
        turns: How often its main thread was awake.
        looks_by_itself: Whether it looks at all connections once a second, although nothing has woken it.
    """

    def __init__(self) -> None:
        self.app, self.turns, self.looks_by_itself = App(), 0, True
        self.clients: list[socket.socket] = []
        sockets = listen("127.0.0.1", 0)
        self.port = sockets[0].getsockname()[1]
        self.server = serving.Server(self.app, Gate(1, WAITING), sockets, 2**20)
        turn = self.server._all.turn

        def counted(seconds: float) -> None:
            self.turns += 1
            turn(seconds if self.looks_by_itself else 10 * PATIENCE)

        self.server._all.turn = counted
        self.thread = threading.Thread(target=self.server.run, args=(PATIENCE,))
        self.thread.start()

    def connect(self, sends: bytes = b"") -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        self.clients.append(client)
        client.sendall(sends)
        return client

    def close(self) -> None:
        """Ends it in good order."""
        self.looks_by_itself = True
        self.app.let.set()
        if self.thread.is_alive():
            self.server.stop()
        self.thread.join(2 * PATIENCE)
        assert not self.thread.is_alive()
        for client in self.clients:
            client.close()

    @contextmanager
    def asleep(self, seconds: float = 0.5) -> Iterator[None]:
        """Fails when the main thread is awake more than a few times meanwhile."""
        before, began = self.turns, time.monotonic()
        yield
        time.sleep(seconds)
        assert self.turns - before < 10 + (time.monotonic() - began)


@pytest.fixture
def running(monkeypatch) -> Iterator[Running]:
    """A server; up to six of whose connections, or what it listens to else, are watched at a time."""
    monkeypatch.setattr(serving, "CONNECTIONS", 6)
    interval = sys.getswitchinterval()
    one = Running()
    yield one
    one.close()
    sys.setswitchinterval(interval)
    gc.unfreeze()


def answer(client: socket.socket) -> bytes:
    """Head and body of one answer."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += client.recv(65536)
    head, _, body = said.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    pieces, have = [body], len(body)
    while have < length:
        pieces.append(client.recv(2**20))
        have += len(pieces[-1])
        assert pieces[-1]
    return b"".join(pieces)


@pytest.mark.parametrize("requests", [1, 2, 3])
def test_a_client_that_dies_while_its_requests_are_in_work_wakes_nobody(running, requests):
    client = running.connect(ASK % b"x" * requests)
    assert running.app.begun.acquire(timeout=PATIENCE)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # resets, as a killed one may
    with running.asleep():
        client.close()
    running.app.let.set()
    assert answer(running.connect(ASK % b"x")) == b"xxx"


def test_a_client_that_does_not_read_wakes_nobody_and_gets_all_of_it_later(running):
    with running.asleep():
        client = running.connect(ASK % b"large")
    assert len(answer(client)) == LARGE
    with running.asleep():
        pass
    running.app.let.set()
    client.sendall(ASK % b"x")
    assert answer(client) == b"xxx"


def test_requests_of_one_sender_are_read_two_at_a_time_and_answered_without_delay(running):
    client, ask = running.connect(), b"POST /x HTTP/1.1\r\nHost: here\r\nContent-Length: 70000\r\n\r\n" + 70_000 * b"y"
    for _ in range(12):
        client.sendall(ask)
    until = time.monotonic() + PATIENCE
    while not (channels := running.server._channels()) or len(channels[0].requests) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(channels[0].requests) == 2
    running.looks_by_itself, turns = False, running.turns
    while running.turns == turns:  # until its last look by itself is over
        time.sleep(0.01)
    whole = b""
    running.app.let.set()
    while whole.count(b"xxx") < 12:
        whole += client.recv(65536)
    assert whole.count(b"HTTP/1.1 200 OK") == 12


def test_above_the_limit_of_connections_the_next_wait_until_there_is_room(running):
    running.app.let.set()
    inside = [running.connect(ASK % b"x") for _ in range(4)]  # and the socket that listens, and what wakes
    assert [answer(client) for client in inside] == 4 * [b"xxx"]
    outside = running.connect(ASK % b"x")
    outside.settimeout(0.3)
    with running.asleep(), pytest.raises(TimeoutError):
        outside.recv(1)
    inside[0].close()
    outside.settimeout(PATIENCE)
    assert answer(outside) == b"xxx"


def test_who_finds_the_queue_full_is_told_by_the_thread_that_reads_however_busy_the_others_are(running):
    running.connect(ASK % b"x")
    running.connect(b"GET /x HTTP/1.1\r\nHost: here\r\n\r\n")  # keeps the desk busy as well
    for _ in range(2):
        assert running.app.begun.acquire(timeout=PATIENCE)
    running.server._gate.capacity = 0
    client = running.connect(ASK % b"x" * 2)
    assert b'"status": 503' in answer(client)
    assert not running.app.begun.acquire(blocking=False)
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):  # the second of two that were sent together is another thread's
        client.recv(1)
    client.settimeout(PATIENCE)
    running.app.let.set()
    assert b'"status": 503' in answer(client)
    assert running.app.told[:1] == [(503, "/x")]
    running.server._gate.capacity = WAITING
    client.sendall(ASK % b"x")
    assert answer(client) == b"xxx"


def read_to_the_end(client: socket.socket) -> bytes:
    pieces = [client.recv(2**20)]
    while pieces[-1]:
        pieces.append(client.recv(2**20))
    return b"".join(pieces)


def test_who_has_said_all_and_ends_his_side_gets_every_answer_and_then_the_end(running):
    client = running.connect(ASK % b"x" * 2)
    assert running.app.begun.acquire(timeout=PATIENCE)
    client.shutdown(socket.SHUT_WR)
    with running.asleep():
        pass
    running.app.let.set()
    assert read_to_the_end(client).count(b"xxx") == 2
    client = running.connect(ASK % b"large")
    client.shutdown(socket.SHUT_WR)
    assert len(read_to_the_end(client)) > LARGE


@pytest.mark.parametrize("ends", [socket.socket.close, lambda client: client.shutdown(socket.SHUT_WR)])
@pytest.mark.parametrize("sent", [b"", (ASK % b"x")[:-1], ASK % b"x"])
def test_no_connection_is_kept_whose_sender_has_ended(running, ends, sent):
    running.app.let.set()
    watched = len(running.server._all)
    client = running.connect(sent)
    until = time.monotonic() + PATIENCE
    while len(running.server._all) == watched:
        assert time.monotonic() < until
        time.sleep(0.001)
    ends(client)
    while len(running.server._all) > watched:
        assert time.monotonic() < until
        time.sleep(0.01)


def ended(client: socket.socket) -> bool:
    """Whether the server has ended a connection, with a last word or without."""
    client.settimeout(0.5)
    try:
        while client.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("said", [b"", b"P", (ASK % b"x")[:-1]])
def test_who_connects_and_says_nothing_or_no_more_keeps_nobody_out_for_long(running, monkeypatch, said):
    for name in ("SECONDS_IDLE", "SECONDS_TO_RECEIVE"):
        monkeypatch.setattr(channel, name, 10 * PATIENCE)
    running.app.let.set()
    silent = [running.connect(said) for _ in range(6)]  # two more than there is room for
    assert answer(running.connect(ASK % b"x")) == b"xxx"
    assert [ended(client) for client in silent] == 4 * [True] + 2 * [False]  # now there is room
    for client in silent:
        client.close()


def test_a_head_that_comes_byte_by_byte_has_a_second_where_no_other_connection_finds_room():
    request = channel.Request(Adjustments())
    request.received(b"POST /x HTTP/1.1\r\nHost: he")
    later = request.began + channel.SECONDS_CROWDED + 0.1
    assert [request.is_late(later, crowded) for crowded in (True, False)] == [True, False]
    request.received(b"re\r\nContent-Length: 9\r\n\r\n")
    assert not request.is_late(later, True)


@pytest.mark.parametrize("said", [b"", b"P", (ASK % b"x")[:-1]])
def test_silence_has_an_end_before_a_request_and_amid_it(running, monkeypatch, said):
    monkeypatch.setattr(channel, "SECONDS_IDLE", 0.5)
    monkeypatch.setattr(channel, "SECONDS_TO_RECEIVE", 10 * PATIENCE)
    answered = read_to_the_end(running.connect(said))
    assert (b" 408 " in answered) == bool(answered) == bool(said)


@pytest.mark.parametrize(("size", "is_in_memory"), [(400_000, True), (700_000, False)])
def test_a_long_body_goes_through_a_file_and_that_of_a_usual_picture_stays_in_memory(running, size, is_in_memory):
    head = b"POST /x HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % (size + 1)
    client = running.connect(head + bytes(size))
    until = time.monotonic() + PATIENCE
    while not any(one.request and one.request.body_bytes_received == size for one in running.server._channels()):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert running.server._channels()[0].request.body_rcv.getbuf().overflowed != is_in_memory
    running.app.let.set()
    client.sendall(b"y")
    assert answer(client) == b"xxx"


LENGTH, CHUNKED = b"Content-Length: %d\r\n", b"Transfer-Encoding: chunked\r\n"


@pytest.mark.parametrize("length", [0, 3, 13, 500])
@pytest.mark.parametrize("lines", [LENGTH + CHUNKED, CHUNKED + LENGTH])
def test_a_body_whose_length_is_given_twice_is_refused_with_all_that_follows(running, lines, length):
    running.app.let.set()
    body = b"3\r\nabc\r\n0\r\n\r\n"
    client = running.connect(b"POST /x HTTP/1.1\r\nHost: here\r\n" + lines % length + b"\r\n" + body + ASK % b"x")
    answered = client.recv(65536)
    assert answered.startswith(b"HTTP/1.1 400 ")
    answered += read_to_the_end(client)
    assert answered.count(b"HTTP/1.1") == 1
    assert b"the length of the body is given twice" in answered
    assert not running.app.begun.acquire(blocking=False)


@pytest.mark.parametrize("half", [b"P", ASK[:-9] % b"x", (ASK % b"x")[:-1]])
def test_a_request_that_is_half_received_when_the_end_begins_is_answered(running, monkeypatch, half):
    monkeypatch.setattr(serving, "SECONDS_TO_LINGER", 0)
    running.app.let.set()
    client = running.connect(half)
    until = time.monotonic() + PATIENCE
    while not any(one.request for one in running.server._channels()):
        assert time.monotonic() < until
        time.sleep(0.01)
    running.server.stop()
    while not running.server._gate.draining:
        assert time.monotonic() < until
        time.sleep(0.01)
    turns = running.turns
    while running.turns < turns + 3 and running.thread.is_alive():
        assert time.monotonic() < until
        time.sleep(0.01)
    client.sendall((ASK % b"x")[len(half) :])
    assert read_to_the_end(client).endswith(b"\r\n\r\nxxx")
    running.thread.join(PATIENCE)
    assert not running.thread.is_alive()


class Ending(wasyncore.dispatcher):
    """Ends all connections, itself among them, as soon as it is asked to read, and opens others in their place."""

    def __init__(self, ours: socket.socket, connections: Connections) -> None:
        super().__init__(ours, connections)
        self.asked: list[str] = []
        connections.refresh(self)

    def handle_read(self) -> None:
        self.asked.append("read")
        for one in list(self._map.values()):
            one.close()
        self.opened = [Ending(ours, self._map) for ours in socket.socketpair()]  # the lowest descriptors are free again

    def handle_write(self) -> None:
        self.asked.append("write")


def test_who_is_closed_in_a_turn_is_not_asked_in_it_again_nor_is_who_has_got_its_descriptor():
    connections = Connections()
    ended = [Ending(ours, connections) for ours in socket.socketpair()]
    for one in ended:
        one.send(b"x")
    connections.turn(PATIENCE)
    assert sorted(one.asked for one in ended) == [[], ["read"]]
    opened = next(one.opened for one in ended if one.asked)
    assert [one.asked for one in opened] == [[], []]
    connections.turn(PATIENCE)
    assert [one.asked for one in opened] == [["write"], ["write"]]
    connections.close()
