"""What holds while the server is overloaded, gets another model, is told to end, or loses a process."""

import contextlib
import functools
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile_requests
import pytest
from clients import crowd
from test_serve_http import COLOURS, RED, ask, assert_problem, encoded
from test_slot import renamed

from imageloom import files

# Takes a thread a tenth of a second and more.
SLOW = encoded(COLOURS["green"], "PNG", (3000, 3000))

# What is said to who waited past the deadline, and to whose turn came just before it.
WAITED = "no time was left after 1 s in the queue"
BEGUN_TOO_LATE = "too busy to answer in time: ask again"

MEDIUM = encoded(COLOURS["green"], "PNG", (900, 900))

SWAPS = 20

# Who ends a connection that is kept would lose a request which is on its way: on a busy machine it may be for longer.
LINGERING = "from imageloom.serving import server; server.SECONDS_TO_LINGER = 30"


@functools.cache
def huge() -> bytes:
    """Takes a thread half a second and more."""
    return encoded(COLOURS["green"], "PNG", (6000, 6000))


def until(condition, seconds: float = 120) -> None:
    """Waits until something holds."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it never came to hold"
        time.sleep(0.01)


def version(address: str) -> str:
    return json.loads(ask(address, "/labels")[1])["model"]


@pytest.mark.alone
def test_overload_is_refused_at_once_and_leaves_the_rest_alone(serving, exported_model, tmp_path):
    log = tmp_path / "access.jsonl"
    options = ("--threads", "1", "--queue", "2", "--cache", "0", "--access-log", str(log))
    with serving(exported_model, *options) as (address, _):

        def post() -> tuple[float, int, str | None]:
            started = time.monotonic()
            reply, body = ask(address, "/predict", SLOW)
            if reply.status == 503:
                assert "try again in a moment" in assert_problem(reply, body, 503)
            else:
                assert json.loads(body)["label"] == "green"
            return time.monotonic() - started, reply.status, reply.headers["Retry-After"]

        seen = threading.Event()

        def post_often(_: int) -> list[tuple[float, int, str | None]]:
            answers = [post() for _ in range(3)]
            while not seen.is_set():
                answers.append(post())
            return answers

        with ThreadPoolExecutor(12) as pool:
            asking = pool.map(post_often, range(12))
            try:
                until(lambda: ask(address, "/readyz")[0].status == 503)
                for path in ("/healthz", "/metrics", "/labels", "/"):
                    assert ask(address, path)[0].status == 200
            finally:
                seen.set()
            answers = [one for some in asking for one in some]
        taken = [seconds for seconds, status, _ in answers if status == 200]
        refused = [(seconds, again) for seconds, status, again in answers if status == 503]
        assert len(taken) + len(refused) == len(answers) >= 36
        assert len(taken) >= 3
        assert len(refused) >= 12
        assert {again for _, again in refused} == {"1"}
        assert sorted(seconds for seconds, _ in refused)[len(refused) // 2] < sorted(taken)[len(taken) // 2]
        assert ask(address, "/readyz")[0].status == 200
        counts = ask(address, "/metrics")[1].decode()
        assert re.search(rf'imageloom_requests_total{{[^}}]*status="503"}} {len(refused)}\.0', counts)
    assert log.read_text(encoding="utf-8").count('"path": "/predict", "status": 503') == len(refused)


def test_request_that_waited_too_long_is_not_begun(serving, exported_model):
    options = ("--threads", "1", "--queue", "50", "--deadline", "1", "--cache", "0")
    with serving(exported_model, *options) as (address, _):
        answers = []

        def details() -> set[str]:
            return {assert_problem(reply, body, 503) for reply, body in answers if reply.status != 200}

        def both_were_seen() -> bool:
            answers.extend(pool.map(lambda _: ask(address, "/predict", SLOW), range(40)))
            return any(reply.status == 200 for reply, _ in answers) and WAITED in details()

        with ThreadPoolExecutor(40) as pool:
            until(both_were_seen)
        assert details() <= {WAITED, BEGUN_TOO_LATE}
        until(lambda: ask(address, "/predict", RED)[0].status == 200)


def test_newer_models_take_over_under_load_without_a_failed_request(serving, exported_model, tmp_path):
    """20 swaps, one of them to a model that is cut short."""
    folder = Path(shutil.copytree(exported_model, tmp_path / "models" / "export"))
    first = json.loads((folder / "model.json").read_text(encoding="utf-8"))["version"]
    served = {first}
    options = ("--watch", "0.1", "--threads", "2", "--cache", "0")  # else two looks fall amid a replacement
    with serving(folder, *options, before=LINGERING) as (address, server), crowd(address, RED) as clients:
        for number in range(1, SWAPS + 1):
            wanted = f"{number:012x}"
            with files.atomic_folder(folder) as new:
                shutil.copytree(exported_model, new, dirs_exist_ok=True)
                card = (new / "model.json").read_text(encoding="utf-8")
                (new / "model.json").write_text(card.replace(first, wanted, 1), encoding="utf-8")
                if number == SWAPS // 2:
                    (new / "model.tflite").write_bytes((new / "model.tflite").read_bytes()[:300])
            if number == SWAPS // 2:
                until(lambda: "was altered" in (json.loads(ask(address, "/model")[1])["refused"] or ""))
                assert version(address) == f"{number - 1:012x}"
                continue
            served.add(wanted)
            until(lambda wanted=wanted: version(address) == wanted)
            asked = sum(clients.statuses.values())
            until(lambda asked=asked: sum(clients.statuses.values()) > asked + 8)
            assert json.loads(ask(address, "/predict", RED)[1])["model"] == wanted
        server.send_signal(signal.SIGTERM)
        output, errors = server.communicate(timeout=60)
    assert clients.broken == []
    assert set(clients.statuses) == {200}
    assert set(clients.versions) == served
    assert output.count("answers now") == SWAPS - 1
    assert errors.count("the newer model is refused") == errors.count("\n") == 1


def resident(server) -> float:
    """Megabytes."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())[1]) / 1024


def test_memory_of_very_large_pictures_is_given_back(serving, exported_model):
    large = [encoded(COLOURS["green"], "PNG", (side, side)) for side in (1500, 2300, 900, 1900)]
    with serving(exported_model, "--threads", "2", "--cache", "0") as (address, server):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda body: ask(address, "/predict", body), 4 * [MEDIUM]))
            before = resident(server)
            for body in 2 * large:
                replies = list(pool.map(lambda body: ask(address, "/predict", body)[0].status, 2 * [body]))
                assert replies == [200, 200]
        assert resident(server) < before + 25  # twice as much where the C library is left alone


def test_what_was_refused_is_let_go_at_once(serving, exported_model):
    bombs = [post for post in hostile_requests.zips(RED) if post[0] == "zip of bombs"]
    with serving(exported_model, "--threads", "2") as (address, server):
        assert ask(address, "/predict", RED)[0].status == 200
        before = resident(server)
        for _, path, kind, body in bombs:
            assert ask(address, path, body, Content_Type=kind)[0].status in (200, 400, 413)
        for _ in range(6):
            assert ask(address, "/predict", bytes(20_000_000))[0].status == 415
        assert bombs
        assert resident(server) < before + 50  # 100 and more where a fault keeps what it is about


def test_sighup_has_the_model_opened_again(serving, export_copy):
    with serving(export_copy, "--watch", "0") as (address, server):
        before = version(address)
        renamed(export_copy, "0" * 12)
        time.sleep(0.2)
        assert version(address) == before
        server.send_signal(signal.SIGHUP)
        until(lambda: version(address) == "0" * 12)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_sighup_is_heeded_by_workers_that_are_starting(serving, export_copy):
    with serving(export_copy, "--workers", "2", "--threads", "1", "--watch", "0") as (address, server):
        renamed(export_copy, "0" * 12)
        until(lambda: len(children(server.pid)) == 2)
        server.send_signal(signal.SIGHUP)
        until(lambda: {version(address) for _ in range(8)} == {"0" * 12})
        server.send_signal(signal.SIGTERM)
        errors = server.communicate(timeout=60)[1]
    assert server.returncode == 0
    assert errors == ""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_answers_all_that_was_let_in(serving, exported_model, workers):
    options = ("--threads", "1", "--workers", workers, "--grace", "60", "--cache", "0")
    with serving(exported_model, *options, before=LINGERING) as (address, server), crowd(address, MEDIUM) as clients:
        until(lambda: sum(clients.statuses.values()) > 20)
        server.send_signal(signal.SIGTERM)
        output, errors = server.communicate(timeout=120)
        with pytest.raises(ConnectionRefusedError):  # nobody is left who answers
            ask(address, "/healthz")
    assert server.returncode == 0, output + errors
    assert errors == ""
    assert clients.broken == []
    assert set(clients.statuses) <= {200, 503}


def test_grace_that_is_not_enough_is_told_by_the_code(serving, exported_model):
    options = ("--threads", "1", "--grace", "0.3", "--cache", "0")
    with serving(exported_model, *options) as (address, server), ThreadPoolExecutor(16) as pool:
        for _ in range(16):
            pool.submit(ask, address, "/predict", huge())  # the connection is cut, and nobody asks for the result
        until(lambda: json.loads(ask(address, "/readyz")[1])["queue"]["waiting"] > 8)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 1


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_killed_worker_is_replaced(serving, exported_model):
    with serving(exported_model, "--workers", "2", "--threads", "1") as (address, server):
        until(lambda: len(children(server.pid)) == 2)
        assert ask(address, "/predict", RED)[0].status == 200
        time.sleep(1)  # one that dies sooner is replaced after a pause
        victim = children(server.pid)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(children(server.pid)) == 2 and victim not in children(server.pid))
        for _ in range(8):
            assert ask(address, "/predict", RED)[0].status == 200
        server.send_signal(signal.SIGTERM)
        errors = server.communicate(timeout=60)[1]
    assert server.returncode == 0
    assert errors == f"worker {victim} was ended by SIGKILL; another takes its place\n"


def test_workers_add_up_what_they_count_and_leave_nothing_behind(serving, exported_model, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serving(exported_model, "--workers", "2", "--threads", "1") as (address, server):
        for _ in range(10):
            assert ask(address, "/predict", RED)[0].status == 200
        counts = ask(address, "/metrics")[1].decode()
        lines = [line for line in counts.splitlines() if line.startswith("imageloom_requests_total{")]
        assert [line.split()[-1] for line in lines if 'route="/predict"' in line] == ["10.0"], counts
        assert len(list(tmp_path.iterdir())) == 1
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_what_workers_have_counted_outlives_them_and_their_queues_do_not(serving, exported_model):
    at_once = "from imageloom.serving import workers; workers._SECONDS_TO_LIVE = 0"  # another takes the place
    options = ("--workers", "2", "--threads", "1", "--queue", "5")
    with serving(exported_model, *options, before=at_once) as (address, server):

        def counted(line: str) -> float:
            return sum(
                float(value) for value in re.findall(rf"^{line} (\S+)$", ask(address, "/metrics")[1].decode(), re.M)
            )

        for _ in range(3):
            assert ask(address, "/predict", RED)[0].status == 200
        until(lambda: counted("imageloom_queue_capacity") == 10)
        victims = children(server.pid)
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        until(lambda: len(children(server.pid)) == 2 and not set(victims) & set(children(server.pid)))
        until(lambda: counted("imageloom_queue_capacity") >= 10)
        assert counted("imageloom_queue_capacity") == 10
        assert counted(r'imageloom_requests_total\{.*route="/predict".*\}') == 3


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_workers_that_end_as_soon_as_they_begin_are_the_end(serving, exported_model):
    sooner = "from imageloom.serving import workers; workers._SECONDS_TO_LIVE = 0.5"  # which is its pause as well
    with serving(exported_model, "--workers", "2", "--threads", "1", before=sooner) as (_, server):
        until(lambda: len(children(server.pid)) == 2)
        sound, _ = workers = children(server.pid)

        def kill_others() -> bool:
            for pid in set(children(server.pid)) - {sound} if server.poll() is None else ():
                with contextlib.suppress(ProcessLookupError):  # it has been buried meanwhile
                    os.kill(pid, signal.SIGKILL)
            return server.poll() is not None

        until(kill_others)
        assert server.returncode == 2
        assert "error: the processes that serve end as soon as they begin" in server.stderr.read()
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


@pytest.mark.parametrize("number", [1, 3])
def test_workers_that_end_together_are_the_end_too(number):
    code = "from imageloom.serving import workers; workers._SECONDS_TO_LIVE = 0.3; import sys; " + (
        f"workers.Supervisor({number}, lambda: 1, [], lambda asked: None).run(1)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "the processes that serve end as soon as they begin" in ended.stderr
    assert ended.stderr.count("another takes its place") >= 5


@pytest.mark.parametrize("watch", ["0.05", "0"])
def test_worker_that_replaces_another_serves_the_newest_sound_model(serving, export_copy, watch):
    with serving(export_copy, "--workers", "2", "--threads", "1", "--watch", watch) as (address, server):
        assert version(address) != "1" * 12
        renamed(export_copy, "1" * 12)
        if watch == "0":
            server.send_signal(signal.SIGHUP)
        until(lambda: {version(address) for _ in range(8)} == {"1" * 12})
        assert select.select([server.stdout], [], [], 60)[0]  # the supervisor says that it has the newer one as well
        (export_copy / "model.tflite").write_bytes(b"no model any more")
        for victim in children(server.pid):
            os.kill(victim, signal.SIGKILL)
        time.sleep(0.5)
        assert {version(address) for _ in range(8)} == {"1" * 12}


def test_second_ctrl_c_does_not_wait(serving, exported_model):
    with serving(exported_model, "--threads", "1", "--cache", "0") as (address, server):
        with ThreadPoolExecutor(16) as pool:
            asking = [pool.submit(ask, address, "/predict", huge()) for _ in range(16)]
            until(lambda: json.loads(ask(address, "/readyz")[1])["queue"]["waiting"] > 8)
            server.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert server.poll() is None
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 130
        assert sum(one.exception() is not None for one in asking) > 4  # their connections are cut


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
def test_workers_do_not_outlive_their_supervisor(serving, exported_model):
    with serving(exported_model, "--workers", "2", "--threads", "1") as (address, server):
        until(lambda: len(children(server.pid)) == 2)
        assert ask(address, "/predict", RED)[0].status == 200
        workers = children(server.pid)
        server.kill()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
