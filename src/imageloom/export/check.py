"""Runs what was exported on test pictures, and says how well it agrees with the classifier that was evaluated."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imageloom import images
from imageloom.engine import Engine, cores, map_ordered
from imageloom.errors import DataError, ModelError

_BATCH = 8  # pictures; 32 at once take half a gigabyte, and no less time

_OTHER = "run `dvc repro --force backbone`; if that does not help, choose another backbone"

_NONE = "raise split.test in params.yaml, or add pictures"

# Of an exported model: uint8[N, S, S, 3] pixels to float32[N, K] probabilities.
Answer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """Test pictures, as the classifier that was evaluated answers them.

    Args:
        pixels: uint8[N, S, S, 3] RGB.
        classes: int[N], what is on them.
        expected: float32[N, K], the classifier's probabilities.
    """

    pixels: np.ndarray
    classes: np.ndarray
    expected: np.ndarray


@dataclass(frozen=True)
class Measure:
    """How an exported model does on test pictures, beside the classifier that was evaluated.

    Args:
        pictures: How many.
        right: How many it is right on.
        others: On how many its first answer is another than the classifier's.
        lost: How many only the classifier is right on.
        won: How many only it is right on.
        difference: Largest difference of a probability.
    """

    pictures: int
    right: int
    others: int
    lost: int
    won: int
    difference: float

    def __add__(self, other: "Measure") -> "Measure":
        """Of both sets of pictures together."""
        return Measure(
            pictures=self.pictures + other.pictures,
            right=self.right + other.right,
            others=self.others + other.others,
            lost=self.lost + other.lost,
            won=self.won + other.won,
            difference=float(np.maximum(self.difference, other.difference)),  # NaN stays NaN
        )

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.pictures

    @property
    def agreement(self) -> float:
        """Share of first answers that are the classifier's."""
        return 1 - self.others / self.pictures

    @property
    def drop(self) -> float:
        """By how much its accuracy is lower than the classifier's."""
        return (self.lost - self.won) / self.pictures

    @property
    def chance(self) -> float:
        """How probable it is to lose so many more than are won where both are equally good (McNemar's exact test)."""
        from scipy.special import bdtr

        return float(bdtr(self.won, self.lost + self.won, 0.5))


def load(paths: Sequence[Path], size: int, aspect: images.Aspect) -> np.ndarray:
    """Decodes pictures, on all processors.

    Returns:
        uint8[N, size, size, 3].

    Raises:
        DataError: One cannot be read, or there is none.
    """
    if not paths:
        raise DataError("there are no pictures to try the model on", _NONE)

    def look(path: Path) -> np.ndarray:
        try:
            return images.load(path.read_bytes(), size, aspect)
        except OSError as fault:
            hint = "run `imageloom scrape` to get it again"
            raise DataError(f"cannot read {path}: {fault.strerror}", hint) from None

    return np.stack(list(map_ordered(look, paths, cores())))


def measure(answer: Answer, pictures: Pictures) -> Measure:
    """Compares a model's answers with the evaluated classifier's and with the truth."""
    answers = answer(pictures.pixels)
    best, expected = answers.argmax(axis=1), pictures.expected.argmax(axis=1)
    right, was_right = best == pictures.classes, expected == pictures.classes
    return Measure(
        pictures=len(answers),
        right=int(right.sum()),
        others=int((best != expected).sum()),
        lost=int((was_right & ~right).sum()),
        won=int((right & ~was_right).sum()),
        difference=float(np.abs(answers - pictures.expected).max()),
    )


def require_same(name: str, found: Measure, tolerance: float) -> None:
    """A format whose numbers are float32 gives the evaluated classifier's probabilities, but for rounding.

    Raises:
        ModelError: One differs by more than `tolerance`.
    """
    if not found.difference <= tolerance:
        raise ModelError(
            f"{name} differs from the evaluated classifier by {found.difference:.3g}, over {tolerance:g}", _OTHER
        )


def require_agreement(name: str, found: Measure, max_disagreement: float) -> None:
    """The first answers are the evaluated classifier's.

    One picture may always differ: two classes can be all but equally probable, and one of 200 tells nothing of 0.2 %.

    Raises:
        ModelError: More than the share `max_disagreement` of them is not, and more than one.
    """
    if found.others > max(1, max_disagreement * found.pictures):
        raise ModelError(
            f"{name} answers {found.others:,} of {found.pictures:,} test pictures otherwise than the evaluated "
            f"classifier, over {max_disagreement:.2%}",
            _OTHER,
        )


def require_accurate(name: str, found: Measure, max_drop: float) -> None:
    """A quantised format is as right as the evaluated classifier, or little less.

    Raises:
        ModelError: Its accuracy is lower by more than `max_drop`, and by more than one picture: of few pictures one is
            many per cent, and says little.
    """
    if found.lost - found.won > max(1, max_drop * found.pictures + 1e-9):
        raise ModelError(
            f"{name} is right on {found.accuracy:.1%} of {found.pictures:,} test pictures, {found.drop:.1%} less than "
            f"the evaluated classifier; at most {max_drop:.1%} is allowed (by chance as much with p = "
            f"{found.chance:.2g})",
            "raise export.representative, take int8 out of export.formats, or allow more by export.max_accuracy_drop",
        )


def tflite(model: Path) -> Answer:
    """A TFLite file, run on all processors."""
    engine = Engine(model)
    return lambda pixels: np.stack(list(map_ordered(engine, pixels, cores())))


def batched(answer: Answer) -> Answer:
    """A model that takes many pictures at once, given some at a time."""
    return lambda pixels: np.concatenate(
        [answer(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)]
    )


def milliseconds(model: Path, threads: int, repeats: int = 15) -> float:
    """How long a TFLite file takes for a picture: the median, in milliseconds."""
    from ai_edge_litert.interpreter import Interpreter

    from imageloom.quiet import no_native_stderr

    with no_native_stderr():
        interpreter = Interpreter(str(model), num_threads=threads)
        interpreter.allocate_tensors()
    seconds = []
    for _ in range(repeats + 3):  # the first ones fill the caches
        start = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[3:])) * 1000
