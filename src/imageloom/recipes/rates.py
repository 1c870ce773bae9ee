"""Which learning rate suits: training with a rate that grows from step to step, and the loss along the way.

The learning-rate range test of Smith 2017, "Cyclical Learning Rates for Training Neural Networks" (arXiv:1506.01186),
as fast.ai runs and reads it: the loss smoothed, the rate growing by the same factor each step, an end where the loss
has grown several times, and a tenth of the rate that did best.
"""

from dataclasses import dataclass

import numpy as np

from imageloom.recipes import dense
from imageloom.recipes.data import Data
from imageloom.recipes.dense import HeadParams
from imageloom.recipes.standard import Standard

_RATES = (1e-6, 10.0)
_STEPS = 150
_SMOOTHING = 0.9  # of the moving average of the losses
_ENOUGH = 4  # times the lowest loss: there the test ends


@dataclass(frozen=True, eq=False)
class Sweep:
    """What came of the test.

    Args:
        rates: float64[S], growing.
        losses: float64[S], smoothed, of the batch before each step.
    """

    rates: np.ndarray
    losses: np.ndarray

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the loss is lowest, two digits of it: well before it grows."""
        return float(f"{self.rates[self.losses.argmin()] / 10:.1e}")


def sweep(train: Data, classes: int, params: HeadParams) -> Sweep:
    """Trains the head of `params` with a rate that grows from step to step.

    Args:
        train: What to train on.
        classes: K.
        params: Of the recipe `head`; its own rate and schedule are not used.
    """
    constant = params.model_copy(update={"schedule": "constant"})
    rates = np.geomspace(*_RATES, _STEPS)
    losses: list[float] = []
    average = 0.0
    for number, step in enumerate(dense.steps(train, Standard.of(train.features), classes, constant, rates), start=1):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * step.loss
        losses.append(average / (1 - _SMOOTHING**number))  # without the zero that it began with
        if not losses[-1] < _ENOUGH * min(losses):
            break
    return Sweep(rates[: len(losses)], np.array(losses))
