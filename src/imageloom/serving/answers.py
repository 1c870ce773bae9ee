"""What is said about the pictures of a request."""

import base64
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bottle import request, response

from imageloom import heatmap
from imageloom.errors import ImageError, ImageloomError
from imageloom.predictor import Prediction, Predictor
from imageloom.serving import problems
from imageloom.serving.inbox import UNSURE
from imageloom.serving.inputs import Upload, check_deadline, parameter
from imageloom.serving.problems import RequestError
from imageloom.serving.service import Service

# Name of a picture, and what is said of it or why nothing is.
Outcome = tuple[str, dict[str, Any] | RequestError]

HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-store"}

_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Wish:
    """What is asked beside the classes.

    Args:
        top_k: How many classes to name; None names all.
        expected: Number of the class that the sender expects; None where none is named.
        heatmap: Whether to show what speaks for the first class.
        preview: Whether to show what the model looked at.
    """

    top_k: int | None = None
    expected: int | None = None
    heatmap: bool = False
    preview: bool = False


def send(content: Any) -> bytes:
    """A JSON answer."""
    response.headers.update(HEADERS)
    return problems.encoded(content)


def wish(model: Predictor) -> Wish:
    """What the request's address asks.

    Raises:
        RequestError: 400, it asks for what cannot be.
    """
    if not request.query_string:
        return Wish()
    return Wish(top_k(len(model.labels)), class_index(model, "expected"), truth("heatmap"), truth("preview"))


def top_k(classes: int) -> int | None:
    """How many classes to name.

    Raises:
        RequestError: 400, there are not so many.
    """
    text = parameter("top_k")
    if text is None:
        return None
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not 1 <= number <= classes:
        raise RequestError(400, f"top_k must be a whole number from 1 to {classes}")
    return number


def truth(name: str) -> bool:
    """A yes or no in the address.

    Raises:
        RequestError: 400, it is neither.
    """
    text = parameter(name)
    if text is None:
        return False
    if text not in _TRUTHS:
        raise RequestError(400, f"{name} must be true or false")
    return _TRUTHS[text]


def class_index(model: Predictor, key: str) -> int | None:
    """Number of the class that the address names, by its name or its label; None where it names none.

    Raises:
        RequestError: 400, there is no such class.
    """
    word = parameter(key)
    if word is None:
        return None
    for known in (model.names, model.labels):
        if word in known:
            return known.index(word)
    raise RequestError(400, f"{key}: there is no class {word[:100]!r}; /labels lists them")


def predict(service: Service, model: Predictor, upload: Upload) -> Prediction:
    """Says what is on a picture, counts it, and keeps it where it is to be kept.

    Raises:
        RequestError: It cannot be said.
    """
    check_deadline(service.gate.deadline(request.environ))
    if upload.fault:
        raise upload.fault
    try:
        prediction = service.slot.predict(model, upload.data)
    except ImageError as fault:
        service.metrics.rejected(fault.kind)
        raise problems.of_picture(fault) from None
    note(service, prediction, request.environ)
    if service.inbox and service.settings.keep_unsure and prediction.known is False:
        try:
            service.inbox.put(upload.data, prediction, UNSURE)
        except ImageloomError:
            service.metrics.rejected("inbox_full")
    return prediction


def note(service: Service, prediction: Prediction, environ: dict[str, Any]) -> None:
    """Counts a prediction, and takes it down for the access log."""
    service.metrics.predicted(prediction)
    environ["imageloom.version"] = prediction.predictor.version
    environ["imageloom.label"] = prediction.name


def answer(service: Service, model: Predictor, upload: Upload, wish: Wish) -> dict[str, Any]:
    """All that is said of a picture.

    Raises:
        RequestError: Nothing can be said.
    """
    prediction = predict(service, model, upload)
    content = prediction.to_dict(wish.top_k)
    if wish.expected is not None:
        content["expected"] = agreement(prediction, wish.expected)
    if wish.heatmap or wish.preview:
        pixels = service.slot.load(model, upload.data)
        if wish.preview:
            content["preview"] = base64.b64encode(heatmap.jpeg(pixels)).decode()
        if wish.heatmap:
            shown = heatmap.overlay(pixels, model.heatmap(pixels, int(prediction.probabilities.argmax())))
            content["heatmap"] = base64.b64encode(heatmap.jpeg(shown)).decode()
    return content


def agreement(prediction: Prediction, index: int) -> dict[str, Any]:
    """Whether a picture is of the class that its sender names."""
    model, shares = prediction.predictor, prediction.probabilities
    first = int(shares.argmax()) == index
    return {
        "label": model.labels[index],
        "name": model.names[index],
        "probability": round(float(shares[index]), 6),
        "rank": int((shares > shares[index]).sum()) + 1,
        # A picture that the model does not know speaks neither for nor against.
        "agrees": None if prediction.known is False else first,
    }


def each(service: Service, model: Predictor, uploads: Iterable[Upload], wish: Wish) -> list[Outcome]:
    """Name and answer of each of several pictures; those that cannot be used do not keep the others from it.

    Raises:
        RequestError: 503, there was no time for all of them.
    """
    outcomes: list[Outcome] = []
    for upload in service.door.counted(uploads):
        try:
            outcomes.append((upload.name, answer(service, model, upload, wish)))
        except RequestError as fault:
            if fault.status_code == 503:
                raise
            outcomes.append((upload.name, problems.without_frames(fault)))
    return outcomes


def timed(started: float) -> None:
    """Says in the answer how long it took, as browsers show it (Server-Timing, W3C)."""
    response.headers["Server-Timing"] = timing(started)


def timing(started: float) -> str:
    """How long it took since a moment of `time.perf_counter`, as that header says it."""
    return f"predict;dur={(time.perf_counter() - started) * 1000:.1f}"
