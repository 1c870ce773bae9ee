"""Recipe `probe`: multinomial logistic regression on standardised features, found by L-BFGS.

The inverse strength of regularisation, C, is the one whose model has the lowest log-loss on the validation pictures;
classes weigh the same however many pictures they have, if so asked. Standardisation is folded into the layer:
((x - m) / s) W + b = x (W / s) + (b - (m / s) W), where x[D], m[D], s[D], W[D, K], b[K].
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, PositiveFloat

from imageloom.params import StageParams
from imageloom.recipes.head import Head


class ProbeParams(StageParams):
    """How the probe is fitted."""

    c: list[PositiveFloat] = Field(
        default=[0.001, 0.003, 0.01, 0.03, 0.1, 1.0],
        min_length=1,
        description="inverse regularisation strengths to choose from, on the validation pictures",
    )
    balanced: bool = Field(
        default=True, description="gives each class the same weight, whatever its number of pictures"
    )
    max_iterations: int = Field(default=1000, ge=1, description="of L-BFGS, for each strength")


class Data(NamedTuple):
    """Features float32[N, D] and class numbers int[N] of a side."""

    features: np.ndarray
    classes: np.ndarray


def fit(train: Data, validation: Data, classes: int, params: ProbeParams) -> tuple[Head, list[dict[str, Any]]]:
    """Fits a head.

    Args:
        train: What to fit on; every class is there.
        validation: What to choose C on.
        classes: K, the number of classes.
        params: See `ProbeParams`.

    Returns:
        The head, and one row per C that was tried: losses and accuracies on both sides, and which was chosen.
    """
    mean, scale = train.features.mean(axis=0, dtype=np.float64), train.features.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-6, scale, 1)  # a feature that never changes tells nothing
    standardised = (train.features - mean) / scale
    weights = len(train.classes) / (classes * np.bincount(train.classes, minlength=classes))  # [K]
    heads, history = [], []
    for c, kernel, bias in _regress(standardised, train.classes, weights if params.balanced else None, params):
        folded = kernel / scale[:, None]
        head = Head(folded.astype(np.float32), (bias - mean @ folded).astype(np.float32))
        heads.append(head)
        history.append({"C": c, **_measure(head, train, "train"), **_measure(head, validation, "validation")})
    best = min(range(len(history)), key=lambda row: history[row]["validation_loss"])
    for row, entry in enumerate(history):
        entry["chosen"] = row == best
    return heads[best], history


def _regress(
    features: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, params: ProbeParams
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Each C from the smallest, its kernel float64[D, K] and bias float64[K]; a fit starts where the last one ended."""
    from sklearn.linear_model import LogisticRegression

    balance = None if weights is None else dict(enumerate(weights))
    model = LogisticRegression(class_weight=balance, max_iter=params.max_iterations, warm_start=True)
    for c in sorted(params.c):
        model.set_params(C=c).fit(features, labels)
        kernel, bias = model.coef_.T, model.intercept_
        if kernel.shape[1] == 1:  # two classes: scikit-learn gives the second's logit, the first's being 0
            kernel, bias = np.hstack([np.zeros_like(kernel), kernel]), np.array([0.0, bias[0]])
        yield c, kernel, bias


def _measure(head: Head, data: Data, side: str) -> dict[str, float]:
    probabilities = head.probabilities(data.features)
    right = probabilities[np.arange(len(data.classes)), data.classes]
    return {
        f"{side}_loss": float(-np.log(np.maximum(right, 1e-12)).mean()),
        f"{side}_accuracy": float((probabilities.argmax(axis=1) == data.classes).mean()),
    }
