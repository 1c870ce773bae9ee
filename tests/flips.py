"""Wrong labels that are put in on purpose, and how many of them a ranking finds."""

from collections.abc import Sequence

import numpy as np

from imageloom.clean import labels


def flip(given: np.ndarray, rate: float, seed: int, among: Sequence[int] | None = None) -> np.ndarray:
    """Labels of which `rate` became another class, drawn at random.

    Args:
        given: int[N].
        rate: Share of all labels that is flipped.
        seed: Another seed flips others.
        among: The classes whose labels are flipped; all, if not given.
    """
    random = np.random.default_rng(seed)
    classes = given.max() + 1
    candidates = np.flatnonzero(np.isin(given, np.arange(classes) if among is None else among))
    chosen = random.choice(candidates, round(rate * len(given)), replace=False)
    flipped = given.copy()
    flipped[chosen] = (given[chosen] + random.integers(1, classes, len(chosen))) % classes
    return flipped


def queue(features: np.ndarray, given: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """int[N], rows from the most doubtful label to the least, as the check `label_issues` ranks them."""
    none = np.empty((0, features.shape[1]), np.float32)
    classes = int(given.max()) + 1
    shares, _ = labels.out_of_sample(features, given, labels.folds(groups), none, classes)
    return np.argsort(shares[np.arange(len(given)), given], kind="stable")


def found(order: np.ndarray, given: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Shares of the k wrong labels that are among the first k, and the first 2k, of a queue."""
    wrong = (given != true)[order]
    k = int(wrong.sum())
    return float(wrong[:k].sum() / k), float(wrong[: 2 * k].sum() / k)


def corrected(order: np.ndarray, given: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Labels after a reviewer who knows has looked at the first 2k of a queue."""
    first = order[: 2 * int((given != true).sum())]
    mended = given.copy()
    mended[first] = true[first]
    return mended
