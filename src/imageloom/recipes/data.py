"""What recipes are trained on, and what they give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from imageloom.estimator import Estimator
from imageloom.recipes.head import Head

AnyHead = TypeVar("AnyHead", bound=Head | Estimator)


@dataclass(frozen=True, eq=False)
class Data:
    """The pictures of a side of the split, as the backbone sees them.

    Args:
        features: float32[N, D].
        classes: int[N], class numbers.
        groups: N names; pictures with the same are near duplicates. Each is a group of its own if not given.
        views: float32[N, D] each, other looks at the same pictures, such as mirrored: to train on, not to answer by.
        files: N pictures, for recipes that look at pixels.
        weights: float64[N], how much each picture counts in training, of which only the ratios matter; all the same if
            not given.
    """

    features: np.ndarray
    classes: np.ndarray
    groups: np.ndarray = field(default_factory=lambda: np.empty(0, str))
    views: tuple[np.ndarray, ...] = ()
    files: tuple[Path, ...] = ()
    weights: np.ndarray = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if not len(self.groups):
            object.__setattr__(self, "groups", np.arange(len(self.classes)).astype(str))
        if not len(self.weights):
            object.__setattr__(self, "weights", np.ones(len(self.classes)))

    def joined(self, other: "Data") -> "Data":
        """These pictures, then the others."""
        return Data(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.classes, other.classes]),
            np.concatenate([self.groups, other.groups]),
            tuple(np.concatenate(pair) for pair in zip(self.views, other.views, strict=True)),
            self.files + other.files,
            np.concatenate([self.weights, other.weights]),
        )


@dataclass(frozen=True, eq=False)
class Fitted(Generic[AnyHead]):
    """What a recipe gives.

    Args:
        head: What was fitted, uncalibrated.
        fresh: float32[M, K], uncalibrated probabilities by fits that have not seen the pictures: the V validation ones,
            or the training and then the validation ones.
        history: A row for each step, all with the same columns: `step` from 1, what was tried, `train_loss`,
            `train_accuracy`, `validation_loss`, `validation_accuracy`, and `chosen`, true in one.
        chosen: What was decided, such as C.
        cross_validated: Whether the head was fitted on validation pictures too.
        training: Digest by which a training is known that has told of its epochs while it ran; empty of others.
    """

    head: AnyHead
    fresh: np.ndarray
    history: list[dict[str, Any]]
    chosen: dict[str, Any]
    cross_validated: bool = False
    training: str = ""


def best_row(history: Sequence[Mapping[str, Any]]) -> int:
    """The place of the row with the lowest `validation_loss`; of several, the first."""
    return min(range(len(history)), key=lambda place: history[place]["validation_loss"])


def with_choice(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `chosen`, which is true in the best."""
    best = best_row(history)
    return [{**row, "chosen": place == best} for place, row in enumerate(history)]


def measure(probabilities: np.ndarray, classes: np.ndarray, side: str) -> dict[str, float]:
    """Mean log-loss and accuracy, under names that begin with the side's."""
    right = probabilities[np.arange(len(classes)), classes]
    return {
        f"{side}_loss": float(-np.log(np.maximum(right, 1e-12)).mean()),
        f"{side}_accuracy": float((probabilities.argmax(axis=1) == classes).mean()),
    }
