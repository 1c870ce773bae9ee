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


def bootstrap(
    actual: np.ndarray, predicted: np.ndarray, samples: int, means: dict[str, np.ndarray]
) -> dict[str, Interval]:
    """Figures with 95 % percentile intervals (Efron and Tibshirani 1993, chapter 13).

    Drawing again from a few pictures that were all answered right finds no doubt at all. So the interval of accuracy is
    no narrower than Wilson's, and those of figures that no draw changes are that of accuracy.

    Args:
        actual: int[N] class numbers.
        predicted: int[N].
        samples: How many times N pictures are drawn with replacement.
        means: By name, float[N] of which the mean is a figure too.

    Returns:
        `accuracy`, `balanced_accuracy`, `macro_f1`, and those of `means`.
    """
    classes, number = int(max(actual.max(), predicted.max())) + 1, len(actual)
    shares = ("accuracy", "balanced_accuracy", "macro_f1")

    def figures(rows: np.ndarray) -> list[float]:
        truth, answer = actual[rows], predicted[rows]
        right = truth == answer
        hits, support, named = (np.bincount(which, minlength=classes) for which in (truth[right], truth, answer))
        recall = _ratio(hits, support)[support > 0].mean()
        return [right.mean(), recall, macro_f1(hits, support, named), *(each[rows].mean() for each in means.values())]

    random = np.random.default_rng(0)
    drawn = np.array([figures(random.integers(0, number, number)) for _ in range(samples)])  # [samples, F]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    found = {
        name: Interval(float(value), float(least), float(most))
        for name, value, least, most in zip([*shares, *means], figures(np.arange(number)), low, high, strict=True)
    }
    least, most = wilson(found["accuracy"].value, number)
    for name in shares:
        if name == "accuracy" or found[name].low == found[name].high:
            each = found[name]
            found[name] = Interval(each.value, min(each.low, least), max(each.high, most))
    return found


def wilson(share: float, number: int) -> tuple[float, float]:
    """Bounds of a share that was found in `number` trials, 95 % (Wilson 1927); 0 to 1 where there were none."""
    if number == 0:
        return 0.0, 1.0
    z2 = 1.959964**2
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = np.sqrt(z2 * (share * (1 - share) / number + z2 / (4 * number**2))) / (1 + z2 / number)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def majority_baseline(train: np.ndarray, test: np.ndarray) -> float:
    """Accuracy on the test pictures of always answering the class that is commonest in training."""
    return float((test == np.bincount(train).argmax()).mean())


def top_k_accuracy(probabilities: np.ndarray, actual: np.ndarray, k: int) -> float:
    """Share of the pictures whose own class is among the k most probable ones.

    Args:
        probabilities: float32[N, K].
        actual: int[N].
        k: From 1 to K.
    """
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == actual[:, None]).any(axis=1).mean())


def brier_scores(probabilities: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Score of each picture, float64[N], from 0 to 2: squared distance between probabilities and truth (Brier 1950).

    Args:
        probabilities: float32[N, K].
        actual: int[N].
    """
    own = probabilities[np.arange(len(actual)), actual].astype(np.float64)
    return (probabilities.astype(np.float64) ** 2).sum(axis=1) - 2 * own + 1


def log_losses(probabilities: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Loss of each picture, float64[N]: minus the natural logarithm of the probability of its own class."""
    right = probabilities[np.arange(len(actual)), actual].astype(np.float64)
    return -np.log(np.maximum(right, 1e-12))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
