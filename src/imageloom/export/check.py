"""Runs what was exported on test pictures, and says how well it agrees with the classifier that was evaluated."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imageloom import images, ood
from imageloom.engine import Engine, cores, map_ordered
from imageloom.errors import DataError, ModelError
from imageloom.estimator import Estimator
from imageloom.recipes.head import Head
from imageloom.tflite_graph import TFLiteGraph

_BATCH = 4  # pictures; 32 at once take half a gigabyte, and no less time

_OTHER = "run `dvc repro --force backbone`; if that does not help, choose another backbone"

_FEW, _UNLIKELY = 4, 0.05  # pictures, and what is no chance any more

_NONE = "raise split.test in params.yaml, or add pictures"

# Of an exported model: uint8[N, S, S, 3] pixels to float32[N, K] probabilities and float32[N, D] features.
Answer = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Reference:
    """The classifier that was evaluated.

    Args:
        head: Calibrated.
        detector: Of pictures that are unlike the training pictures.
        bounds: Of what is known, as classifier.json has them.
    """

    head: Head | Estimator
    detector: ood.Detector
    bounds: Mapping[str, float]

    def known(self, probabilities: np.ndarray, features: np.ndarray) -> np.ndarray:
        """bool[N], which answers are stood by: of float32[N, K] probabilities and float32[N, D] features."""
        return ood.known(probabilities.max(axis=1), self.detector.distances(features), self.bounds)


@dataclass(frozen=True, eq=False)
class Pictures:
    """Test pictures.

    Args:
        pixels: uint8[N, S, S, 3] RGB.
        classes: int[N], what is on them.
        features: float32[N, D], on which the classifier was evaluated.
    """

    pixels: np.ndarray
    classes: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Measure:
    """How an exported model does on test pictures, beside the classifier that was evaluated.

    Args:
        pictures: How many.
        right: How many it is right on.
        others: On how many its first answer is another than the classifier's.
        lost: How many only the classifier is right on.
        won: How many only it is right on.
        known: On how many it stands by its answer.
        known_otherwise: On how many either it or the classifier does so, and not both.
        difference: Largest difference of a probability.
        feature_error: Largest distance of a feature vector from the classifier's, as a share of that one's length.
    """

    pictures: int
    right: int
    others: int
    lost: int
    won: int
    known: int
    known_otherwise: int
    difference: float
    feature_error: float

    def __add__(self, other: "Measure") -> "Measure":
        """Of both sets of pictures together."""
        counts = ("pictures", "right", "others", "lost", "won", "known", "known_otherwise")
        return Measure(
            **{name: getattr(self, name) + getattr(other, name) for name in counts},
            difference=float(np.maximum(self.difference, other.difference)),  # NaN stays NaN
            feature_error=float(np.maximum(self.feature_error, other.feature_error)),
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
    def known_agreement(self) -> float:
        """Share of the pictures that are known to both it and the classifier, or to neither."""
        return 1 - self.known_otherwise / self.pictures

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


def measure(answer: Answer, pictures: Pictures, reference: Reference) -> Measure:
    """Compares a model's answers with the evaluated classifier's and with the truth."""
    probabilities, features = answer(pictures.pixels)
    expected = reference.head.probabilities(pictures.features)
    best, expected_best = probabilities.argmax(axis=1), expected.argmax(axis=1)
    right, was_right = best == pictures.classes, expected_best == pictures.classes
    known = reference.known(probabilities, features)
    lengths = np.linalg.norm(pictures.features, axis=1)
    errors = np.linalg.norm(features - pictures.features, axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return Measure(
        pictures=len(probabilities),
        right=int(right.sum()),
        others=int((best != expected_best).sum()),
        lost=int((was_right & ~right).sum()),
        won=int((right & ~was_right).sum()),
        known=int(known.sum()),
        known_otherwise=int((known != reference.known(expected, pictures.features)).sum()),
        difference=float(np.abs(probabilities - expected).max()),
        feature_error=float(errors.max()),
    )


def require_same(name: str, found: Measure, tolerance: float) -> None:
    """A format whose numbers are float32 gives the evaluated classifier's probabilities and features, but for rounding.

    Raises:
        ModelError: A probability differs by more than `tolerance`, or a feature vector by more than this share of it.
    """
    if not found.difference <= tolerance:
        raise ModelError(
            f"{name} differs from the evaluated classifier by {found.difference:.3g}, over {tolerance:g}", _OTHER
        )
    if not found.feature_error <= tolerance:
        raise ModelError(
            f"{name} has features that differ from those that were evaluated by {found.feature_error:.3g} of their "
            f"length, over {tolerance:g}",
            _OTHER,
        )


def require_agreement(name: str, found: Measure, max_disagreement: float) -> None:
    """The first answers are the evaluated classifier's, and what is known to it is known.

    One picture may always differ: two classes can be all but equally probable, or a bound lie just beside a picture.
    More are too many where a format that differs on the share `max_disagreement` of all pictures would hardly ever
    differ on so many of these (binomial, 5 %): 3 of 200 at 0.2 %, or 4 of 433.

    Raises:
        ModelError: Too many of them are not.
    """
    from scipy.special import bdtrc

    for differing, verb in ((found.others, "answers"), (found.known_otherwise, "knows")):
        if differing > 1 and bdtrc(differing - 1, found.pictures, max_disagreement) < _UNLIKELY:
            raise ModelError(
                f"{name} {verb} {differing:,} of {found.pictures:,} test pictures otherwise than the evaluated "
                f"classifier, over {max_disagreement:.2%}",
                _OTHER,
            )


def require_accurate(name: str, found: Measure, max_drop: float) -> None:
    """A quantised format is as right as the evaluated classifier, or little less.

    Where `max_drop` of the pictures is but a few, so many are lost and won by chance: there it has to be unlikely, too
    (McNemar's test, 5 %).

    Raises:
        ModelError: Its accuracy is lower by more than `max_drop`.
    """
    allowed = max_drop * found.pictures
    if found.lost - found.won > allowed + 1e-9 and (allowed >= _FEW or found.chance < _UNLIKELY):
        raise ModelError(
            f"{name} is right on {found.accuracy:.1%} of {found.pictures:,} test pictures, {found.drop:.1%} less than "
            f"the evaluated classifier; at most {max_drop:.1%} is allowed (by chance as much with p = "
            f"{found.chance:.2g})",
            "raise export.representative, take int8 out of export.formats, or allow more by export.max_accuracy_drop",
        )


def tflite(model: Path) -> Answer:
    """A TFLite file that ends in a dense layer, run on all processors."""
    features = TFLiteGraph(model.read_bytes(), model.name).features()
    assert features is not None, f"{model.name} does not end in a dense layer"
    engine = Engine(model, [features])

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = map_ordered(lambda image: engine.tensors(image, features), pixels, cores())
        probabilities, vectors = zip(*found, strict=True)
        return np.stack(probabilities), np.stack(vectors)

    return run


def estimator(network: Path, model: Path) -> Answer:
    """An estimator on the features that a TFLite file gives, run on all processors."""
    engine, head = Engine(network), Estimator.load(model, "export")

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = np.stack(list(map_ordered(engine, pixels, cores())))
        return head.probabilities(features), features

    return run


def batched(answer: Answer) -> Answer:
    """A model that takes many pictures at once, given some at a time."""

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [answer(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)]
        probabilities, features = zip(*parts, strict=True)
        return np.concatenate(probabilities), np.concatenate(features)

    return run


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
