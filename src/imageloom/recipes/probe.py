"""Recipe `probe`: multinomial logistic regression on standardised features, found by L-BFGS.

The inverse strength of regularisation, C, is the one with the lowest log-loss in cross-validation over training and
validation pictures, near duplicates in one fold; then it is fitted on all of them. Cross-validation works on the
features' leading principal axes: regularisation leaves little of the others, and a fit there takes a tenth of the time.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field, PositiveFloat

from imageloom.params import StageParams
from imageloom.recipes import logistic
from imageloom.recipes.data import Data, Fitted, measure
from imageloom.recipes.logistic import Examples, Layer
from imageloom.recipes.standard import Standard, class_weights, smoothed

_AXES = 512


class ProbeParams(StageParams):
    """How the probe is fitted."""

    c: list[PositiveFloat] = Field(
        default=[0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
        min_length=1,
        description="inverse regularisation strengths to choose from; larger ones only until the loss has grown twice",
    )
    folds: int = Field(default=5, ge=2, le=20, description="of the cross-validation in which C is chosen")
    balanced: bool = Field(
        default=True, description="gives each class the same weight, whatever its number of pictures"
    )
    label_smoothing: float = Field(
        default=0, ge=0, lt=1, description="share of each target that is spread over all classes"
    )
    max_iterations: int = Field(default=300, ge=1, description="of L-BFGS, for each fit")
    seed: int = Field(default=7, ge=0, description="of the folds")


def fit(train: Data, validation: Data, classes: int, params: ProbeParams) -> Fitted:
    """Fits a head.

    Args:
        train: With `validation`, what to choose C and to fit on; every class is there.
        validation: What to give fresh answers for.
        classes: K, the number of classes.
        params: See `ProbeParams`.
    """
    both = train.joined(validation)
    standard = Standard.of(both.features)
    whole = _Problem([standard.apply(look) for look in (both.features, *both.views)], both.classes, classes, params)
    unseen, history = _cross_validate(whole.on(_leading_axes(whole.looks[0])), _folds(both, params))
    best = min(range(len(history)), key=lambda row: history[row]["validation_loss"])
    for row, entry in enumerate(history):
        entry["chosen"] = row == best
    layer = logistic.fit(whole.examples(np.arange(len(both.classes))), history[best]["C"], params.max_iterations)
    fresh = unseen[best][len(train.classes) :]
    return Fitted(standard.fold(layer.kernel, layer.bias), fresh, history, {"C": history[best]["C"]}, True)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Pictures to fit on.

    Args:
        looks: float32[N, R] each, standardised: the pictures, and other looks at them.
        classes: int[N].
        number: K, the number of classes.
        params: Of the recipe.
    """

    looks: list[np.ndarray]
    classes: np.ndarray
    number: int
    params: ProbeParams

    def on(self, axes: np.ndarray) -> "_Problem":
        """The same, on axes float32[R, A]."""
        return replace(self, looks=[look @ axes for look in self.looks])

    def examples(self, rows: np.ndarray) -> Examples:
        """All looks at some of the pictures; a picture weighs the same, however many there are."""
        classes, count = self.classes[rows], len(self.looks)
        balance = class_weights(classes, self.number) if self.params.balanced else np.ones(self.number)
        return Examples(
            np.concatenate([look[rows] for look in self.looks]),
            np.tile(smoothed(self.number, self.params.label_smoothing)[classes], (count, 1)),
            np.tile(balance[classes] / count, count).astype(np.float32),
        )


def _cross_validate(problem: _Problem, fold_of: np.ndarray) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """Tries each C from the smallest, until the loss of pictures not seen has grown twice.

    Returns:
        For each C that was tried, float32[N, K], each picture's probabilities by a fit that has not seen it; and a row
        of the history.
    """
    params, classes = problem.params, problem.classes
    folds = [_Fold(problem, fold_of == number) for number in range(fold_of.max() + 1)]
    answers, history = [], []
    for step, strength in enumerate(sorted(params.c), start=1):
        seen, unseen = np.zeros((2, len(classes), problem.number), np.float32)
        for fold in folds:
            fold.fit(strength)
            unseen[fold.outside] = fold.probabilities(fold.outside)
            seen[~fold.outside] += fold.probabilities(~fold.outside) / (len(folds) - 1)
        answers.append(unseen)
        row = {"step": step, "C": strength}
        history.append(row | measure(seen, classes, "train") | measure(unseen, classes, "validation"))
        losses = [row["validation_loss"] for row in history[-3:]]
        if len(losses) == 3 and losses[0] < losses[1] < losses[2]:
            break
    return answers, history


class _Fold:
    """A fit that does not see some of the pictures; each begins where the last one ended.

    Args:
        problem: All pictures.
        outside: bool[N], those that are not seen.
    """

    def __init__(self, problem: _Problem, outside: np.ndarray) -> None:
        self.outside = outside
        self._look, self._iterations = problem.looks[0], problem.params.max_iterations
        self._examples = problem.examples(np.flatnonzero(~outside))
        self._layer: Layer | None = None

    def fit(self, strength: float) -> None:
        """Fits with a C."""
        self._layer = logistic.fit(self._examples, strength, self._iterations, self._layer)

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Of some of the pictures, bool[N], float32[n, K]."""
        assert self._layer is not None
        return self._layer.probabilities(self._look[rows])


def _folds(data: Data, params: ProbeParams) -> np.ndarray:
    """int[N], the fold of each picture: groups are dealt out class by class, in an order that the seed decides."""
    names, first, group_of = np.unique(data.groups, return_index=True, return_inverse=True)
    order = np.random.default_rng(params.seed).permutation(len(names))
    order = order[np.argsort(data.classes[first][order], kind="stable")]
    fold_of = np.empty(len(names), int)
    fold_of[order] = np.arange(len(names)) % params.folds
    return fold_of[group_of]


def _leading_axes(features: np.ndarray) -> np.ndarray:
    """The principal axes of standardised features [N, D] along which they vary most, float32[D, A]."""
    from scipy.linalg import eigh

    number, length = features.shape
    kept = min(_AXES, number - 1, length)
    if number < length:  # the same axes from the smaller matrix: X X^T u = s u gives X^T X (X^T u) = s (X^T u)
        _, vectors = eigh(features @ features.T, subset_by_index=(number - kept, number - 1))
        axes = features.T @ vectors
        return axes / np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
    return eigh(features.T @ features, subset_by_index=(length - kept, length - 1))[1]
