"""Recipe `probe`: multinomial logistic regression on standardised features, found by L-BFGS.

The inverse strength of regularisation, C, is the one with the lowest log-loss in cross-validation over training and
validation pictures, near duplicates in one fold; then it is fitted on all of them. C is chosen on the features' leading
principal axes: regularisation leaves little of the others, and a fit there takes a tenth of the time. With the C chosen
the folds are fitted once more, on all features, since how sure these answers are sets the temperature.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field, PositiveFloat

from imageloom.engine import cores, map_ordered
from imageloom.params import StageParams
from imageloom.recipes import logistic
from imageloom.recipes.data import Data, Fitted, measure, with_choice
from imageloom.recipes.fields import Balanced, LabelSmoothing
from imageloom.recipes.logistic import Examples, Layer, Stop
from imageloom.recipes.standard import Standard, picture_weights, smoothed

_AXES = 512

# Of the gradient: of what is kept, and of the fits that only tell how well a C does.
_FINE, _ROUGH = 1e-4, 1e-3


class ProbeParams(StageParams):
    """How the probe is fitted."""

    c: list[PositiveFloat] = Field(
        default=[0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
        min_length=1,
        description="inverse regularisation strengths to choose from; larger ones only until the loss has grown twice",
    )
    folds: int = Field(default=5, ge=2, le=20, description="of the cross-validation in which C is chosen")
    balanced: Balanced = True
    label_smoothing: LabelSmoothing = 0
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
    looks = [standard.apply(look) for look in (both.features, *both.views)]
    whole = _Problem(looks, both.classes, both.weights, classes, params)
    axes = _leading_axes(whole.looks[0])
    fold_of = _folds(both, params)
    leading = whole.on(axes)
    folds = [_Fold(leading, fold_of == fold) for fold in range(params.folds)]
    history = _choose(folds)
    strength = next(row["C"] for row in history if row["chosen"])
    fresh = np.empty((len(both.classes), classes), np.float32)

    def fit_again(fold: _Fold) -> Layer:
        # From its own layer on the axes: that of another fold has seen pictures which this one must not.
        return _Fold(whole, fold.outside).fit(strength, fold.layers[strength].on_features(axes))

    layers = list(map_ordered(fit_again, folds, cores()))
    for fold, layer in zip(folds, layers, strict=True):
        fresh[fold.outside] = layer.probabilities(whole.looks[0][fold.outside])
    everything = whole.examples(np.arange(len(both.classes)))
    layer = logistic.fit(everything, strength, Stop(params.max_iterations, _FINE), _mean(layers))
    return Fitted(standard.fold(layer.kernel, layer.bias), fresh, history, {"C": strength}, cross_validated=True)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Pictures to fit on.

    Args:
        looks: float32[N, R] each, standardised: the pictures, and other looks at them.
        classes: int[N].
        weights: float64[N].
        number: K, the number of classes.
        params: Of the recipe.
    """

    looks: list[np.ndarray]
    classes: np.ndarray
    weights: np.ndarray
    number: int
    params: ProbeParams

    def on(self, axes: np.ndarray) -> "_Problem":
        """The same, on axes float32[R, A]."""
        return replace(self, looks=[look @ axes for look in self.looks])

    def examples(self, rows: np.ndarray) -> Examples:
        """All looks at some of the pictures; a picture weighs the same, however many there are."""
        classes, count = self.classes[rows], len(self.looks)
        weights = picture_weights(classes, self.weights[rows], self.number, self.params.balanced)
        return Examples(
            np.concatenate([look[rows] for look in self.looks]),
            np.tile(smoothed(self.number, self.params.label_smoothing)[classes], (count, 1)),
            np.tile(weights / count, count).astype(np.float32),
        )


class _Fold:
    """Fits that do not see some of the pictures.

    Args:
        problem: All pictures.
        outside: bool[N], those that are not seen.
    """

    def __init__(self, problem: _Problem, outside: np.ndarray) -> None:
        self.problem, self.outside = problem, outside
        self.layers: dict[float, Layer] = {}  # by C
        self._examples = problem.examples(np.flatnonzero(~outside))

    def fit(self, strength: float, start: Layer | None = None) -> Layer:
        """Fits with a C; begins at `start`, or where the last fit ended."""
        start = start or next(reversed(self.layers.values()), None)
        stop = Stop(self.problem.params.max_iterations, _ROUGH)
        self.layers[strength] = logistic.fit(self._examples, strength, stop, start)
        return self.layers[strength]


def _choose(folds: list[_Fold]) -> list[dict[str, Any]]:
    """Tries each C from the smallest, until the loss of pictures not seen has grown twice.

    Returns:
        A row of the history for each C that was tried; that with the least loss is chosen.
    """
    problem = folds[0].problem
    history: list[dict[str, Any]] = []
    for step, strength in enumerate(sorted(problem.params.c), start=1):
        seen, unseen = _answers(folds, strength)
        row = {"step": step, "C": strength}
        history.append(row | measure(seen, problem.classes, "train") | measure(unseen, problem.classes, "validation"))
        losses = [row["validation_loss"] for row in history]
        if len(losses) > 2 and losses[-3] < losses[-2] < losses[-1]:
            break
    return with_choice(history)


def _answers(folds: list[_Fold], strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of all pictures, float32[N, K]: by the fits that have seen them, and by the one that has not."""
    problem = folds[0].problem
    seen, unseen = np.zeros((2, len(problem.classes), problem.number), np.float32)
    for fold, layer in zip(folds, map_ordered(lambda one: one.fit(strength), folds, cores()), strict=True):
        said = layer.probabilities(problem.looks[0])
        unseen[fold.outside] = said[fold.outside]
        seen[~fold.outside] += said[~fold.outside] / (len(folds) - 1)
    return seen, unseen


def _mean(layers: Sequence[Layer]) -> Layer:
    return Layer(np.mean([one.kernel for one in layers], axis=0), np.mean([one.bias for one in layers], axis=0))


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
