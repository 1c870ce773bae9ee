"""Several processes that serve on the same sockets, and one that watches over them.

The sockets listen in all of them: whoever is free takes the next connection, and when a process is killed, those that
it had not taken yet are taken by the others.
"""

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

from imageloom import console
from imageloom.errors import ImageloomError

# Where `metrics` shares its counts, before it is imported.
SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS_BETWEEN_LOOKS = 0.1

# A worker that ends sooner would end again: the next one waits, and after some in a row there is none. Those that end
# together are one.
_SECONDS_TO_LIVE, _IN_A_ROW = 1.0, 5

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    """Keeps so many workers alive until it is told to end.

    Args:
        number: How many.
        work: What a worker does, in a process of its own; gives its exit code.
        sockets: What they listen on; ours are closed when the end begins, or nobody would be told that it has.
        each_look: Called about ten times a second, with whether SIGHUP has come since.
    """

    def __init__(
        self, number: int, work: Callable[[], int], sockets: list[socket.socket], each_look: Callable[[bool], None]
    ) -> None:
        self._number, self._work, self._sockets, self._each_look = number, work, sockets, each_look
        self._born: dict[int, float] = {}
        self._told: signal.Signals | None = None
        self._asked = False
        self._stillborn, self._next_birth = 0, 0.0

    def run(self, grace: float) -> int:
        """Runs the workers until SIGTERM or Ctrl-C, and passes these and SIGHUP on to them.

        Args:
            grace: How many seconds they may take to end; later they are killed.

        Returns:
            0 when all of them answered what they had after SIGTERM, 130 after Ctrl-C, 1 otherwise.

        Raises:
            ImageloomError: Workers end as soon as they begin.
        """
        folder = tempfile.mkdtemp(prefix="imageloom-metrics-")
        os.environ[SHARED_METRICS] = folder
        try:
            for number in _FORWARDED:
                signal.signal(number, self._pass_on)
            while self._told is None:
                self._fill_up()
                asked, self._asked = self._asked, False
                self._each_look(asked)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                self._bury()
            codes = self._await_end(grace)
        except BaseException:
            self._pass_on(signal.SIGTERM, None)
            self._await_end(0)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        # One that had not begun yet is ended by the signal itself.
        return 130 if self._told is signal.SIGINT else int(any(code not in (0, -signal.SIGTERM) for code in codes))

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._asked = True
        else:
            self._told = signal.Signals(number)
            for one in self._sockets:
                one.close()
        for pid in list(self._born):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _fill_up(self) -> None:
        """Starts the workers that are missing; after SIGHUP not before there was a look, whose model is theirs."""
        if time.monotonic() < self._next_birth:
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)  # what comes meanwhile is for the new ones as well
        while len(self._born) < self._number and self._told is None and not self._asked:
            supervisor, pid = os.getpid(), os.fork()
            if pid == 0:
                _be_worker(self._work, supervisor)
            self._born[pid] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)

    def _bury(self) -> list[int]:
        """Exit codes of the workers that have ended."""
        codes, ages, now = [], [], time.monotonic()
        for pid, born in list(self._born.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._born[pid]
                codes.append(os.waitstatus_to_exitcode(status))
                ages.append(now - born)
                self._report(pid, codes[-1])
        if ages and self._told is None:
            self._stillborn = self._stillborn + 1 if max(ages) < _SECONDS_TO_LIVE else 0
            if self._stillborn:
                self._next_birth = now + _SECONDS_TO_LIVE
            if self._stillborn == _IN_A_ROW:
                raise ImageloomError("the processes that serve end as soon as they begin", "try --workers 1")
        return codes

    def _report(self, pid: int, code: int) -> None:
        from imageloom.serving import metrics  # not sooner: it looks for SHARED_METRICS when it is imported

        metrics.forget(pid)
        if self._told is None:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            console.remark(f"worker {pid} {how}; another takes its place")

    def _await_end(self, grace: float) -> list[int]:
        codes = []
        ends = time.monotonic() + grace + 1
        while self._born and time.monotonic() < ends:
            codes += self._bury()
            time.sleep(0.02)
        for pid in self._born:
            os.kill(pid, signal.SIGKILL)
        while self._born:
            codes += self._bury()
            time.sleep(0.02)
        return codes


def _be_worker(work: Callable[[], int], supervisor: int) -> None:
    code = 1
    try:
        os.setpgid(0, 0)  # Ctrl-C is for the supervisor, which passes it on
        for number in _FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGHUP})  # it waits until `work` lets it come
        threading.Thread(target=_end_with, args=(supervisor,), name="orphan", daemon=True).start()
        code = work()
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)  # not through what the supervisor would do at its end


def _end_with(supervisor: int) -> None:
    """Ends this process in good order when its supervisor is no more."""
    while os.getppid() == supervisor:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
