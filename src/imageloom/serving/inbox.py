"""Pictures that a person should look at: those that visitors say are named wrongly, and those of which the model is not
sure.

They stand in `data/inbox/` under their SHA-256, and `inbox.csv` there has a line for each reason to look: what a review
queue begins with. The folder grows to a given size and no further.
"""

import csv
import fcntl
import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from imageloom import files, images
from imageloom.errors import ImageloomError
from imageloom.predictor import Prediction

LIST = "inbox.csv"
HEADER = ("time", "id", "file", "reason", "predicted", "probability", "known", "label", "model")

# The list is read whenever something is added; so much of it takes 20 ms.
MAX_LINES = 10_000

CORRECTION, UNSURE = "correction", "unsure"

# The class of a picture that shows none of the classes.
NONE_OF_THEM = ""


class FullError(ImageloomError):
    """There is no more room."""


class Inbox:
    """Safe to use from several threads and processes.

    Args:
        folder: Where it is.
        max_bytes: How large it may grow.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = threading.Lock()

    def put(self, data: bytes, prediction: Prediction, reason: str, label: str | None = None) -> str:
        """Keeps a picture.

        What is there already for the same reason, with the same label and from the same model, stays as it is.

        Args:
            data: The picture, which has been decoded.
            prediction: What the model says.
            reason: `CORRECTION` or `UNSURE`.
            label: Name of the class that a visitor gives, or `NONE_OF_THEM`; None where nobody said anything.

        Returns:
            The picture's SHA-256.

        Raises:
            FullError: There is no room for it.
            ImageloomError: The folder cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        name = f"{digest[:20]}.{images.extension(data)}"
        row = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "id": digest,
            "file": name,
            "reason": reason,
            "predicted": prediction.name,
            "probability": f"{prediction.probabilities.max():.6f}",
            "known": "" if prediction.known is None else str(prediction.known).lower(),
            "label": "" if label is None else label,
            "model": prediction.predictor.version,
        }
        try:
            with self._locked():
                self._add(row, data)
        except OSError as fault:
            raise files.write_fault(self._folder, fault) from None
        return digest

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps out other threads, and the other worker processes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._lock, (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _add(self, row: dict[str, str], data: bytes) -> None:
        path, listed = self._folder / row["file"], self._folder / LIST
        line = _line(row.values())
        known = [_key(old) for old in _rows(listed)] if listed.exists() else []
        if _key(row) in known:
            return
        if len(known) >= MAX_LINES:
            raise FullError(f"the inbox lists the {MAX_LINES:,} pictures that it may", "look through it")
        size = sum(entry.stat().st_size for entry in self._folder.iterdir())
        needed = len(line) + (0 if path.exists() else len(data))
        if size + needed > self._max_bytes:
            raise FullError(
                f"the inbox holds the {self._max_bytes // 2**20} MB that it may", "look through it, and empty it"
            )
        if not path.exists():
            with files.atomic_file(path) as temporary:
                temporary.write_bytes(data)
        with listed.open("ab") as file:
            file.write((b"" if file.tell() else _line(HEADER)) + line)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _key(row: dict[str, str]) -> tuple[str | None, ...]:
    return tuple(row.get(name) for name in ("id", "reason", "label", "model"))


def _line(values: object) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)  # type: ignore[arg-type]
    return text.getvalue().encode()
