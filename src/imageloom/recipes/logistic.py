"""Multinomial logistic regression by L-BFGS, on float32, with weights, smoothed targets and a start.

SciPy's L-BFGS-B with the loss below: scikit-learn's LogisticRegression takes no targets between 0 and 1, works in
float64, and its import alone takes longer than all fits on 2,000 pictures.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Stop(NamedTuple):
    """When a fit ends: after so many iterations, or when no number of the mean loss's gradient is larger."""

    iterations: int
    tolerance: float


@dataclass(frozen=True, eq=False)
class Layer:
    """A dense layer: kernel float64[D, K] and bias float64[K]."""

    kernel: np.ndarray
    bias: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Softmax of the logits, float32[N, K]."""
        return np.exp(_log_softmax(features @ self.kernel.astype(np.float32) + self.bias.astype(np.float32)))

    def on_features(self, axes: np.ndarray) -> "Layer":
        """The layer that gives on features what this one gives on what they are along axes, float32[D, R]."""
        return Layer(axes @ self.kernel, self.bias)


@dataclass(frozen=True, eq=False)
class Examples:
    """What to fit.

    Args:
        features: float32[N, D], standardised.
        targets: float32[N, K], rows of which sum to one.
        weights: float32[N].
    """

    features: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def fit(examples: Examples, strength: float, stop: Stop, start: Layer | None = None) -> Layer:
    """The layer with the least loss: sum over pictures of weight x cross-entropy, plus |W|^2 / (2 C).

    Args:
        examples: What to fit.
        strength: C, the inverse strength of regularisation, as scikit-learn has it.
        stop: When it is good enough.
        start: Where to begin; at zero if not given.
    """
    from scipy.optimize import minimize

    features, targets = examples.features, examples.targets
    weights = examples.weights[:, None].astype(np.float32)
    number, shape = len(features), (features.shape[1], targets.shape[1])
    split = shape[0] * shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        kernel, bias = flat[:split].reshape(shape), flat[split:]
        logs = _log_softmax(features @ kernel.astype(np.float32) + bias.astype(np.float32))
        error = weights * (np.exp(logs) * targets.sum(axis=1, keepdims=True) - targets)  # [N, K]
        fall = np.concatenate([(features.T @ error + kernel / strength).ravel(), error.sum(axis=0)])
        cost = -float((weights * targets * logs).sum(dtype=np.float64)) + float(np.square(kernel).sum()) / strength / 2
        return cost / number, fall.astype(np.float64) / number

    begin = np.zeros(split + shape[1]) if start is None else np.concatenate([start.kernel.ravel(), start.bias])
    options = {"maxiter": stop.iterations, "gtol": stop.tolerance, "ftol": 0}
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options=options).x
    return Layer(found[:split].reshape(shape), found[split:])


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
