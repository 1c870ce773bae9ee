"""`imageloom predict FILE...`: names what is on pictures, with the same answers as the server's."""

import argparse
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from itertools import repeat
from pathlib import Path
from typing import get_args

from imageloom import console, images, runtimes
from imageloom.engine import cores, map_ordered
from imageloom.errors import DataError, ImageError
from imageloom.predict import heatmaps, inputs
from imageloom.predict.answers import Answer, Csv, Form, Json, Text, complain
from imageloom.predict.inputs import Picture
from imageloom.predictor import Predictor

FEWEST_FOR_A_BAR = 50  # pictures

Body = bytes | ImageError | OSError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="FILE",
        help="a picture, a folder that is searched for pictures, a pattern in quotes such as 'photos/**/*.jpg', "
        "a web address, or - for a picture that is piped in",
    )
    parser.add_argument(
        "--files-from", metavar="LIST", help="a file that names more of these, one a line; - for what is piped in"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json",
        action="store_true",
        help="print a JSON array with one object per picture and line, in the order given: `file`, then `label`, "
        "`known`, `predictions` (most probable first) and `model` as POST /predict answers them, or `error` where "
        "there is nothing to say; each line is printed as soon as it is known",
    )
    form.add_argument(
        "--csv",
        action="store_true",
        help="print a table with a row per picture and a column per class, for spreadsheets",
    )
    parser.add_argument(
        "--top", type=_positive, metavar="N", help="name the N most probable classes (default: 5; all in JSON and CSV)"
    )
    parser.add_argument(
        "--heatmap",
        type=Path,
        metavar="DIR",
        help="write each picture, as the model sees it, with what speaks for the most probable class coloured",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="ask this host or network although it is inside, on every port or, as in localhost:8000, on one; "
        "may be repeated",
    )
    _add_model_arguments(parser)


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="models/export",
        metavar="MODEL",
        help="an exported folder, a .tflite or .onnx file or a SavedModel's folder, of ours or of others, or "
        "mlflow:models/NAME@alias (default: %(default)s)",
    )
    parser.add_argument(
        "--aspect",
        choices=get_args(images.Aspect),
        help="how a picture becomes square: its centre, with white bars, or squashed (default: as the model was "
        "trained; where nobody says, squashed, or cropped when one side is more than 1.5 times the other)",
    )
    others = parser.add_argument_group("models that others made")
    others.add_argument(
        "--labels", type=Path, metavar="FILE", help="the classes, one a line, where the model does not hold them"
    )
    others.add_argument(
        "--input_mean",
        "--input-mean",
        type=float,
        metavar="X",
        help="what is subtracted from the pixels, 0 to 255 (default: what the model says, or else 0)",
    )
    others.add_argument(
        "--input_std",
        "--input-std",
        type=float,
        metavar="X",
        help="what they are then divided by (default: what the model says, or else 255)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Predicts every picture.

    Returns:
        0, or 2 when a picture could not be predicted; the others are answered all the same.

    Raises:
        ImageloomError: There is no usable model, or a folder holds no picture.
    """
    words = arguments.paths + (inputs.listed(arguments.files_from) if arguments.files_from else [])
    if not words:
        raise DataError("no picture is named", "name files, folders or addresses: imageloom predict photo.jpg")
    model = runtimes.open_model(
        arguments.model, arguments.aspect, arguments.labels, arguments.input_mean, arguments.input_std
    )
    failed = 0
    with inputs.opened(words, arguments.allow_host) as pictures:
        form = _form(arguments, model, len(pictures))
        many = len(pictures) >= FEWEST_FOR_A_BAR
        # Fewer than that are done before one could read a bar, which takes a while to load.
        with console.progress("predict", len(pictures), log=console.remark) if many else nullcontext() as bar:
            form.begin()
            for done, answer in enumerate(_answers(model, pictures, arguments.heatmap), start=1):
                if isinstance(answer.outcome, str):
                    failed += 1
                    complain(answer.file, answer.outcome)
                form.add(answer)
                if bar is not None:
                    bar.update(done, note=f"{failed} failed" if failed else "")
            form.end()
    return 2 if failed else 0


def _form(arguments: argparse.Namespace, model: Predictor, number: int) -> Form:
    if arguments.json:
        return Json(arguments.top, number)
    if arguments.csv:
        return Csv(arguments.top, model, arguments.heatmap is not None)
    return Text(arguments.top)


def _answers(model: Predictor, pictures: Sequence[Picture], folder: Path | None) -> Iterable[Answer]:
    """What is on each picture, or why nobody can tell, in the order of `pictures`; heat maps go into `folder`."""
    targets = heatmaps.targets(pictures, folder)

    def look(item: tuple[Picture, Path | None, Body | None]) -> Answer:
        picture, target, body = item
        body = _body(picture) if body is None else body
        try:
            if not isinstance(body, bytes):
                raise body
            pixels = model.load(body)
        except ImageError as fault:
            return Answer(picture.name, fault.message)
        except OSError as fault:
            return Answer(picture.name, fault.strerror or str(fault))
        prediction = model.predict_pixels(pixels)
        if target is not None:
            heatmaps.write(model, pixels, prediction, target)
        return Answer(picture.name, prediction, target)

    # The network is waited for by more threads than look at pictures; a file is read by the one that looks at it.
    remote = any(picture.is_remote for picture in pictures)
    bodies = map_ordered(_body, pictures, inputs.FETCHED_AT_ONCE) if remote else repeat(None, len(pictures))
    items = zip(pictures, targets, bodies, strict=True)
    # A pool for one picture would cost a second interpreter, in time and in memory.
    return map(look, items) if len(pictures) == 1 else map_ordered(look, items, min(cores(), len(pictures)))


def _body(picture: Picture) -> Body:
    try:
        return picture.read()
    except (ImageError, OSError) as fault:
        return fault


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more; found {text!r}")
    return int(text)
