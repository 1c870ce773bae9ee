"""Who is let in: a bounded queue before the threads that answer, and a desk that always does.

Past a bound, waiting helps nobody: it makes every answer late and the rest later (Dean and Barroso, "The Tail at
Scale", 2013). So what finds the queue full is told at once to come again, and what is let in is answered soon.
"""

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

# How many requests may wait for each thread that answers. At 10 ms a picture the last of them waits 0.2 s.
WAITING_PER_THREAD = 16

# How much less than the others those that predict insist on a processor (nice(1)). They have work for fifty times as
# long as the thread that reads requests and turns them away, which every answer waits for.
NICENESS = 5

_log = logging.getLogger("imageloom.serving")


class Task(Protocol):
    """What waitress hands over: a connection with a whole request."""

    connected: bool
    has_ended: bool

    def service(self) -> None:
        """Answers the request."""

    def turn_away(self) -> bool:
        """Lets the answer be that there is no time; False where somebody must call `service` to give it."""

    def cancel(self) -> None:
        """Gives it up."""


class Gate:
    """Distributes requests to threads; takes the place of waitress's dispatcher.

    Pictures go to the threads that predict, through the queue. What costs next to nothing (health, metrics, the page,
    every refusal) goes to the desk, a thread of its own that is never full.

    Args:
        threads: How many threads predict.
        capacity: How many requests may wait for them.
        seconds: How long after its arrival a request must be answered.

    Attributes:
        draining: Whether the server is about to end and takes no new connections.
        turned_away: How many requests found the queue full.
    """

    def __init__(self, threads: int, capacity: int | None = None, seconds: float = 30.0) -> None:
        self.threads = threads
        self.capacity = WAITING_PER_THREAD * threads if capacity is None else capacity
        self.seconds = seconds
        self.draining = False
        self.turned_away = 0
        self._work, self._desk = _Lane("predict", threads, NICENESS), _Lane("desk", 1)

    @property
    def waiting(self) -> int:
        """How many requests wait for a thread; those that idle threads are about to take do not."""
        return max(0, self._work.surplus)

    @property
    def full(self) -> bool:
        """Whether the next picture would be turned away."""
        return self._work.surplus >= self.capacity

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self._work.idle and self._desk.idle

    def deadline(self, environ: dict[str, Any]) -> float:
        """When, in seconds of `time.monotonic`, a request must have been answered."""
        arrived: float = environ.get("imageloom.arrived") or time.monotonic()
        return arrived + self.seconds

    def in_every_thread(self, work: Callable[[], object]) -> None:
        """Runs `work` once in each thread that predicts, between two requests, and waits until it has.

        Raises:
            Exception: What `work` raised in one of them.
        """
        self._work.in_every_thread(work)

    def add_task(self, task: Any) -> None:
        """Takes a request in, as waitress calls it: from its main thread, or from one that has just answered."""
        if task.is_light:
            self._desk.put(task)
            return
        for one in self._work.take_out_the_gone() if self.full else ():
            self._turn_away(one)
        if not self._work.put(task, self.capacity):
            self._turn_away(task)

    def _turn_away(self, task: Task) -> None:
        self.turned_away += 1
        if not task.turn_away():
            self._desk.put(task)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """Ends the threads after what they are at, and gives up what waits."""
        ends = time.monotonic() + timeout
        for lane in (self._work, self._desk):
            lane.stop(max(0.0, ends - time.monotonic()))
        return True


class _Lane:
    """A queue and its threads."""

    def __init__(self, name: str, threads: int, niceness: int = 0) -> None:
        self.queue: deque[Task] = deque()
        self._niceness = niceness
        self._ready = threading.Condition()
        self._stopping = False
        self._chores: list[deque[Callable[[], None]]] = [deque() for _ in range(threads)]
        self._active = 0
        self._threads = [
            threading.Thread(target=self._run, args=(chores,), name=f"{name}-{number}", daemon=True)
            for number, chores in enumerate(self._chores)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def idle(self) -> bool:
        with self._ready:
            return not self.queue and not self._active

    @property
    def surplus(self) -> int:
        """How many more tasks are queued than idle threads will take at once; below 0 where threads stay idle."""
        return len(self.queue) + self._active - len(self._chores)

    def put(self, task: Task, capacity: int | None = None) -> bool:
        """Queues a task; False when so many wait that it would have to wait too long."""
        with self._ready:
            if capacity is not None and self.surplus >= capacity:
                return False
            self.queue.append(task)
            self._ready.notify()
            return True

    def take_out_the_gone(self) -> list[Task]:
        """Takes those out of the queue whose senders have hung up, or may have; gives those that may still listen."""
        with self._ready:
            gone = [task for task in self.queue if task.has_ended or not task.connected]
            for task in gone:
                self.queue.remove(task)
        return [task for task in gone if task.connected]

    def in_every_thread(self, work: Callable[[], object]) -> None:
        faults: list[BaseException] = []
        done = threading.Semaphore(0)

        def chore() -> None:
            try:
                work()
            except BaseException as fault:
                faults.append(fault)
            finally:
                done.release()

        with self._ready:
            for chores in self._chores:
                chores.append(chore)
            self._ready.notify_all()
        for _ in self._chores:
            done.acquire()
        if faults:
            raise faults[0]

    def stop(self, seconds: float) -> None:
        with self._ready:
            self._stopping = True
            abandoned, self.queue = self.queue, deque()
            self._ready.notify_all()
        for task in abandoned:
            task.cancel()
        ends = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def _run(self, chores: deque[Callable[[], None]]) -> None:
        has_worked = 0
        if self._niceness and sys.platform == "linux":  # elsewhere it is the whole process's
            own = threading.get_native_id()
            with suppress(OSError):  # a sandbox may forbid it; without it refusals are a little later
                os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + self._niceness)
        while True:
            with self._ready:
                self._active -= has_worked
                while not (chores or self.queue or self._stopping):
                    self._ready.wait()
                if self._stopping:
                    return
                chore = chores.popleft() if chores else None
                task = None if chore else self.queue.popleft()
                has_worked = 1
                self._active += 1
            try:
                if task:
                    task.service()
                elif chore:
                    chore()
            except BaseException:
                _log.exception("a request failed")
