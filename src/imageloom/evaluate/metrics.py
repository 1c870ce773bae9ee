"""Figures of merit from class numbers, and how far each can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imageloom import wilson


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


def most_mistaken(matrix: np.ndarray, number: int) -> np.ndarray:
    """int[min(K, number)], the classes that are taken for others, or others for them, most often; in their order.

    Args:
        matrix: int[K, K], a confusion matrix.
        number: How many to choose.
    """
    wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
    return np.sort(np.argsort(-wrong, kind="stable")[:number])


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
        hits: float[K], right answers of each class.
        support: float[K], pictures of each class.
        predicted: float[K], answers that named each class.
    """
    seen = (support + predicted) > 0
    return float(_ratio(2 * hits, support + predicted)[seen].mean())


def bootstrap(
    actual: np.ndarray, predicted: np.ndarray, groups: np.ndarray, samples: int, means: dict[str, np.ndarray]
) -> dict[str, Interval]:
    """Figures with 95 % percentile intervals (Efron and Tibshirani 1993, chapter 13).

    Whole groups are drawn, since the answers to near duplicates are alike (the cluster bootstrap, Davison and Hinkley
    1997, section 3.8). Drawing again from a few pictures that were all answered right finds no doubt at all. So the
    interval of accuracy is no narrower than Wilson's, and those of shares that no draw changes are that of accuracy;
    of `means` that no draw changes low and high are equal, and tell nothing.

    Args:
        actual: int[N] class numbers.
        predicted: int[N].
        groups: int[N], numbers from 0 to G - 1 of the groups that the pictures are of.
        samples: How many times G groups are drawn with replacement.
        means: By name, float[N] of which the mean is a figure too.

    Returns:
        `accuracy`, `balanced_accuracy`, `macro_f1`, and those of `means`.
    """
    classes, number = int(max(actual.max(), predicted.max())) + 1, int(groups.max()) + 1
    shares, right = ("accuracy", "balanced_accuracy", "macro_f1"), actual == predicted

    def figures(times: np.ndarray) -> list[float]:
        weights = times[groups].astype(np.float64)  # how often each picture was drawn
        total = weights.sum()
        support, named = (np.bincount(which, weights, classes) for which in (actual, predicted))
        hits = np.bincount(actual, weights * right, classes)
        recall = _ratio(hits, support)[support > 0].mean()
        return [
            hits.sum() / total,
            recall,
            macro_f1(hits, support, named),
            *(weights @ x / total for x in means.values()),
        ]

    random = np.random.default_rng(0)
    draws = (np.bincount(random.integers(0, number, number), minlength=number) for _ in range(samples))
    drawn = np.array([figures(times) for times in draws])  # [samples, F]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    found = {
        name: Interval(float(value), float(least), float(most))
        for name, value, least, most in zip([*shares, *means], figures(np.ones(number)), low, high, strict=True)
    }
    least, most = wilson.interval(found["accuracy"].value, trials(right, groups))
    for name in shares:
        if name == "accuracy" or found[name].low == found[name].high:
            each = found[name]
            found[name] = Interval(each.value, min(each.low, least), max(each.high, most))
    return found


def trials(right: np.ndarray, groups: np.ndarray) -> float:
    """How many pictures that have nothing to do with each other would tell as much of a share as these.

    Their number, over the design effect of the groups (Kish 1965; Korn and Graubard 1998). Where all answers are right,
    or none, nothing tells how alike those of a group are, and each group counts as one picture.

    Args:
        right: bool[N].
        groups: int[N], which of them belong together.
    """
    _, members = np.unique(groups, return_inverse=True)
    pictures, number = len(right), int(members.max(initial=-1)) + 1
    if number == pictures:
        return float(pictures)
    off = right - right.mean()
    spread = float((off**2).sum())
    if number == 1 or not spread:
        return float(number)
    effect = float((np.bincount(members, off) ** 2).sum()) / spread * number / (number - 1)
    return pictures / max(effect, 1.0)


def holm(chances: Sequence[float]) -> list[float]:
    """The chances of several tests, each raised so that all together err as seldom as one of them would (Holm 1979)."""
    order = np.argsort(chances, kind="stable")
    raised = np.maximum.accumulate(np.asarray(chances)[order] * np.arange(len(chances), 0, -1))
    found = np.empty(len(chances))
    found[order] = np.minimum(raised, 1)
    return found.tolist()


def fisher(first: tuple[int, int], second: tuple[int, int]) -> float:
    """How likely two shares lie so far apart by chance: Fisher's exact test, two-sided.

    It is `scipy.stats.fisher_exact`, whose import alone takes longer than all else that is measured here.

    Args:
        first: Hits, and out of how many.
        second: The same of the others.
    """
    from scipy.special import gammaln

    def ways(number: int, chosen: np.ndarray) -> np.ndarray:
        return gammaln(number + 1) - gammaln(chosen + 1) - gammaln(number - chosen + 1)

    (hits, number), (other_hits, other) = first, second
    both = hits + other_hits
    possible = np.arange(max(0, both - other), min(number, both) + 1)
    chances = ways(number, possible) + ways(other, both - possible)
    chances = np.exp(chances - chances.max())
    as_rare = chances <= chances[possible == hits] * (1 + 1e-7)  # equal ones differ by rounding
    return float(chances[as_rare].sum() / chances.sum())


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
