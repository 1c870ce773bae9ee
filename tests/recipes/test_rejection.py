"""What is withheld makes the rest as right as was asked, or as can be, and no more is withheld than allowed."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from imageloom import ood
from imageloom.errors import DataError
from imageloom.recipes.rejection import RejectionParams, bounds, max_distance


def answers(confidences, right) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of two classes with these shares for class 0, and the classes that make them right or wrong."""
    shares = np.array(confidences, np.float32)
    return np.stack([shares, 1 - shares], axis=1), np.where(right, 0, 1)


def drawn(number: int, seed: int = 0):
    """Answers that are right as often as they say, and distances."""
    random = np.random.default_rng(seed)
    shares = random.uniform(0.5, 1, number)
    return *answers(shares, random.random(number) < shares), np.exp(random.normal(0, 0.2, number)).astype(np.float32)


def known(probabilities, distances, found) -> np.ndarray:
    return (probabilities.max(axis=1) >= found.min_confidence) & (distances <= found.max_distance)


@pytest.mark.parametrize("target", [0.78, 0.85, 0.92])
def test_precision_is_reached_with_as_many_answers_as_can_be(target):
    probabilities, actual, distances = drawn(4000)
    found = bounds(probabilities, distances, actual, RejectionParams(target_precision=target, least_share=0))
    answered = known(probabilities, distances, found)
    right = probabilities.argmax(axis=1) == actual
    assert right[answered].mean() == pytest.approx(found.precision)
    assert answered.mean() == pytest.approx(found.share_known)
    assert target <= found.precision < target + 0.002
    fresh, classes, far = drawn(4000, seed=1)
    again = known(fresh, far, found)
    assert (fresh.argmax(axis=1) == classes)[again].mean() == pytest.approx(target, abs=0.03)
    for lower in np.sort(probabilities.max(axis=1))[::50]:  # the bound is the smallest
        if lower < found.min_confidence - 1e-6:
            more = (probabilities.max(axis=1) >= lower) & (distances <= found.max_distance)
            assert right[more].mean() < target


def test_no_more_is_withheld_than_allowed():
    probabilities, actual, distances = drawn(4000)
    found = bounds(probabilities, distances, actual, RejectionParams(target_precision=0.99, least_share=0.9))
    assert found.precision < 0.99
    assert 0.9 <= found.share_known < 0.93
    everything = (probabilities.argmax(axis=1) == actual).mean()
    assert found.precision > everything + 0.01
    assert 0 < found.share_at_target < 0.9
    insisting = bounds(probabilities, distances, actual, RejectionParams(target_precision=0.99, least_share=0))
    assert insisting.share_known == found.share_at_target
    assert insisting.precision >= 0.99


def test_all_is_known_where_all_is_right_enough():
    probabilities, actual = answers([0.9, 0.8, 0.7, 0.6], [True] * 4)
    found = bounds(probabilities, np.ones(4), actual, RejectionParams())
    assert (found.min_confidence, found.precision, found.share_known) == (0, 1, 1)
    assert found.max_distance >= 1


def test_answers_that_are_equally_sure_are_known_together():
    probabilities, actual = answers([0.9, 0.7, 0.7, 0.7], [True, True, True, False])
    found = bounds(probabilities, np.ones(4), actual, RejectionParams(target_precision=0.9, least_share=0))
    assert (found.precision, found.share_known) == (1, 0.25)
    assert found.min_confidence == pytest.approx(0.8, abs=1e-5)  # halfway to the surest that is not known


def test_what_is_told_is_what_the_bound_gives_where_answers_are_about_equally_sure():
    confidences = 1 - 6e-8 * np.arange(1, 41)
    probabilities, actual = answers(confidences, np.arange(40) < 20)
    found = bounds(probabilities, np.ones(40), actual, RejectionParams(target_precision=1, least_share=0))
    answered = ood.known(probabilities.max(axis=1), np.ones(40), found.to_dict())
    assert answered.sum() > 20
    assert found.share_known == answered.mean()
    assert found.precision == (probabilities.argmax(axis=1) == actual)[answered].mean() < 1


def test_what_cannot_be_reached_is_told():
    probabilities, actual = answers([0.9, 0.8, 0.7], [False, True, True])
    found = bounds(probabilities, np.ones(3), actual, RejectionParams(target_precision=0.9, least_share=0))
    assert (found.share_at_target, found.share_known, found.min_confidence) == (0, 1, 0)
    assert found.precision == pytest.approx(2 / 3)


def test_what_is_far_is_not_counted_as_answered():
    probabilities, actual = answers([0.95] * 98 + [0.99] * 2, [True] * 98 + [False] * 2)
    distances = np.append(np.linspace(0.9, 1.1, 98), [9.0, 9.0])
    found = bounds(probabilities, distances, actual, RejectionParams(target_precision=1, distance_quantile=0.9))
    assert found.max_distance < 9
    assert found.share_known == pytest.approx(0.98)
    assert found.precision == 1


@pytest.mark.parametrize("number", [6, 20, 100, 2000])
def test_few_pictures_do_not_make_the_next_ones_strange(number):
    shares = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        bound = max_distance(np.exp(random.normal(0, 0.25, number)), 0.99)
        shares.append((np.exp(random.normal(0, 0.25, 5000)) <= bound).mean())
    assert np.mean(shares) == pytest.approx(0.99, abs=0.012)


def test_of_two_pictures_the_bound_is_known_in_closed_form():
    # The logarithms are -1 and 1, so the mean is 0 and the deviation the root of 2; one more picture makes that the
    # root of 2 (1 + 1/2), times Student's t of one degree of freedom, tan(pi (q - 1/2)), which is 1 for three quarters.
    assert max_distance(np.array([1 / math.e, math.e]), 0.75) == pytest.approx(math.exp(math.sqrt(3)), abs=1e-5)


@pytest.mark.parametrize("quantile", [0.6, 0.995])
def test_of_one_picture_it_is_twice_as_far(quantile):
    assert max_distance(np.array([3.5], np.float32), quantile) == 7


@pytest.mark.parametrize("number", [1, 2, 3])
def test_even_one_picture_gives_bounds(number):
    probabilities, actual, distances = drawn(number)
    found = bounds(probabilities, distances, actual, RejectionParams())
    assert all(np.isfinite(value) for value in found.to_dict().values())
    assert found.share_known == 1


def test_a_distance_that_is_no_number_is_near_and_moves_no_bound():
    probabilities, actual, distances = drawn(400)
    params = RejectionParams(target_precision=0.8)
    unknown = np.append(distances, [np.nan, np.nan]).astype(np.float32)
    more, of_more = np.append(probabilities, [[0.99, 0.01]] * 2, axis=0), np.append(actual, [0, 0])
    found, before = bounds(more, unknown, of_more, params), bounds(probabilities, distances, actual, params)
    assert found.max_distance == before.max_distance
    everything = bounds(more, unknown, of_more, RejectionParams(target_precision=0.01))
    assert everything.share_known == pytest.approx(1 - (distances > found.max_distance).sum() / 402)
    with pytest.raises(DataError, match="features of the validation pictures are no numbers"):
        bounds(probabilities, np.full(400, np.nan, np.float32), actual, params)


@pytest.mark.parametrize("wrong", [{"target_precision": 95}, {"least_share": 1.1}, {"distance_quantile": 0.2}])
def test_shares_are_shares(wrong):
    with pytest.raises(ValidationError):
        RejectionParams(**wrong)
