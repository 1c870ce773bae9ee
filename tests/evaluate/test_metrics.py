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
    found = metrics.bootstrap(ACTUAL, PREDICTED, 200, {})
    assert found["accuracy"].value == pytest.approx(reference.accuracy_score(ACTUAL, PREDICTED))
    assert found["macro_f1"].value == pytest.approx(reference.f1_score(ACTUAL, PREDICTED, average="macro"))
    balanced = reference.balanced_accuracy_score(ACTUAL, PREDICTED)
    assert found["balanced_accuracy"].value == pytest.approx(balanced)


def test_a_class_that_is_never_predicted_counts_as_zero():
    actual, predicted = np.array([0, 0, 1, 2]), np.array([0, 0, 0, 0])
    scores = metrics.class_scores(metrics.confusion_matrix(actual, predicted, 3))
    assert [score.f1 for score in scores] == pytest.approx([2 / 3, 0, 0])
    f1 = metrics.bootstrap(actual, predicted, 100, {})["macro_f1"]
    assert f1.value == pytest.approx(reference.f1_score(actual, predicted, average="macro"))


def test_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        actual = draw.integers(0, 2, 150)
        predicted = np.where(draw.random(150) < 0.8, actual, 1 - actual)
        accuracy = metrics.bootstrap(actual, predicted, 200, {})["accuracy"]
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
    f1 = metrics.bootstrap(actual, predicted, 100, {})["macro_f1"]  # 2 and 4 are not there; 3 is only answered
    assert f1.value == pytest.approx((0.8 + 1 + 0) / 3)


def percentile(values: list[float], share: float) -> float:
    """The value at a share of the way from the smallest to the largest, between its two neighbours in proportion."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(values) - 1)] - ordered[low])


def test_intervals_equal_those_that_are_reckoned_by_hand():
    actual, predicted = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2], [0, 0, 0, 0, 1, 1, 1, 2, 1, 2, 2, 0]
    losses = [0.1 * n for n in range(12)]
    pairs, draw = list(zip(actual, predicted, losses, strict=True)), np.random.default_rng(0)
    accuracies, scores, recalls, means = [], [], [], []
    for _ in range(300):
        drawn = [pairs[n] for n in draw.integers(0, 12, 12)]
        accuracies.append(sum(a == p for a, p, _ in drawn) / 12)
        means.append(sum(loss for *_, loss in drawn) / 12)
        each, found = [], []
        for k in {name for a, p, _ in drawn for name in (a, p)}:
            hits, shown = sum(a == p == k for a, p, _ in drawn), sum(a == k for a, _, _ in drawn)
            each.append(2 * hits / (shown + sum(p == k for _, p, _ in drawn)))
            found += [hits / shown] if shown else []
        scores.append(sum(each) / len(each))
        recalls.append(sum(found) / len(found))
    found = metrics.bootstrap(np.array(actual), np.array(predicted), 300, {"loss": np.array(losses)})
    for name, values in (("macro_f1", scores), ("balanced_accuracy", recalls), ("loss", means)):
        bounds = (percentile(values, 0.025), percentile(values, 0.975))
        assert (found[name].low, found[name].high) == pytest.approx(bounds), name
    # Wilson's interval of 9 of 12 is 0.4677 to 0.9111.
    accuracy = found["accuracy"]
    assert accuracy.value == 0.75
    assert accuracy.low == pytest.approx(min(percentile(accuracies, 0.025), 0.4677), abs=1e-4)
    assert accuracy.high == pytest.approx(max(percentile(accuracies, 0.975), 0.9111), abs=1e-4)


def test_a_few_right_answers_leave_doubt():
    found = metrics.bootstrap(np.array([0, 0, 1]), np.array([0, 0, 1]), 100, {})
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert found[name].value == found[name].high == 1
        assert found[name].low == pytest.approx(0.4385, abs=1e-4)  # Wilson's of 3 of 3


def test_the_brier_score_is_the_distance_to_the_truth():
    odds = random.random((500, 4)).astype(np.float32)
    shares = odds / odds.sum(axis=1, keepdims=True)
    expected = ((shares - np.eye(4)[ACTUAL]) ** 2).sum(axis=1)
    assert metrics.brier_scores(shares, ACTUAL) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_accuracy_equals_scikit_learns(k):
    shares = random.random((500, 4)).astype(np.float32)
    expected = reference.top_k_accuracy_score(ACTUAL, shares, k=k)
    assert metrics.top_k_accuracy(shares, ACTUAL, k) == pytest.approx(expected)


def test_nothing_is_known_of_no_trials():
    assert metrics.wilson(0.0, 0) == (0.0, 1.0)
