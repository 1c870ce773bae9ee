"""Recipe `head`: one dense layer on the features, trained epoch by epoch with SGD or Adam, dropout and smoothed labels.

What `make_image_classifier` and Keras' transfer-learning guides train, without TensorFlow: of a linear layer with
softmax, p = softmax(x W + b), the gradient of the mean cross-entropy against targets t is x^T (p - t) / B for W[D, K]
and the mean of (p - t) for b[K], where x[B, D] is a batch and p, t are [B, K].
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat

from imageloom.errors import DataError
from imageloom.params import StageParams
from imageloom.recipes.data import Data, Fitted, best_row, measure, with_choice
from imageloom.recipes.fields import Balanced, BatchSize, Dropout, LabelSmoothing, Momentum, RateSchedule
from imageloom.recipes.head import Head
from imageloom.recipes.schedules import momenta, rates
from imageloom.recipes.standard import Standard, picture_weights, smoothed


class HeadParams(StageParams):
    """How the layer is trained."""

    epochs: int = Field(default=30, ge=1, description="times that every training picture is looked at")
    batch_size: BatchSize = 32
    optimiser: Literal["adam", "sgd"] = Field(default="adam", description="`adam`, or `sgd` with momentum")
    learning_rate: PositiveFloat = Field(default=0.001, description="the highest; `imageloom lr-find` suggests one")
    schedule: RateSchedule = "one_cycle"
    momentum: Momentum = 0.9
    dropout: Dropout = 0.2
    label_smoothing: LabelSmoothing = 0.1
    l1: NonNegativeFloat = Field(default=0, description="penalty on the sum of the weights' absolute values")
    l2: NonNegativeFloat = Field(default=0.0001, description="penalty on the sum of their squares")
    balanced: Balanced = True
    seed: int = Field(default=7, ge=0, description="of the order of the pictures and of dropout")


@dataclass(frozen=True)
class Step:
    """The layer after a step, which later steps change, and the loss of its batch.

    Args:
        kernel: float32[D, K].
        bias: float32[K].
        loss: Before the step, penalties included.
    """

    kernel: np.ndarray
    bias: np.ndarray
    loss: float

    @property
    def is_finite(self) -> bool:
        """Whether loss and layer are numbers."""
        return math.isfinite(self.loss) and bool(np.isfinite(self.kernel).all())


def fit(train: Data, validation: Data, classes: int, params: HeadParams) -> Fitted:
    """Trains for `epochs`, and keeps the epoch with the lowest log-loss on validation.

    Args:
        train: What to train on; every class is there. Of a picture with views each epoch sees one, by chance.
        validation: What to choose the epoch on.
        classes: K, the number of classes.
        params: See `HeadParams`.

    Raises:
        DataError: The loss has grown beyond all numbers.
    """
    standard = Standard.of(train.features)
    each = math.ceil(len(train.classes) / params.batch_size)
    path = rates(params.schedule, params.epochs * each, params.learning_rate)
    history: list[dict[str, Any]] = []
    for number, step in enumerate(steps(train, standard, classes, params, path), start=1):
        if not step.is_finite:
            raise DataError(
                f"the loss is no longer a number in epoch {math.ceil(number / each)}; nothing was written",
                f"lower train.head.learning_rate, which is {params.learning_rate:g}; `imageloom lr-find` suggests one",
            )
        if number % each == 0:
            head = standard.fold(step.kernel.astype(np.float64), step.bias.astype(np.float64))
            row = {"step": number // each, "learning_rate": float(path[number - 1])}
            history.append(row | _measured(head, train, "train") | _measured(head, validation, "validation"))
            if best_row(history) == len(history) - 1:
                best = head
    fresh = best.probabilities(validation.features)
    return Fitted(best, fresh, with_choice(history), {"epoch": best_row(history) + 1})


def _measured(head: Head, data: Data, side: str) -> dict[str, float]:
    return measure(head.probabilities(data.features), data.classes, side)


def steps(train: Data, standard: Standard, classes: int, params: HeadParams, path: np.ndarray) -> Iterator[Step]:
    """Takes a step for each learning rate.

    Args:
        train: What to train on.
        standard: Of its features.
        classes: K.
        params: See `HeadParams`.
        path: float64[S], the learning rates.
    """
    looks = np.stack([standard.apply(features) for features in (train.features, *train.views)])  # [V, N, D]
    weights = picture_weights(train.classes, train.weights, classes, params.balanced).astype(np.float32)
    targets = smoothed(classes, params.label_smoothing)
    random = np.random.default_rng(params.seed)
    kernel, bias = np.zeros((looks.shape[2], classes), np.float32), np.zeros(classes, np.float32)
    optimiser = _OPTIMISERS[params.optimiser]((kernel, bias))
    pushes = momenta(params.schedule, len(path), params.momentum)
    batches = _batches(len(train.classes), params.batch_size, random)
    for rate, push, rows in zip(path, pushes, batches, strict=False):
        with np.errstate(over="ignore", invalid="ignore"):  # `Step.is_finite` tells
            view = random.integers(0, len(looks), len(rows))
            x, labels = looks[view, rows], train.classes[rows]
            if params.dropout:
                x = x * (random.random(x.shape, np.float32) >= params.dropout) / np.float32(1 - params.dropout)
            loss, error = _loss(x @ kernel + bias, targets[labels], weights[rows])
            loss += params.l1 * float(np.abs(kernel).sum()) + params.l2 * float(np.square(kernel).sum())
            slope = x.T @ error + params.l1 * np.sign(kernel) + 2 * params.l2 * kernel
            optimiser.step((slope.astype(np.float32), error.sum(axis=0)), rate, push)
        yield Step(kernel, bias, loss)


def _loss(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The batch's weighted mean cross-entropy, and its gradient by the logits [B, K]."""
    logits = logits - logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = float(-(weights * (targets * logs).sum(axis=1)).mean())
    return loss, (np.exp(logs) - targets) * weights[:, None] / len(weights)


def _batches(number: int, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Row numbers of batch after batch, epoch after epoch, without end; each epoch in an order of its own."""
    while True:
        order = random.permutation(number)
        yield from (order[start : start + size] for start in range(0, number, size))


class _SGD:
    """Stochastic gradient descent with Nesterov's momentum (Sutskever et al. 2013)."""

    def __init__(self, variables: tuple[np.ndarray, ...]) -> None:
        self._variables = variables
        self._velocities = [np.zeros_like(variable) for variable in variables]

    def step(self, slopes: tuple[np.ndarray, ...], rate: float, momentum: float) -> None:
        for variable, velocity, slope in zip(self._variables, self._velocities, slopes, strict=True):
            velocity *= np.float32(momentum)
            velocity -= np.float32(rate) * slope
            variable += np.float32(momentum) * velocity - np.float32(rate) * slope


class _Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), its first moment's decay given with each step."""

    _DECAY, _EPSILON = 0.999, 1e-7

    def __init__(self, variables: tuple[np.ndarray, ...]) -> None:
        self._variables = variables
        self._means = [np.zeros_like(variable) for variable in variables]
        self._squares = [np.zeros_like(variable) for variable in variables]
        self._left_of_mean = self._left_of_square = 1.0  # what of the zeros at the start is left in the moments

    def step(self, slopes: tuple[np.ndarray, ...], rate: float, momentum: float) -> None:
        self._left_of_mean *= momentum
        self._left_of_square *= self._DECAY
        scale = rate / (1 - self._left_of_mean)
        root = math.sqrt(1 - self._left_of_square)
        for variable, mean, square, slope in zip(self._variables, self._means, self._squares, slopes, strict=True):
            mean += np.float32(1 - momentum) * (slope - mean)
            square += np.float32(1 - self._DECAY) * (slope * slope - square)
            variable -= np.float32(scale) * mean / (np.sqrt(square) / np.float32(root) + np.float32(self._EPSILON))


_OPTIMISERS: dict[str, type[_Adam] | type[_SGD]] = {"adam": _Adam, "sgd": _SGD}
