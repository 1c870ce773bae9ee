"""A process of its own does what it is told, and its end is noticed."""

import os
import signal
import subprocess
import sys
import time

import pytest
from jobs import die, fail, stumble, write

from imageloom.errors import ImageloomError
from imageloom.make.worker import Worker


def test_it_works_in_another_process_and_its_faults_come_back(tmp_path):
    with Worker() as worker:
        worker.finish()  # nothing was asked
        worker.begin(write, tmp_path / "one", "first")
        worker.begin(write, tmp_path / "two", "second")
        worker.finish()
        word, pid = (tmp_path / "two").read_text().split()
        assert (tmp_path / "one").read_text() == f"first {pid}"
        assert word == "second"
        assert int(pid) != os.getpid()
        worker.begin(fail, "路")
        with pytest.raises(ImageloomError, match="no 路") as raised:
            worker.finish()
        assert raised.value.hint == "look elsewhere"
        worker.begin(stumble)
        with pytest.raises(ImageloomError, match="ValueError: über") as raised:
            worker.finish()
        assert "please report it" in raised.value.hint
        worker.begin(die)
        with pytest.raises(ImageloomError, match="the system ended a process"):
            worker.finish()
        worker.begin(write, tmp_path / "three", "late")  # as where it was ended before it was asked for more
        with pytest.raises(ImageloomError, match="the system ended a process"):
            worker.finish()


SCRIPT = """
import os, pathlib, sys, time
from imageloom.make.worker import Worker

def doze(path):
    path.touch()
    time.sleep(60)

if __name__ == "__main__":
    with Worker() as worker:
        worker.begin(pathlib.Path.write_text, pathlib.Path(sys.argv[1]), "there")
        worker.finish()
        if sys.argv[2] == "busy":
            busy = pathlib.Path(sys.argv[1] + " busy")
            worker.begin(doze, busy)
            while not busy.exists():
                time.sleep(0.01)
        print(worker._process.pid, flush=True)
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("state", ["waiting", "busy"])
def test_it_does_not_outlive_the_command(state, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "x"), state], stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    for _ in range(800):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        ps = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], stdout=subprocess.PIPE, text=True)
        if ps.stdout.strip() in ("", "Z"):
            return
        time.sleep(0.05)
    pytest.fail("it is still there")
