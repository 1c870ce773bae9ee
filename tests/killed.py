"""Kills a command at a chosen moment: a time would be too short on one machine and too long on another."""

import signal
import subprocess
import sys

# The command, killed when it is about to give a file a name for the n-th time.
_KILLED = """
import os, runpy, signal, sys

name, left = sys.argv.pop(1), int(sys.argv.pop(1))

def watch(event, arguments):
    global left
    if event == "os.rename" and os.path.basename(os.fsdecode(arguments[1])) == name:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
runpy.run_module("imageloom.cli", run_name="__main__", alter_sys=True)
"""


def run_until(name: str, times: int, *words: str) -> None:
    """Runs `imageloom` with these words until it has written a file of this name so often, and is about to again."""
    command = [sys.executable, "-c", _KILLED, name, str(times + 1), *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
