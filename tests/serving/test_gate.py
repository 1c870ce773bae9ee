"""The gate lets in what can be answered soon, tells the others at once, and always has somebody at the desk."""

import os
import sys
import threading
import time
from typing import ClassVar

import pytest

from imageloom.serving.gate import NICENESS, Gate

PATIENCE = 60


class Task:
    """A connection with a request, which is answered when it is let."""

    connected, has_ended = True, False
    made: ClassVar[list["Task"]] = []

    def __init__(self, is_light: bool = False) -> None:
        self.made.append(self)
        self.is_light = is_light
        self.begun, self.let, self.answered = threading.Event(), threading.Event(), threading.Event()
        self.turned_away = self.cancelled = False
        self.thread = ""

    def service(self) -> None:
        self.thread = threading.current_thread().name
        self.begun.set()
        assert self.turned_away or self.is_light or self.let.wait(PATIENCE)
        self.answered.set()

    def turn_away(self) -> bool:
        self.turned_away = True
        return False

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def gate():
    gate = Gate(2, 3)
    yield gate
    for task in Task.made:
        task.let.set()
    Task.made.clear()
    gate.shutdown(timeout=PATIENCE)


def fill(gate: Gate) -> list[Task]:
    """Both threads at work and three requests waiting."""
    tasks = [Task() for _ in range(5)]
    for task in tasks[:2]:
        gate.add_task(task)
        assert task.begun.wait(PATIENCE)
    for task in tasks[2:]:
        gate.add_task(task)
    return tasks


def test_who_finds_the_queue_full_is_turned_away_at_once(gate):
    assert not gate.full
    inside = fill(gate)
    assert (gate.waiting, gate.full) == (3, True)
    late = Task()
    gate.add_task(late)
    assert late.answered.wait(PATIENCE)
    assert late.turned_away
    assert gate.turned_away == 1
    for task in inside:
        task.let.set()
        assert task.answered.wait(PATIENCE)
        assert not task.turned_away
    assert (gate.waiting, gate.full) == (0, False)


@pytest.mark.parametrize("capacity", [0, 1, 3])
def test_a_burst_finds_room_in_idle_threads_and_in_the_queue(gate, capacity):
    gate.capacity = capacity
    tasks = [Task() for _ in range(2 + capacity)]
    with gate._work._ready:  # no thread takes one meanwhile
        for task in tasks:
            assert not gate.full
            gate.add_task(task)
        assert (gate.waiting, gate.full) == (capacity, True)
    for task in tasks[:2]:
        assert task.begun.wait(PATIENCE)
    assert (gate.waiting, gate.full, gate.turned_away) == (capacity, True, 0)
    late = Task()
    gate.add_task(late)
    assert late.answered.wait(PATIENCE)
    assert late.turned_away
    for task in tasks:
        task.let.set()
        assert task.answered.wait(PATIENCE)
        assert not task.turned_away


def test_the_desk_answers_while_all_others_are_busy(gate):
    fill(gate)
    light = Task(is_light=True)
    gate.add_task(light)
    assert light.answered.wait(PATIENCE)
    assert light.thread == "desk-0"
    assert not light.turned_away


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is a process's elsewhere")
def test_those_that_predict_give_way_to_those_that_read_and_to_the_desk(gate):
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    found: list[int] = []
    gate.in_every_thread(lambda: found.append(niceness()))
    gate._desk.in_every_thread(lambda: found.append(niceness()))
    assert found == [niceness() + NICENESS, niceness() + NICENESS, niceness()]


def test_where_the_system_forbids_to_give_way_requests_are_answered_all_the_same(monkeypatch):
    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    gate, task = Gate(1), Task()
    task.let.set()
    gate.add_task(task)
    assert task.answered.wait(PATIENCE)
    gate.shutdown(timeout=0)


def test_who_has_hung_up_makes_room(gate):
    inside = fill(gate)
    inside[3].connected = False
    new = Task()
    gate.add_task(new)
    assert gate.waiting == 3
    assert not new.turned_away
    for task in [*inside, new]:
        task.let.set()
    assert new.answered.wait(PATIENCE)
    assert not inside[3].begun.is_set()


def test_work_for_every_thread_is_done_once_in_each_between_two_requests(gate):
    inside = fill(gate)
    threads: list[str] = []
    everywhere = threading.Thread(target=gate.in_every_thread, args=(lambda: threads.append(name()),))
    everywhere.start()
    time.sleep(0.05)
    assert threads == []
    for task in inside:
        task.let.set()
    everywhere.join(PATIENCE)
    assert sorted(threads) == ["predict-0", "predict-1"]


def name() -> str:
    return threading.current_thread().name


def test_fault_in_one_thread_reaches_who_asked_for_the_work(gate):
    def work() -> None:
        if name() == "predict-1":
            raise ValueError("only here")

    with pytest.raises(ValueError, match="only here"):
        gate.in_every_thread(work)
    task = Task()
    task.let.set()
    gate.add_task(task)
    assert task.answered.wait(PATIENCE)


def test_it_is_idle_when_nothing_waits_and_nothing_is_under_way(gate):
    assert gate.idle
    inside = fill(gate)
    assert not gate.idle
    for task in inside:
        task.let.set()
    for task in inside:
        assert task.answered.wait(PATIENCE)
    until = time.monotonic() + PATIENCE
    while not gate.idle:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_shutdown_gives_up_what_waits(gate):
    inside = fill(gate)
    gate.shutdown(timeout=0.01)
    assert [task.cancelled for task in inside] == [False, False, True, True, True]
    for task in inside:
        task.let.set()


def test_a_request_has_its_time_from_its_arrival(gate):
    assert gate.deadline({"imageloom.arrived": 100.0}) == 100 + gate.seconds
    assert gate.deadline({}) > time.monotonic()


def test_who_has_ended_his_side_is_the_first_to_be_turned_away(gate):
    """He may have hung up; while there is room he is answered like all others."""
    inside = fill(gate)
    inside[3].has_ended = True
    new = Task()
    gate.add_task(new)
    assert inside[3].answered.wait(PATIENCE)
    assert (inside[3].turned_away, new.turned_away, gate.waiting, gate.turned_away) == (True, False, 3, 1)
    inside[4].has_ended = True
    for task in [*inside, new]:
        task.let.set()
    assert inside[4].answered.wait(PATIENCE)
    assert not inside[4].turned_away
