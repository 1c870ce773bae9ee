"""How the learning rate goes, and momentum against it, over the steps of a training."""

from typing import Literal

import numpy as np

Schedule = Literal["constant", "cosine", "one_cycle"]

# Of one cycle, as fast.ai has them: how much of it climbs, and where it begins and ends, as parts of the highest rate.
_CLIMB = 0.25
_START, _END = 1 / 25, 1e-5
_MOMENTA = (0.95, 0.85)  # at the ends, and where the rate is highest


def rates(schedule: Schedule, steps: int, highest: float) -> np.ndarray:
    """The learning rate of each step.

    Args:
        schedule: `constant`; `cosine`, from the highest rate down to nothing (Loshchilov and Hutter 2017,
            arXiv:1608.03983, without restarts); `one_cycle`, up in the first quarter and down to nothing (Smith and
            Topin 2018, arXiv:1708.07120, both ways along a cosine).
        steps: How many.
        highest: The highest rate.

    Returns:
        float64[steps].
    """
    if schedule == "constant":
        return np.full(steps, highest)
    if schedule == "cosine":
        return _along_cosine(highest, 0, steps)
    climbing = round(steps * _CLIMB)
    up = _along_cosine(highest * _START, highest, climbing)
    return np.concatenate([up, _along_cosine(highest, highest * _END, steps - climbing)])


def momenta(schedule: Schedule, steps: int, momentum: float) -> np.ndarray:
    """The momentum of each step, float64[steps]: as given, and in one cycle low where the rate is high."""
    if schedule != "one_cycle":
        return np.full(steps, momentum)
    ends, middle = _MOMENTA
    climbing = round(steps * _CLIMB)
    return np.concatenate([_along_cosine(ends, middle, climbing), _along_cosine(middle, ends, steps - climbing)])


def _along_cosine(start: float, end: float, steps: int) -> np.ndarray:
    way = (1 - np.cos(np.pi * np.arange(steps) / max(steps, 1))) / 2
    return start + (end - start) * way
