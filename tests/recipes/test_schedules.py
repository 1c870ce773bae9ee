"""Learning rates go as is said of them."""

import numpy as np
import pytest

from imageloom.recipes.schedules import momenta, rates


def test_one_cycle_climbs_for_a_quarter_and_falls_to_nothing():
    path = rates("one_cycle", 100, 0.5)
    assert path.shape == (100,)
    assert path.argmax() == 25
    assert path[25] == pytest.approx(0.5)
    assert path[0] == pytest.approx(0.02)
    assert (np.diff(path[:26]) > 0).all()
    assert (np.diff(path[25:]) < 0).all()
    assert path[-1] < 0.001


def test_momentum_goes_against_the_rate_in_one_cycle():
    path, pushes = rates("one_cycle", 80, 1), momenta("one_cycle", 80, 0.5)
    assert pushes.argmin() == path.argmax()
    assert (pushes[0], pushes.min()) == (pytest.approx(0.95), pytest.approx(0.85))
    assert momenta("cosine", 5, 0.5).tolist() == [0.5] * 5


def test_cosine_falls_from_the_highest():
    path = rates("cosine", 50, 2)
    assert path[0] == 2
    assert path[25] == pytest.approx(1)
    assert (np.diff(path) < 0).all()


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_few_steps_are_enough(schedule, steps):
    path = rates(schedule, steps, 0.1)
    assert len(path) == len(momenta(schedule, steps, 0.9)) == steps
    assert path.max() == pytest.approx(0.1)
