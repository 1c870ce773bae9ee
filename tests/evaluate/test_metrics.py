import numpy as np
import pytest
from sklearn import metrics as reference

from imageloom import wilson
from imageloom.evaluate import metrics

random = np.random.default_rng(0)
ACTUAL = random.integers(0, 4, 500)
PREDICTED = np.where(random.random(500) < 0.7, ACTUAL, random.integers(0, 4, 500))


def alone(number: int) -> np.ndarray:
    """Each picture in a group of its own."""
    return np.arange(number)


def test_figures_equal_scikit_learns():
    matrix = metrics.confusion_matrix(ACTUAL, PREDICTED, 4)
    assert np.array_equal(matrix, reference.confusion_matrix(ACTUAL, PREDICTED))
    expected = reference.precision_recall_fscore_support(ACTUAL, PREDICTED)
    scores = metrics.class_scores(matrix)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [getattr(score, name) for score in scores] == pytest.approx(values.tolist())
    found = metrics.bootstrap(ACTUAL, PREDICTED, alone(500), 200, {})
    assert found["accuracy"].value == pytest.approx(reference.accuracy_score(ACTUAL, PREDICTED))
    assert found["macro_f1"].value == pytest.approx(reference.f1_score(ACTUAL, PREDICTED, average="macro"))
    balanced = reference.balanced_accuracy_score(ACTUAL, PREDICTED)
    assert found["balanced_accuracy"].value == pytest.approx(balanced)


def test_a_class_that_is_never_predicted_counts_as_zero():
    actual, predicted = np.array([0, 0, 1, 2]), np.array([0, 0, 0, 0])
    scores = metrics.class_scores(metrics.confusion_matrix(actual, predicted, 3))
    assert [score.f1 for score in scores] == pytest.approx([2 / 3, 0, 0])
    f1 = metrics.bootstrap(actual, predicted, alone(len(actual)), 100, {})["macro_f1"]
    assert f1.value == pytest.approx(reference.f1_score(actual, predicted, average="macro"))


def coverage(copies: int, told: bool) -> float:
    """How often the interval of accuracy holds the truth: 150 pictures, each `copies` times, told or not."""
    held = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        actual = draw.integers(0, 2, 150)
        predicted = np.where(draw.random(150) < 0.8, actual, 1 - actual)
        actual, predicted, groups = (each.repeat(copies) for each in (actual, predicted, alone(150)))
        accuracy = metrics.bootstrap(actual, predicted, groups if told else alone(len(actual)), 200, {})["accuracy"]
        held += accuracy.low <= 0.8 <= accuracy.high
    return held / 200


def test_interval_holds_the_truth_as_often_as_it_says():
    assert 0.88 <= coverage(copies=1, told=True) <= 0.99


def test_near_duplicates_do_not_make_it_surer_and_would_if_they_were_not_told():
    assert 0.88 <= coverage(copies=4, told=True) <= 0.99
    assert coverage(copies=4, told=False) < 0.8


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
    f1 = metrics.bootstrap(actual, predicted, alone(len(actual)), 100, {})[
        "macro_f1"
    ]  # 2 and 4 are not there; 3 is only answered
    assert f1.value == pytest.approx((0.8 + 1 + 0) / 3)


def percentile(values: list[float], share: float) -> float:
    """The value at a share of the way from the smallest to the largest, between its two neighbours in proportion."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(values) - 1)] - ordered[low])


@pytest.mark.parametrize("groups", [[*range(12)], [0, 1, 0, 2, 2, 3, 4, 4, 5, 6, 6, 6]])
def test_intervals_equal_those_that_are_reckoned_by_hand(groups):
    actual, predicted = [0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2], [0, 0, 0, 0, 1, 1, 1, 2, 1, 2, 2, 0]
    losses = [0.1 * n for n in range(12)]
    pairs, draw = list(zip(actual, predicted, losses, strict=True)), np.random.default_rng(0)
    number = max(groups) + 1
    accuracies, scores, recalls, means = [], [], [], []
    for _ in range(300):
        drawn = [pairs[n] for group in draw.integers(0, number, number) for n in range(12) if groups[n] == group]
        accuracies.append(sum(a == p for a, p, _ in drawn) / len(drawn))
        means.append(sum(loss for *_, loss in drawn) / len(drawn))
        each, found = [], []
        for k in {name for a, p, _ in drawn for name in (a, p)}:
            hits, shown = sum(a == p == k for a, p, _ in drawn), sum(a == k for a, _, _ in drawn)
            each.append(2 * hits / (shown + sum(p == k for _, p, _ in drawn)))
            found += [hits / shown] if shown else []
        scores.append(sum(each) / len(each))
        recalls.append(sum(found) / len(found))
    found = metrics.bootstrap(np.array(actual), np.array(predicted), np.array(groups), 300, {"loss": np.array(losses)})
    for name, values in (("macro_f1", scores), ("balanced_accuracy", recalls), ("loss", means)):
        bounds = (percentile(values, 0.025), percentile(values, 0.975))
        assert (found[name].low, found[name].high) == pytest.approx(bounds), name
    accuracy = found["accuracy"]
    assert accuracy.value == 0.75
    # Wilson's interval of 9 of 12, and of the same share of fewer, by the formula of 1927 written out.
    trials = metrics.trials(np.equal(actual, predicted), np.array(groups))
    low, high = {12: (0.4677, 0.9111)}.get(number, wilson.interval(0.75, trials))
    assert accuracy.low == pytest.approx(min(percentile(accuracies, 0.025), low), abs=1e-4)
    assert accuracy.high == pytest.approx(max(percentile(accuracies, 0.975), high), abs=1e-4)


def test_copies_count_once_and_strangers_in_one_group_count_as_many():
    draw = np.random.default_rng(1)
    right = draw.random(400) < 0.7
    assert metrics.trials(right, alone(400)) == 400
    assert metrics.trials(right.repeat(3), alone(400).repeat(3)) == pytest.approx(400, rel=0.01)
    assert metrics.trials(right, alone(200).repeat(2)) == pytest.approx(400, rel=0.15)
    # Twice what the copies add to the variance, three groups over two: 6 / (2 * 3 / 2).
    assert metrics.trials(np.array([1, 1, 0, 0, 1, 1], bool), alone(3).repeat(2)) == pytest.approx(2)
    few = np.where(alone(400) < 4, 0, alone(400))  # one group of four
    assert 300 < metrics.trials(right, few) <= 400


def test_where_nothing_tells_how_alike_they_are_a_group_counts_as_one():
    for answer in (True, False):
        assert metrics.trials(np.full(6, answer), np.array([0, 0, 5, 5, 5, 9])) == 3
    assert metrics.trials(np.array([True, False, True]), np.zeros(3, int)) == 1
    assert metrics.trials(np.array([], bool), np.array([], int)) == 0


def test_accuracy_on_copies_of_one_picture_is_that_of_one_picture():
    found = metrics.bootstrap(np.ones(50, int), np.ones(50, int), np.zeros(50, int), 100, {})["accuracy"]
    assert (found.low, found.high) == pytest.approx(wilson.interval(1.0, 1))


def test_two_shares_differ_by_chance_as_scipy_says():
    from scipy.stats import fisher_exact

    for first, second in [
        ((3, 10), (9, 10)),
        ((0, 5), (5, 5)),
        ((4, 4), (300, 400)),
        ((7, 14), (14, 28)),
        ((1, 1), (1, 1)),
    ]:
        table = [[hits, number - hits] for hits, number in (first, second)]
        assert metrics.fisher(first, second) == pytest.approx(fisher_exact(table).pvalue, rel=1e-9)
    assert metrics.fisher((90_000, 100_000), (90_500, 100_000)) == pytest.approx(
        fisher_exact([[90_000, 10_000], [90_500, 9_500]]).pvalue, rel=1e-6
    )


def test_chances_of_several_tests_are_raised_as_in_holms_paper():
    assert metrics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert metrics.holm([0.6, 0.9]) == [1, 1]
    assert metrics.holm([0.2]) == [0.2]
    assert metrics.holm([]) == []


def test_one_picture_has_no_interval_of_its_loss():
    found = metrics.bootstrap(np.array([1]), np.array([0]), alone(1), 100, {"log_loss": np.array([0.7])})
    assert (found["log_loss"].low, found["log_loss"].value, found["log_loss"].high) == pytest.approx((0.7, 0.7, 0.7))
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((0, 0.7935), abs=1e-4)


def test_a_few_right_answers_leave_doubt():
    found = metrics.bootstrap(np.array([0, 0, 1]), np.array([0, 0, 1]), alone(3), 100, {})
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
    assert wilson.interval(0.0, 0) == (0.0, 1.0)
