"""What an answer of an exported model costs: milliseconds a picture, and megabytes of files."""

import statistics
import time
from collections.abc import Iterable
from pathlib import Path

from imageloom.predictor import Predictor

PICTURES = 20  # enough for a median that a busy moment does not move


def measure(predictor: Predictor, pictures: Iterable[Path]) -> dict[str, float]:
    """Times the model on this machine and weighs it.

    Args:
        predictor: The model.
        pictures: Files to time it on; the first `PICTURES` that can be read are taken.

    Returns:
        `model_megabytes`, and where there are pictures `milliseconds_per_picture`: from a file's bytes to the answer,
        one picture after another on one thread, the median.
    """
    found = {"model_megabytes": megabytes(predictor)}
    contents = _contents(pictures)
    if contents:
        predictor.predict(contents[0])  # the first answer makes ready what the others use
        found["milliseconds_per_picture"] = 1000 * statistics.median(_seconds(predictor, data) for data in contents)
    return found


def megabytes(predictor: Predictor) -> float:
    """Size of the files that run the usual format, without the bounds of what it knows, in 10^6 bytes."""
    content = predictor.card.content
    entry = content["formats"][predictor.card.usual_format]
    named = {value for key, value in entry.items() if isinstance(value, str) and key not in ("head", "ood")}
    listed = [path for path in content["files"] if any(path == name or path.startswith(f"{name}/") for name in named)]
    return sum((predictor.card.folder / path).stat().st_size for path in listed) / 1e6


def _contents(pictures: Iterable[Path]) -> list[bytes]:
    found: list[bytes] = []
    for path in pictures:
        if len(found) == PICTURES:
            break
        if path.is_file():
            found.append(path.read_bytes())
    return found


def _seconds(predictor: Predictor, data: bytes) -> float:
    start = time.perf_counter()
    predictor.predict(data)
    return time.perf_counter() - start
