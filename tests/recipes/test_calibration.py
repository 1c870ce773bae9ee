"""A temperature makes a classifier as sure as it is right, and never worse than it was."""

import numpy as np
import pytest

from imageloom.recipes.calibration import temperature


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def drawn(number: int, factor: float, seed: int = 0, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """What a classifier says whose logits are `factor` times what is true, and classes drawn from what is true."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (number, classes))
    actual = (softmax(logits).cumsum(axis=1) > random.random((number, 1))).argmax(axis=1)
    return softmax(factor * logits), actual


def log_loss(probabilities: np.ndarray, actual: np.ndarray, divisor: float) -> float:
    scaled = softmax(np.log(np.maximum(probabilities, 1e-37).astype(np.float64)) / divisor).astype(np.float64)
    return float(-np.log(np.maximum(scaled[np.arange(len(actual)), actual], 1e-300)).mean())


@pytest.mark.parametrize("factor", [0.3, 1, 2.5, 6])
@pytest.mark.parametrize("classes", [2, 5])
def test_it_finds_by_how_much_a_classifier_is_too_sure(factor, classes):
    probabilities, actual = drawn(20_000, factor, classes=classes)
    assert temperature(probabilities, actual) == pytest.approx(factor, rel=0.05)


@pytest.mark.parametrize("number", [1, 2, 5, 12, 100])
def test_the_log_loss_of_validation_never_gets_worse(number):
    for seed in range(40):
        probabilities, actual = drawn(number, 0.2 + seed / 8, seed)
        found = temperature(probabilities, actual)
        assert log_loss(probabilities, actual, found) <= log_loss(probabilities, actual, 1) + 1e-9


@pytest.mark.parametrize("number", [500, 2000])
def test_what_is_as_sure_as_it_is_right_stays_as_it_is(number):
    found = [temperature(*drawn(number, 1, seed)) for seed in range(40)]
    assert sum(one == 1 for one in found) >= 34  # chance asks for another one time in twenty
    # What is too sure by a fifth is not let off, by as many pictures.
    assert all(temperature(*drawn(number, 1.5, seed)) > 1.2 for seed in range(40))


def test_a_few_right_answers_do_not_make_it_certain():
    probabilities = softmax(np.array([[2.0, 0], [0, 2], [1.5, 0], [0, 3], [2, 0], [0, 1.5]]))
    assert 0.3 < temperature(probabilities, np.array([0, 1, 0, 1, 0, 1])) < 1
    # Without the pull towards 1, the lowest loss is at the lower bound.
    assert log_loss(probabilities, np.array([0, 1, 0, 1, 0, 1]), 0.05) < 1e-6


def test_a_few_wrong_answers_do_not_make_it_know_nothing():
    probabilities = softmax(np.array([[2.0, 0], [0, 2], [1.5, 0]]))
    assert 1 < temperature(probabilities, np.array([1, 0, 1])) < 10


def test_what_is_certain_in_float32_is_a_number_all_the_same():
    probabilities = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float32)
    for actual in ([0, 1, 2, 0], [0, 1, 2, 1]):
        assert np.isfinite(temperature(probabilities, np.array(actual)))
    assert temperature(probabilities, np.array([0, 1, 2, 1])) > 2
