"""Curves over all thresholds: ROC and precision against recall of one class, and how sure against how right."""

from dataclasses import dataclass

import numpy as np

BINS = 15  # of the reliability diagram, as in Guo et al. 2017

POINTS = 100  # of a curve that is written or drawn, at most


@dataclass(frozen=True)
class Curve:
    """A curve, from left to right.

    Args:
        x: float64[P].
        y: float64[P].
        area: Under the ROC curve (Fawcett 2006), or the average precision.
    """

    x: np.ndarray
    y: np.ndarray
    area: float

    def thinned(self) -> "Curve":
        """The same with `POINTS` points at most, evenly spread along its length."""
        if len(self.x) <= POINTS:
            return self
        steps = np.abs(np.diff(self.x)) + np.abs(np.diff(self.y))
        along = np.concatenate([[0], np.cumsum(steps)])
        kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], POINTS)).clip(0, len(along) - 1))
        kept = np.union1d(kept, [0, len(along) - 1])
        return Curve(self.x[kept], self.y[kept], self.area)


@dataclass(frozen=True)
class Reliability:
    """How sure the answers are and how often they are right, in bins of equal width of their probability.

    Args:
        counts: int[B], answers in each bin.
        confidence: float64[B], their mean probability; 0 where there are none.
        accuracy: float64[B], the share that is right; 0 where there are none.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error (Naeini et al. 2015): the mean gap between both, over all answers."""
        return float((self.counts * np.abs(self.confidence - self.accuracy)).sum() / self.counts.sum())


def roc(scores: np.ndarray, positive: np.ndarray) -> Curve | None:
    """True positive rate over false positive rate.

    Args:
        scores: float[N], higher for the class.
        positive: bool[N], whether it is of the class.

    Returns:
        None where all pictures are of the class, or none.
    """
    hits, misses = _cumulated(scores, positive)
    if not hits[-1] or not misses[-1]:
        return None
    x, y = np.append(0, misses / misses[-1]), np.append(0, hits / hits[-1])
    return Curve(x, y, float(np.trapezoid(y, x)))


def precision_recall(scores: np.ndarray, positive: np.ndarray) -> Curve | None:
    """Precision over recall; the area is the average precision, without interpolation.

    Args:
        scores: float[N], higher for the class.
        positive: bool[N], whether it is of the class.

    Returns:
        None where no picture is of the class.
    """
    hits, misses = _cumulated(scores, positive)
    if not hits[-1]:
        return None
    precision, recall = hits / (hits + misses), hits / hits[-1]
    area = float((np.diff(recall, prepend=0) * precision).sum())
    return Curve(np.append(0, recall), np.append(precision[0], precision), area)


def reliability(probabilities: np.ndarray, actual: np.ndarray) -> Reliability:
    """Sorts the answers by how sure they are.

    Args:
        probabilities: float32[N, K].
        actual: int[N].
    """
    sure, right = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == actual
    bins = _bins(sure)
    counts = np.bincount(bins, minlength=BINS)
    sums = [np.bincount(bins, weights=values, minlength=BINS) for values in (sure, right)]
    confidence, accuracy = (np.divide(each, counts, out=np.zeros(BINS), where=counts > 0) for each in sums)
    return Reliability(counts, confidence, accuracy)


def by_chance(probabilities: np.ndarray, samples: int = 500) -> tuple[float, np.ndarray, np.ndarray]:
    """How well calibrated a classifier looks whose probabilities are true, on so few pictures.

    Whether an answer is right is drawn with the probability that it has (consistency resampling, Broecker and Smith
    2007).

    Args:
        probabilities: float32[N, K].
        samples: How many times.

    Returns:
        The mean expected calibration error, and the bounds float64[B] of each bin's accuracy, 95 %.
    """
    sure, random = probabilities.max(axis=1).astype(np.float64), np.random.default_rng(0)
    bins = _bins(sure)
    counts = np.bincount(bins, minlength=BINS)
    some = np.maximum(counts, 1)
    confidence = np.bincount(bins, weights=sure, minlength=BINS) / some
    draws = (np.bincount(bins[random.random(len(sure)) < sure], minlength=BINS) / some for _ in range(samples))
    accuracy = np.array(list(draws))  # [samples, B]
    error = (counts * np.abs(accuracy - confidence)).sum(axis=1) / len(sure)
    low, high = np.percentile(accuracy, [2.5, 97.5], axis=0)
    return float(error.mean()), low, high


def selective(sure: np.ndarray, right: np.ndarray, near: np.ndarray) -> Curve:
    """Share of the answers that is right, over the share of the pictures that is answered: from the surest to all.

    Pictures that are too far from the training pictures are answered last (selective classification, El-Yaniv and
    Wiener 2010). The area is the mean of the shares that are right.

    Args:
        sure: float[N], probability of the answer.
        right: bool[N].
        near: bool[N], whether the picture is no farther than the model's bound.
    """
    order = np.lexsort((-sure, ~near))
    number = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(right[order]) / number
    ends = np.append((np.diff(sure[order]) != 0) | (np.diff(near[order]) != 0), True)
    return Curve((number / len(order))[ends], accuracy[ends], float(accuracy.mean()))


def _bins(sure: np.ndarray) -> np.ndarray:
    """int[N], the bin of each probability."""
    return np.minimum((sure * BINS).astype(int), BINS - 1)


def _cumulated(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong ones above each threshold, from the highest; pictures of one score come together."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hits = np.cumsum(positive[order])
    return hits[ends], (ends + 1) - hits[ends]
