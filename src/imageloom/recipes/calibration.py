"""How sure a classifier says it is, set right on the validation pictures: temperature scaling (Guo et al. 2017)."""

import math

import numpy as np

_BOUNDS = (0.05, 20.0)  # far beyond what is met
_DEVIATION = 0.25  # of ln T
_CHANCE = 1.92  # nats: one more parameter gains them by chance in one sample of twenty (Wilks 1938)


def temperature(probabilities: np.ndarray, classes: np.ndarray) -> float:
    """The number T by which to divide the logits so that the log-loss is lowest.

    A few pictures that are all answered right would ask for T = 0 and full certainty; so each T pays as if ln T came
    from a normal distribution around 0. Its deviation is the one that was best for fresh pictures, whether 30, 100 or
    450 were looked at and whether the classifier was as sure as it should be or 2.5 times more or less. Since T = 1
    pays nothing, the log-loss of the validation pictures never gets worse.

    T stays 1 where the log-loss would fall by less than a hundredth and by no more than chance: what is that near to
    being as sure as it is right gets worse for fresh pictures by the error of T.

    Args:
        probabilities: float32[N, K], uncalibrated, of the validation pictures.
        classes: int[N], the classes that they are of.

    Returns:
        T, rounded to four digits.
    """
    from scipy.optimize import minimize_scalar

    # Logits are known up to a number for each row, which softmax does not see.
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))

    def loss(candidate: float) -> float:
        scaled = logits / candidate
        scaled -= scaled.max(axis=1, keepdims=True)
        right = scaled[np.arange(len(classes)), classes]
        return float((np.log(np.exp(scaled).sum(axis=1)) - right).sum())

    def cost(exponent: float) -> float:
        return loss(math.exp(exponent)) + (exponent / _DEVIATION) ** 2 / 2

    bounds = tuple(math.log(bound) for bound in _BOUNDS)
    found = math.exp(minimize_scalar(cost, bounds=bounds, method="bounded").x)
    before = loss(1)
    return round(found, 4) if before - loss(found) >= min(_CHANCE, before / 100) else 1.0
