"""`imageloom predict FILE...`: names what is on pictures, with the same answers as the server's."""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from imageloom import console
from imageloom.engine import cores, map_ordered
from imageloom.errors import DataError, ImageError
from imageloom.predictor import Prediction, Predictor

# What files in a folder are taken for pictures; a file named on the command line is tried whatever its name.
EXTENSIONS = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib"}
EXTENSIONS |= {".tif", ".tiff", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"}

# No picture of up to images.MAX_PIXELS is larger; it keeps a film named by mistake out of memory.
MAX_BYTES = 512 * 2**20

BAR_WIDTH = 24
SHOWN = 5  # classes per picture, where people read and --top is not given

Outcome = Prediction | str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="FILE", help="a picture, or a folder that is searched for pictures"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a JSON array with one object per picture and line, in the order given: `file`, then `label`, "
        "`predictions` (most probable first) and `model` as POST /predict answers them, or `error` where there is "
        "nothing to say; each line is printed as soon as it is known",
    )
    parser.add_argument(
        "--top", type=_positive, metavar="N", help=f"name the N most probable classes (default: {SHOWN}; all in JSON)"
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=Path("models/export"),
        metavar="DIR",
        help="folder of the exported model (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Predicts every picture.

    Returns:
        0, or 2 when a file could not be predicted; the others are answered all the same.

    Raises:
        ImageloomError: There is no usable model, or a folder holds no picture.
    """
    predictor = Predictor(arguments.model)
    paths = list(_pictures(arguments.paths))
    show = _show_json if arguments.json else _show_text
    failed = show(paths, _outcomes(predictor, paths), arguments.top)
    return 2 if failed else 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more; found {text!r}")
    return int(text)


def _pictures(paths: Sequence[Path]) -> Iterator[Path]:
    """The files, and those below the folders, in a stable order."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(
            Path(folder) / name
            for folder, _, names in os.walk(path)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS
        )
        if not found:
            raise DataError(
                f"no picture in {_readable(str(path))}", "name a folder of pictures, or the files themselves"
            )
        yield from found


def _outcomes(predictor: Predictor, paths: Sequence[Path]) -> Iterable[Outcome]:
    """What is on each picture, or why nobody can tell, in the order of `paths`."""

    def work(path: Path) -> Outcome:
        try:
            return predictor.predict(_read(path))
        except ImageError as fault:
            return fault.message
        except OSError as fault:
            return fault.strerror or str(fault)

    # A pool for one picture would cost a second interpreter, in time and in memory.
    return map(work, paths) if len(paths) == 1 else map_ordered(work, paths, min(cores(), len(paths)))


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise ImageError("not a file", "not_image")  # a pipe or a device may never end
    if path.stat().st_size > MAX_BYTES:
        raise ImageError(f"larger than {MAX_BYTES // 2**20} MB", "not_image")
    return path.read_bytes()


def _show_json(paths: Sequence[Path], outcomes: Iterable[Outcome], top: int | None) -> int:
    failed = 0
    console.say("[")
    for number, (path, outcome) in enumerate(zip(paths, outcomes, strict=True), start=1):
        answer: dict[str, Any] = {"file": str(path)}
        if isinstance(outcome, str):
            failed += 1
            answer["error"] = outcome
            _complain(path, outcome)
        else:
            answer |= outcome.to_dict(top)
        console.say(_as_json(answer) + ("," if number < len(paths) else ""))
    console.say("]")
    return failed


def _show_text(paths: Sequence[Path], outcomes: Iterable[Outcome], top: int | None) -> int:
    failed = 0
    for path, outcome in zip(paths, outcomes, strict=True):
        if isinstance(outcome, str):
            failed += 1
            _complain(path, outcome)
            continue
        console.say(_readable(f"{path}: {outcome.label}"))
        ranked = outcome.to_dict(top or SHOWN)["predictions"]
        width = max(console.columns(_readable(one["label"])) for one in ranked)
        for one in ranked:
            label = _readable(one["label"])
            padding = " " * (width - console.columns(label))
            console.say(f"  {label}{padding}  {_readable(_bar(one['probability']))} {one['probability']:7.1%}")
    return failed


def _complain(path: Path, reason: str) -> None:
    console.error(_readable(f"{path}: {reason}"))


def _as_json(answer: dict[str, Any]) -> str:
    """JSON in the labels' own script, or with escapes where the output cannot hold it, as names not in Unicode."""
    text = json.dumps(answer, ensure_ascii=False)
    return text if _fits(text) else json.dumps(answer)


def _fits(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _readable(text: str) -> str:
    """The text with everything replaced that would move the cursor or that the output cannot hold."""
    joiners = " \u200c\u200d"  # these hold Persian words and family emoji together
    text = "".join(letter if letter.isprintable() or letter in joiners else "\ufffd" for letter in text)
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _bar(probability: float) -> str:
    eighths = round(probability * BAR_WIDTH * 8)
    bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8] * (eighths % 8 > 0)
    return bar + "·" * (BAR_WIDTH - len(bar))
