"""Label issues: the ranking, its probabilities, and the folds."""

import flips
import numpy as np
import pytest

from imageloom.clean import labels


def clouds(number: int, classes: int = 3, length: int = 24, apart: float = 1.2) -> tuple[np.ndarray, np.ndarray]:
    """Features around a middle for each class, and the classes."""
    random = np.random.default_rng(5)
    middles = random.normal(size=(classes, length)) * apart
    true = np.arange(number) % classes
    return np.abs(middles[true] + random.normal(size=(number, length))).astype(np.float32), true


def names(number: int) -> list[str]:
    return [f"picture {row}" for row in range(number)]


def test_flipped_labels_come_first():
    features, true = clouds(600)
    given = flips.flip(true, 0.1, seed=1)
    first, twice = flips.found(flips.queue(features, given, names(600)), given, true)
    assert first > 0.7
    assert twice > 0.9


def test_a_ranking_by_chance_finds_few():
    _, true = clouds(600)
    given = flips.flip(true, 0.1, seed=1)
    first, twice = flips.found(np.random.default_rng(0).permutation(600), given, true)
    assert first < 0.3
    assert twice < 0.4


def test_a_reviewer_who_corrects_the_queue_brings_accuracy_back():
    features, true = clouds(900)
    given = flips.flip(true, 0.15, seed=1, among=[0])
    mended = flips.corrected(flips.queue(features[:600], given[:600], names(600)), given[:600], true[:600])

    def accuracy(learned: np.ndarray) -> float:
        found = labels.fit_predict(features[:600], learned, features[600:], 3)
        return float((found.argmax(axis=1) == true[600:]).mean())

    assert accuracy(mended) >= accuracy(true[:600]) - 0.01
    assert accuracy(given[:600]) < accuracy(true[:600]) - 0.01


def test_the_ranking_is_cleanlabs():
    from cleanlab.rank import get_label_quality_scores

    features, true = clouds(120)
    given = flips.flip(true, 0.1, seed=2)
    shares, _ = labels.out_of_sample(features, given, labels.folds(names(120)), features[:0], 3)
    ours = shares[np.arange(120), given]
    theirs = get_label_quality_scores(given, shares.astype(float), method="self_confidence")
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_no_probe_sees_what_it_tells_of():
    """A picture with a label of its own kind: only a probe that saw it could know."""
    random = np.random.default_rng(0)
    features, chance = random.random((300, 200), np.float32), random.integers(0, 2, 300)
    shares, _ = labels.out_of_sample(features, chance, labels.folds(names(300)), features[:0], 2)
    assert (shares.argmax(axis=1) == chance).mean() < 0.62
    seen = labels.fit_predict(features, chance, features, 2)
    assert (seen.argmax(axis=1) == chance).mean() > 0.8


def test_sums_of_folds_give_what_fitting_on_the_rest_gives():
    features, true = clouds(200)
    parts = labels.folds(names(200))
    shares, others = labels.out_of_sample(features, true, parts, features[:7], 3)
    for part in range(labels.FOLDS):
        alone = labels.fit_predict(features[parts != part], true[parts != part], features[parts == part], 3)
        np.testing.assert_array_equal(alone.argmax(axis=1), shares[parts == part].argmax(axis=1))
    whole = labels.fit_predict(features, true, features[:7], 3)
    np.testing.assert_array_equal(whole.argmax(axis=1), others.argmax(axis=1))
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)


def test_probabilities_are_about_as_often_right_as_they_say():
    features, true = clouds(3000, apart=0.4)
    shares, _ = labels.out_of_sample(features, true, labels.folds(names(3000)), features[:0], 3)
    confident = shares.max(axis=1)
    assert confident.mean() == pytest.approx((shares.argmax(axis=1) == true).mean(), abs=0.04)


@pytest.mark.parametrize("number", [12, 5000])
def test_groups_stay_in_one_fold_and_folds_are_even(number):
    groups = [f"group {row // 2}" for row in range(number)]
    found = labels.folds(groups)
    assert all(found[row] == found[row + 1] for row in range(0, number, 2))
    counts = np.bincount(found, minlength=labels.FOLDS)
    assert counts.min() > 0.8 * number / labels.FOLDS - 2


def test_a_fold_is_the_same_whatever_else_comes():
    before = labels.folds(names(500))
    np.testing.assert_array_equal(labels.folds(names(900))[:500], before)


def test_a_class_that_no_other_fold_has_is_never_answered():
    features, true = clouds(40)
    true[:] = true % 2
    true[7] = 2
    shares, _ = labels.out_of_sample(features, true, labels.folds(names(40)), features[:0], 3)
    assert shares[7].argmax() != 2
