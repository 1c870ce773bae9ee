"""What the scripts of this folder that run whole commands have in common."""

import os
import subprocess
import sys
import time
from typing import Any


def timed(command: list[str], **options: Any) -> tuple[float, float]:
    """Runs a command to its end, which ends the benchmark where it fails.

    Args:
        command: Its words.
        options: Of `subprocess.Popen`.

    Returns:
        Wall seconds, and peak memory in MB of the largest of its processes.
    """
    start = time.perf_counter()
    child = subprocess.Popen(command, **options)
    _, status, usage = os.wait4(child.pid, 0)  # of the largest that it waited for, too
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return seconds, usage.ru_maxrss / 1024
