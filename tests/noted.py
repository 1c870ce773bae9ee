"""A crawl in a process of its own, of which a test sees how much it has noted: a time would be too short somewhere."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

# The command, which writes a dot for each address that its ledger has.
_NOTING = """
import sys
from imageloom import cli
from imageloom.fetch import ledger

dots, ledger.SECONDS_TO_LOSE = open(sys.argv.pop(1), "ab", 0), float(sys.argv.pop(1))
record = ledger.Ledger.record

def noted(self, row):
    record(self, row)
    dots.write(b".")

ledger.Ledger.record = noted
sys.exit(cli.main(sys.argv[1:]))
"""


class NotedCrawl:
    """`imageloom scrape` in a session of its own.

    Args:
        folder: The project.
        seconds_to_lose: How much of what was noted a kill may lose.

    Attributes:
        process: Its process.
    """

    def __init__(self, folder: Path, seconds_to_lose: float = 0.1) -> None:
        self._dots = folder.with_name(f"{folder.name} noted")
        self._dots.write_bytes(b"")
        words = [str(self._dots), str(seconds_to_lose), "scrape", "-C", str(folder)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _NOTING, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def noted(self) -> int:
        """How many addresses it has noted."""
        return self._dots.stat().st_size


def wait_until(is_so: Callable[[], object], seconds: float = 120) -> None:
    """Waits for something that must come."""
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, "it never came to be so"
        time.sleep(0.01)
