"""Figures of merit from class numbers, and how far each can be trusted."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassScore:
    """How one class fared; each is a share of 1 except `support`, the number of its pictures."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Interval:
    """A figure and the bounds between which it lies 95 times of 100."""

    value: float
    low: float
    high: float


def confusion_matrix(actual: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64[K, K]: rows are the actual class, columns the predicted one.

    Args:
        actual: int[N] class numbers below `classes`.
        predicted: int[N].
        classes: K.
    """
    return np.bincount(actual * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def class_scores(matrix: np.ndarray) -> list[ClassScore]:
    """Precision, recall, F1 and support of each class; 0 where nothing was predicted or present."""
    hits, support, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    precision, recall, f1 = _ratio(hits, predicted), _ratio(hits, support), _ratio(2 * hits, support + predicted)
    return [
        ClassScore(float(p), float(r), float(f), int(n))
        for p, r, f, n in zip(precision, recall, f1, support, strict=True)
    ]


def macro_f1(hits: np.ndarray, support: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes that are present or predicted.

    Args:
        hits: int[K], right answers of each class.
        support: int[K], pictures of each class.
        predicted: int[K], answers that named each class.
    """
    seen = (support + predicted) > 0
    return float(_ratio(2 * hits, support + predicted)[seen].mean())


def bootstrap(actual: np.ndarray, predicted: np.ndarray, classes: int, samples: int) -> tuple[Interval, Interval]:
    """Accuracy and macro-F1 with 95 % percentile intervals (Efron and Tibshirani 1993, chapter 13).

    Drawing again from a few pictures that were all answered right finds no doubt at all. So the interval of accuracy is
    no narrower than Wilson's, and that of macro-F1, where no draw differs from another, is that of accuracy.

    Args:
        actual: int[N] class numbers below `classes`.
        predicted: int[N].
        classes: K.
        samples: How many times N pictures are drawn with replacement.

    Returns:
        Accuracy and macro-F1.
    """

    def both(rows: np.ndarray) -> tuple[float, float]:
        truth, answer = actual[rows], predicted[rows]
        right = truth == answer
        counts = [np.bincount(which, minlength=classes) for which in (truth[right], truth, answer)]
        return float(right.mean()), macro_f1(*counts)

    random = np.random.default_rng(0)
    number = len(actual)
    drawn = np.array([both(random.integers(0, number, number)) for _ in range(samples)])  # [samples, 2]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    values = both(np.arange(number))
    least, most = wilson(values[0], number)
    accuracy = Interval(values[0], min(float(low[0]), least), max(float(high[0]), most))
    if low[1] == high[1]:
        return accuracy, Interval(values[1], min(values[1], accuracy.low), max(values[1], accuracy.high))
    return accuracy, Interval(values[1], float(low[1]), float(high[1]))


def wilson(share: float, number: int) -> tuple[float, float]:
    """Bounds of a share that was found in `number` trials, 95 % (Wilson 1927)."""
    z2 = 1.959964**2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = np.sqrt(z2 * (share * (1 - share) / number + z2 / (4 * number**2))) / (1 + z2 / number)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def majority_baseline(train: np.ndarray, test: np.ndarray) -> float:
    """Accuracy on the test pictures of always answering the class that is commonest in training."""
    return float((test == np.bincount(train).argmax()).mean())


def log_losses(probabilities: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Loss of each picture, float64[N]: minus the natural logarithm of the probability of its own class."""
    right = probabilities[np.arange(len(actual)), actual].astype(np.float64)
    return -np.log(np.maximum(right, 1e-12))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
