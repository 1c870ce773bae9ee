"""Label issues: pictures whose class a probe that never saw them finds improbable.

The probe is ridge regression on the classes' indicators, with standardised square roots of the features: its
five-fold cross-validation needs one pass over them, since sums over four folds are sums over all less those over one
(a second, where logistic regression takes ten; it finds more flipped labels at that). With Z[N, D] standardised,
Y[N, K] the indicators less their means, W = (Z'Z + λ D I)⁻¹ Z'Y. Scores become probabilities by a softmax whose
temperature fits the held-out labels best (Guo et al. 2017).

Pictures are ranked by the probability of the class that they were given, the self-confidence of confident learning
(Northcutt et al. 2021), as in cleanlab, with which tests compare it; it is not imported, since it takes 4 s to start.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOLDS = 5
_PENALTY = 1.0  # λ
_ROWS = 4096  # at a time, which keeps memory flat
_SHARPNESS = np.geomspace(1, 64, 61)  # inverse temperatures to choose from
_ENOUGH = 100  # groups above which a hash deals them out evenly


@dataclass(frozen=True)
class Probe:
    """Linear scores of square roots of features: float32[D, K] and float32[K]."""

    kernel: np.ndarray
    bias: np.ndarray

    def scores(self, features: np.ndarray) -> np.ndarray:
        """float32[N, K] for features float32[N, D]; about 1 for the class that it is, and 0 for others."""
        blocks = [_roots(features[i : i + _ROWS]) @ self.kernel + self.bias for i in range(0, len(features), _ROWS)]
        return np.concatenate([np.empty((0, len(self.bias)), np.float32), *blocks])


@dataclass
class _Sums:
    """Over N pictures: x'x [D, D], x'y [D, K], x [D], y [K]; float64, y being indicators."""

    squares: np.ndarray
    products: np.ndarray
    features: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, labels: np.ndarray, classes: int) -> "_Sums":
        length = features.shape[1]
        sums = cls(np.zeros((length, length)), np.zeros((length, classes)), np.zeros(length), np.zeros(classes))
        for start in range(0, len(features), _ROWS):
            block = _roots(features[start : start + _ROWS])
            given = np.eye(classes, dtype=np.float32)[labels[start : start + _ROWS]]
            sums.squares += block.T @ block
            sums.products += block.T @ given
            sums.features += block.sum(axis=0, dtype=np.float64)
            sums.classes += given.sum(axis=0, dtype=np.float64)
        return sums

    def without(self, part: "_Sums") -> "_Sums":
        return _Sums(*(mine - theirs for mine, theirs in zip(vars(self).values(), vars(part).values(), strict=True)))

    def fit(self) -> Probe:
        number = self.classes.sum()
        mean, shares = self.features / number, self.classes / number
        spread = np.maximum(self.squares.diagonal() / number - mean**2, 0)
        scale = np.sqrt(np.where(spread > 1e-8, spread, 1))  # a feature that never changes tells nothing
        gram = self.squares - np.outer(number * mean, mean)
        gram /= scale[:, None]
        gram /= scale
        gram[np.diag_indices_from(gram)] += _PENALTY * len(mean)
        target = (self.products - number * np.outer(mean, shares)) / scale[:, None]
        # The penalty keeps the condition number low: single precision is enough, and takes half the time.
        kernel = np.linalg.solve(gram.astype(np.float32), target.astype(np.float32)) / scale[:, None]
        return Probe(kernel.astype(np.float32), (shares - mean @ kernel).astype(np.float32))


def folds(groups: Sequence[str]) -> np.ndarray:
    """int[N], the fold of each picture: groups stay together, whatever others there are.

    Few groups are dealt out in turn, so that every fold has some.
    """
    distinct = set(groups)
    digests = {root: int.from_bytes(hashlib.sha256(root.encode()).digest()[:8], "big") for root in distinct}
    if len(distinct) < _ENOUGH:
        digests = {root: place for place, root in enumerate(sorted(distinct, key=lambda root: (digests[root], root)))}
    return np.array([digests[root] % FOLDS for root in groups], int)


def out_of_sample(
    features: np.ndarray, labels: np.ndarray, parts: np.ndarray, others: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities by probes that were not fitted on the pictures.

    Args:
        features: float32[N, D] of labelled pictures.
        labels: int[N], their classes.
        parts: int[N], their folds.
        others: float32[M, D] of pictures without labels, which all labelled ones tell of.
        classes: K.

    Returns:
        float32[N, K] and float32[M, K].
    """
    sums = [_Sums.of(features[parts == part], labels[parts == part], classes) for part in range(FOLDS)]
    total = _Sums(*(sum(values) for values in zip(*(vars(each).values() for each in sums), strict=True)))
    scores = np.zeros((len(features), classes), np.float32)
    for part, held_out in enumerate(sums):
        rest = total.without(held_out)
        if held_out.classes.sum() and rest.classes.sum():
            scores[parts == part] = rest.fit().scores(features[parts == part])
    sharpness = _sharpness(scores, labels)
    found = total.fit().scores(others) if len(others) else np.empty((0, classes), np.float32)
    return _softmax(sharpness * scores), _softmax(sharpness * found)


def fit_predict(train_x: np.ndarray, train_y: np.ndarray, x: np.ndarray, classes: int) -> np.ndarray:
    """Scores of pictures by a probe that is fitted on others.

    Args:
        train_x: float32[N, D].
        train_y: int[N].
        x: float32[n, D].
        classes: K.

    Returns:
        float32[n, K], the largest of each row being the answer.
    """
    return _Sums.of(train_x, train_y, classes).fit().scores(x)


def _sharpness(scores: np.ndarray, labels: np.ndarray) -> float:
    """The inverse temperature with the lowest log-loss."""
    rows = np.arange(len(labels))
    losses = [-np.log(np.maximum(_softmax(each * scores)[rows, labels], 1e-12)).mean() for each in _SHARPNESS]
    return float(_SHARPNESS[int(np.argmin(losses))])


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def _roots(features: np.ndarray) -> np.ndarray:
    """Square roots, with the sign kept: pooled activations are skewed, and their roots are less so (Hellinger)."""
    return np.sign(features) * np.sqrt(np.abs(features))
