"""Curves, calibration and rejection, against scikit-learn and against what is reckoned by hand."""

import numpy as np
import pytest
from sklearn import metrics as reference

from imageloom.evaluate import curves

random = np.random.default_rng(1)
POSITIVE = random.random(400) < 0.3
SCORES = np.round(POSITIVE * 0.4 + random.random(400), 2)  # many of them are equal


def test_roc_equals_scikit_learns():
    curve = curves.roc(SCORES, POSITIVE)
    x, y, _ = reference.roc_curve(POSITIVE, SCORES, drop_intermediate=False)
    assert curve.x == pytest.approx(x)
    assert curve.y == pytest.approx(y)
    assert curve.area == pytest.approx(reference.roc_auc_score(POSITIVE, SCORES))


def test_precision_and_recall_equal_scikit_learns():
    curve = curves.precision_recall(SCORES, POSITIVE)
    precision, recall, _ = reference.precision_recall_curve(POSITIVE, SCORES)
    assert curve.x[1:] == pytest.approx(recall[:-1][::-1])
    assert curve.y[1:] == pytest.approx(precision[:-1][::-1])
    assert curve.area == pytest.approx(reference.average_precision_score(POSITIVE, SCORES))


def test_a_class_without_pictures_has_no_curve():
    nothing, all_of_it = np.zeros(5, bool), np.ones(5, bool)
    assert curves.roc(SCORES[:5], nothing) is None
    assert curves.roc(SCORES[:5], all_of_it) is None
    assert curves.precision_recall(SCORES[:5], nothing) is None


def test_a_thinned_curve_keeps_its_ends_and_its_area():
    curve = curves.roc(np.arange(2000.0), np.arange(2000) % 7 > np.linspace(5, 0, 2000))
    thin = curve.thinned()
    assert len(thin.x) <= curves.POINTS + 2
    assert (thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(thin.y, thin.x) == pytest.approx(curve.area, abs=0.005)


def test_the_calibration_error_is_the_mean_gap():
    # Ten answers at 0.9, of which 6 are right: a gap of 0.3. Thirty at 0.6, of which 18 are: none.
    sure = np.array([0.9] * 10 + [0.6] * 30)
    actual = np.array([0] * 6 + [1] * 4 + [0] * 18 + [1] * 12)
    found = curves.reliability(np.stack([sure, 1 - sure], axis=1), actual)
    assert found.ece == pytest.approx(0.3 * 10 / 40)
    assert sorted(found.counts[found.counts > 0].tolist()) == [10, 30]


@pytest.mark.parametrize(("sure", "place"), [(0.5, 7), (0.9, 13), (0.6, 9), (0.95, 14)])
def test_bins_are_of_one_width(sure, place):
    """Of 15: 0.5 lies in the middle of [7 / 15, 8 / 15), and 0.9 in that of [13 / 15, 14 / 15)."""
    counts = curves.reliability(np.array([[sure, 1 - sure]]), np.array([0])).counts
    assert np.flatnonzero(counts).tolist() == [place]


def test_a_sure_answer_is_in_the_last_bin():
    assert curves.reliability(np.array([[1.0, 0.0]]), np.array([0])).counts[-1] == 1


def true_and_bold(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities float[N, 2], the same taken too boldly, and classes that are drawn by the first."""
    draw = np.random.default_rng(5)
    logits = draw.normal(0, 2, number)
    true, bold = 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(-3 * logits))
    actual = (draw.random(number) > true).astype(int)
    return np.stack([true, 1 - true], axis=1), np.stack([bold, 1 - bold], axis=1), actual


def test_probabilities_that_are_true_err_as_chance_allows_and_bold_ones_more():
    true, bold, actual = true_and_bold(600)
    for shares, is_true in ((true, True), (bold, False)):
        found, (chance, low, high) = curves.reliability(shares, actual), curves.by_chance(shares)
        some = found.counts > 0
        within = (found.accuracy[some] >= low[some]) & (found.accuracy[some] <= high[some])
        assert bool(within.mean() > 0.85) == is_true
        assert (found.ece < 1.6 * chance) == is_true


def test_fewer_answers_are_more_often_right_and_those_from_afar_come_last():
    sure, right = np.array([0.9, 0.8, 0.7, 0.6, 0.95]), np.array([True, True, False, True, False])
    near = np.array([True, True, True, True, False])
    curve = curves.selective(sure, right, near)
    assert curve.x.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert curve.y.tolist() == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5])


def test_equally_sure_answers_are_given_together():
    curve = curves.selective(np.full(4, 0.5), np.array([True, False, True, True]), np.ones(4, bool))
    assert (curve.x.tolist(), curve.y.tolist()) == ([1], [0.75])
