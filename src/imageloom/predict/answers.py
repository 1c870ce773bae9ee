"""How answers are shown: for people, as JSON, and as a table."""

import csv
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from imageloom import console
from imageloom.predictor import Prediction, Predictor

BAR_WIDTH = 24
SHOWN = 5  # classes per picture, where people read and --top is not given


@dataclass(frozen=True)
class Answer:
    """What became of one picture.

    Args:
        file: What it is called.
        outcome: What is on it, or why nobody can tell.
        heatmap: The file that shows why; None where none was asked for.
    """

    file: str
    outcome: Prediction | str
    heatmap: Path | None = None


class Form(Protocol):
    """A form in which answers are printed, each as soon as it is known."""

    def begin(self) -> None:
        """Prints what comes first."""

    def add(self, answer: Answer) -> None:
        """Prints an answer."""

    def end(self) -> None:
        """Prints what comes last."""


class Text:
    """For people: the label, and the most probable classes with bars.

    Args:
        top: How many classes.
    """

    def __init__(self, top: int | None) -> None:
        self._top = top or SHOWN

    def begin(self) -> None:
        """See `Form`."""

    def add(self, answer: Answer) -> None:
        """See `Form`; a fault has its own line on standard error."""
        outcome = answer.outcome
        if isinstance(outcome, str):
            return
        label = f"unknown, most like {outcome.label}" if outcome.known is False else outcome.label
        ranked = outcome.to_dict(self._top)["predictions"]
        width = max(console.columns(console.readable(one["label"])) for one in ranked)
        lines = [console.readable(f"{answer.file}: {label}")]
        for one in ranked:
            label = console.readable(one["label"])
            padding = " " * (width - console.columns(label))
            lines.append(f"  {label}{padding}  {console.readable(_bar(one['probability']))} {one['probability']:7.1%}")
        console.say("\n".join(lines))

    def end(self) -> None:
        """See `Form`."""


class Json:
    """For programs: an array with one object per picture and line.

    Args:
        top: How many classes of each; None for all.
        number: How many pictures there are.
    """

    def __init__(self, top: int | None, number: int) -> None:
        self._top, self._left = top, number

    def begin(self) -> None:
        """See `Form`."""
        console.say("[")

    def add(self, answer: Answer) -> None:
        """See `Form`."""
        content: dict[str, Any] = {"file": answer.file}
        if isinstance(answer.outcome, str):
            content["error"] = answer.outcome
        else:
            content |= answer.outcome.to_dict(self._top)
        if answer.heatmap is not None:
            content["heatmap"] = str(answer.heatmap)
        self._left -= 1
        console.say(console.as_json(content) + ("," if self._left else ""))

    def end(self) -> None:
        """See `Form`."""
        console.say("]")


class Csv:
    """For spreadsheets: a row per picture, and a column per class with its probability.

    Args:
        top: How many classes of each have theirs; None for all.
        model: Who answers.
        with_heatmaps: Whether there is a column for their files.
    """

    def __init__(self, top: int | None, model: Predictor, with_heatmaps: bool) -> None:
        self._top, self._names, self._with_heatmaps = top, model.names, with_heatmaps

    def begin(self) -> None:
        """See `Form`."""
        files = ["file", "heatmap"] if self._with_heatmaps else ["file"]
        self._say([*files, "label", "known", "probability", "error", *self._names])

    def add(self, answer: Answer) -> None:
        """See `Form`."""
        files = [answer.file, str(answer.heatmap or "")] if self._with_heatmaps else [answer.file]
        if isinstance(answer.outcome, str):
            self._say([*files, "", "", "", answer.outcome, *("" for _ in self._names)])
            return
        content = answer.outcome.to_dict(self._top)
        shares = {one["name"]: one["probability"] for one in content["predictions"]}
        known = {True: "true", False: "false", None: ""}[content["known"]]
        best = content["predictions"][0]["probability"]
        self._say([*files, content["label"], known, best, "", *(shares.get(name, "") for name in self._names)])

    def end(self) -> None:
        """See `Form`."""

    def _say(self, row: list[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        _say_bytes(text.getvalue())


def complain(file: str, reason: str) -> None:
    """Prints what is wrong with a picture to standard error."""
    console.error(console.readable(f"{file}: {reason}"))


def _say_bytes(text: str) -> None:
    """Prints a table's text: names that are not in Unicode as the bytes they are, since a table has no escapes."""
    if console.fits(text) or not hasattr(sys.stdout, "buffer"):
        sys.stdout.write(text)
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(text))
    sys.stdout.flush()


def _bar(probability: float) -> str:
    eighths = round(probability * BAR_WIDTH * 8)
    bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8] * (eighths % 8 > 0)
    return bar + "·" * (BAR_WIDTH - len(bar))
