import numpy as np
import pytest
from sklearn import metrics as reference

from imageloom.evaluate import metrics

random = np.random.default_rng(0)
ACTUAL = random.integers(0, 4, 500)
PREDICTED = np.where(random.random(500) < 0.7, ACTUAL, random.integers(0, 4, 500))


def test_figures_equal_scikit_learns():
    matrix = metrics.confusion_matrix(ACTUAL, PREDICTED, 4)
    assert np.array_equal(matrix, reference.confusion_matrix(ACTUAL, PREDICTED))
    expected = reference.precision_recall_fscore_support(ACTUAL, PREDICTED)
    scores = metrics.class_scores(matrix)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [getattr(score, name) for score in scores] == pytest.approx(values.tolist())
    accuracy, f1 = metrics.bootstrap(ACTUAL, PREDICTED, 4, 200)
    assert accuracy.value == pytest.approx(reference.accuracy_score(ACTUAL, PREDICTED))
    assert f1.value == pytest.approx(reference.f1_score(ACTUAL, PREDICTED, average="macro"))


def test_a_class_that_is_never_predicted_counts_as_zero():
    actual, predicted = np.array([0, 0, 1, 2]), np.array([0, 0, 0, 0])
    scores = metrics.class_scores(metrics.confusion_matrix(actual, predicted, 3))
    assert [score.f1 for score in scores] == pytest.approx([2 / 3, 0, 0])
    _, f1 = metrics.bootstrap(actual, predicted, 3, 100)
    assert f1.value == pytest.approx(reference.f1_score(actual, predicted, average="macro"))


def test_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        actual = draw.integers(0, 2, 150)
        predicted = np.where(draw.random(150) < 0.8, actual, 1 - actual)
        accuracy, _ = metrics.bootstrap(actual, predicted, 2, 200)
        held += accuracy.low <= 0.8 <= accuracy.high
    assert 0.88 <= held / 200 <= 0.99


def test_majority_baseline_is_the_commonest_class_of_training():
    assert metrics.majority_baseline(np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1])) == 0.25


def test_log_losses_equal_scikit_learns():
    odds = random.random((500, 4)).astype(np.float32)
    shares = odds / odds.sum(axis=1, keepdims=True)
    assert metrics.log_losses(shares, ACTUAL).mean() == pytest.approx(
        reference.log_loss(ACTUAL, odds.astype(float) / odds.sum(axis=1, keepdims=True, dtype=float)), abs=1e-6
    )


def test_macro_f1_leaves_out_classes_that_are_neither_there_nor_answered():
    actual, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 3, 1, 1])
    _, f1 = metrics.bootstrap(actual, predicted, 5, 100)  # 2 and 4 are not there; 3 is only answered
    assert f1.value == pytest.approx((0.8 + 1 + 0) / 3)


def percentile(values: list[float], share: float) -> float:
    """The value at a share of the way from the smallest to the largest, between its two neighbours in proportion."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(values) - 1)] - ordered[low])


def test_intervals_equal_those_that_are_reckoned_by_hand():
    actual, predicted = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2], [0, 0, 0, 0, 1, 1, 1, 2, 1, 2, 2, 0]
    pairs, draw = list(zip(actual, predicted, strict=True)), np.random.default_rng(0)
    accuracies, scores = [], []
    for _ in range(300):
        drawn = [pairs[n] for n in draw.integers(0, 12, 12)]
        accuracies.append(sum(a == p for a, p in drawn) / 12)
        each = []
        for k in {name for pair in drawn for name in pair}:
            hits = sum(a == p == k for a, p in drawn)
            each.append(2 * hits / (sum(a == k for a, _ in drawn) + sum(p == k for _, p in drawn)))
        scores.append(sum(each) / len(each))
    accuracy, f1 = metrics.bootstrap(np.array(actual), np.array(predicted), 3, 300)
    assert (f1.low, f1.high) == pytest.approx((percentile(scores, 0.025), percentile(scores, 0.975)))
    # Wilson's interval of 9 of 12 is 0.4677 to 0.9111.
    assert accuracy.value == 0.75
    assert accuracy.low == pytest.approx(min(percentile(accuracies, 0.025), 0.4677), abs=1e-4)
    assert accuracy.high == pytest.approx(max(percentile(accuracies, 0.975), 0.9111), abs=1e-4)
