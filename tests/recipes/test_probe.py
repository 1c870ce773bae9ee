"""The probe is scikit-learn's regression on standardised features, its C chosen on pictures that a fit has not seen."""

from dataclasses import replace

import numpy as np
import pytest
from blobs import blobs
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from imageloom.recipes.data import Data
from imageloom.recipes.head import Head
from imageloom.recipes.probe import ProbeParams, _folds, fit


def accuracy(head: Head, data: Data) -> float:
    return float((head.probabilities(data.features).argmax(axis=1) == data.classes).mean())


def chosen(history: list[dict]) -> dict:
    (row,) = [row for row in history if row["chosen"]]
    return row


@pytest.mark.parametrize("classes", [2, 5])
def test_it_is_the_regression_of_scikit_learn_on_both_sides(classes):
    train, validation = blobs(classes, [60, *[40] * (classes - 1)], 0.8), blobs(classes, [30] * classes, 0.8, seed=1)
    test = blobs(classes, [50] * classes, 0.8, seed=2)
    fitted = fit(train, validation, classes, ProbeParams(c=[0.1]))
    features = np.concatenate([train.features, validation.features])
    scaler = StandardScaler().fit(features.astype(np.float64))
    # Of two classes scikit-learn has one vector, we two that are opposite: half as long, so half the penalty.
    model = LogisticRegression(C=0.1 if classes > 2 else 0.2, class_weight="balanced", max_iter=1000)
    model.fit(scaler.transform(features), np.concatenate([train.classes, validation.classes]))
    expected = model.predict_proba(scaler.transform(test.features))
    assert fitted.head.kernel.shape == (20, classes)
    assert fitted.head.kernel.dtype == fitted.head.bias.dtype == np.float32
    difference = np.abs(fitted.head.probabilities(test.features) - expected).max()
    assert difference < 4e-3  # both stop when the gradient is small


def test_c_is_chosen_on_pictures_not_seen():
    train, validation = blobs(2, [30, 30], 3), blobs(2, [20, 20], 3, seed=1)
    history = fit(train, validation, 2, ProbeParams()).history
    assert chosen(history)["validation_loss"] == min(row["validation_loss"] for row in history)
    assert chosen(history)["train_loss"] > min(row["train_loss"] for row in history)


def test_fresh_answers_are_as_good_as_on_new_pictures_and_no_better():
    noise = np.random.default_rng(0)
    sides = [Data(noise.normal(size=(n, 40)).astype(np.float32), np.arange(n) % 2) for n in (200, 100)]
    fitted = fit(*sides, 2, ProbeParams(c=[1.0]))
    assert fitted.fresh.shape == (300, 2)
    fresh = float((fitted.fresh[200:].argmax(axis=1) == sides[1].classes).mean())
    assert 0.35 < fresh < 0.65  # there is nothing to learn
    assert accuracy(fitted.head, sides[1]) > fresh + 0.1  # the twin: what it was fitted on it partly knows by heart


def test_a_fresh_answer_owes_nothing_to_its_own_fold():
    train, validation = blobs(3, [30, 20, 10], 2), blobs(3, [10] * 3, 2, seed=1)
    params = ProbeParams(c=[0.1], folds=3, balanced=False, max_iterations=5)  # too few to forget where it began
    both, fresh = train.joined(validation), fit(train, validation, 3, params).fresh
    fold_of = _folds(both, params)
    for fold in range(params.folds):
        weights = np.where((fold_of == fold) & (both.classes == 0), 9.0, 1.0)
        weighed = replace(train, weights=weights[:60]), replace(validation, weights=weights[60:])
        moved = np.abs(fit(*weighed, 3, params).fresh - fresh).max(axis=1)
        assert moved[fold_of == fold].max() < 1e-6
        assert np.median(moved[fold_of != fold]) > 1e-3  # the twin: those of the others learn from it


def test_folds_are_dealt_class_by_class_and_keep_near_duplicates_together():
    random = np.random.default_rng(0)
    group_of = random.permutation(np.repeat(np.arange(67), 2))
    classes = np.array([0] * 43 + [1] * 17 + [2] * 7)[group_of]
    data = Data(np.zeros((134, 1), np.float32), classes, group_of.astype(str))
    fold_of = _folds(data, ProbeParams())
    assert len(set(zip(group_of, fold_of, strict=True))) == 67
    counts = np.array([np.bincount(fold_of[classes == number], minlength=5) for number in range(3)])
    assert (np.ptp(counts, axis=1) <= 2).all()  # a group more


def test_where_nothing_can_be_learnt_all_classes_are_as_likely():
    train, validation = blobs(4, [20, 30, 40, 50], 1), blobs(4, [10, 20, 20, 10], 1, seed=1)
    (row,) = fit(train, validation, 4, ProbeParams(c=[1e-9])).history
    assert [row["train_loss"], row["validation_loss"]] == pytest.approx([np.log(4)] * 2, abs=1e-5)


def test_larger_strengths_are_tried_until_the_loss_has_grown_twice():
    train, validation = blobs(2, [30, 30], 3), blobs(2, [20, 20], 3, seed=1)
    strengths = list(np.geomspace(1e-5, 1e4, 19))
    history = fit(train, validation, 2, ProbeParams(c=strengths[::-1])).history
    assert [row["C"] for row in history] == pytest.approx(strengths[: len(history)])
    assert len(history) < len(strengths)
    grown = np.diff([row["validation_loss"] for row in history]) > 0
    assert [place for place in range(1, len(grown)) if grown[place - 1] and grown[place]] == [len(grown) - 1]


def test_near_duplicates_do_not_flatter():
    noise = np.random.default_rng(0)
    features = np.repeat(noise.normal(size=(60, 40)), 4, axis=0).astype(np.float32)
    classes, groups = np.repeat(np.arange(60) % 2, 4), np.repeat(np.arange(60), 4).astype(str)
    told, untold = (Data(features, classes, *names) for names in ((groups,), ()))
    validation = Data(features[:40], classes[:40], groups[:40])
    right = [chosen(fit(train, validation, 2, ProbeParams(c=[1.0])).history) for train in (told, untold)]
    assert right[0]["validation_accuracy"] < 0.7
    assert right[1]["validation_accuracy"] > 0.9  # the twin: copies in other folds give the answers away


def test_balanced_weights_find_the_rare_class():
    train, test = blobs(2, [500, 12], 2), blobs(2, [200, 200], 2, seed=1)
    recall = {}
    for balanced in (True, False):
        head = fit(train, train, 2, ProbeParams(c=[0.01], balanced=balanced)).head
        recall[balanced] = (head.probabilities(test.features).argmax(1) == 1)[200:].mean()
    assert recall[True] > recall[False] + 0.1


def test_other_looks_are_learnt_from():
    train, validation = blobs(2, [20, 20], 1), blobs(2, [20, 20], 1, seed=1)
    turned = blobs(2, [200, 200], 1, seed=2)
    shift = np.linspace(0, 3, 20, dtype=np.float32) * np.logspace(-2, 2, 20).astype(np.float32)
    moved = Data(turned.features + shift, turned.classes)
    found = [
        Data(side.features, side.classes, views=(side.features + shift,) * seen)
        for seen in (0, 1)
        for side in (train, validation)
    ]
    without, with_view = (fit(*pair, 2, ProbeParams()).head for pair in (found[:2], found[2:]))
    assert accuracy(with_view, moved) > accuracy(without, moved) + 0.02


def test_a_look_that_is_no_other_changes_nothing():
    def head(looks: int) -> Head:
        sides = blobs(3, [40] * 3, 1), blobs(3, [20] * 3, 1, seed=1)
        found = [Data(side.features, side.classes, views=(side.features,) * looks) for side in sides]
        return fit(*found, 3, ProbeParams(c=[0.001])).head

    features = blobs(3, [50] * 3, 1, seed=2).features
    one, three = (head(looks).probabilities(features) for looks in (0, 2))
    assert np.abs(one - three).max() < 2e-3


def test_one_picture_of_a_class_in_a_fold_is_enough():
    train, validation = blobs(3, [30, 30, 1], 0.5), blobs(3, [5, 5, 1], 0.5, seed=1)
    fitted = fit(train, validation, 3, ProbeParams())
    assert np.isfinite(fitted.fresh).all()
    assert accuracy(fitted.head, blobs(3, [50, 50, 50], 0.5, seed=2)) > 0.8


def test_ten_thousand_to_one_is_learnt():
    train, validation = blobs(2, [8000, 2], 0.5), blobs(2, [2000, 1], 0.5, seed=1)
    fitted = fit(train, validation, 2, ProbeParams())
    assert np.isfinite(fitted.fresh).all()
    assert accuracy(fitted.head, blobs(2, [50, 50], 0.5, seed=2)) > 0.8


def test_smoothed_labels_are_less_sure():
    train, validation = blobs(3, [40] * 3, 0.5), blobs(3, [20] * 3, 0.5, seed=1)
    sure = [
        fit(train, validation, 3, ProbeParams(c=[1.0], label_smoothing=share)).fresh.max(axis=1).mean()
        for share in (0, 0.3)
    ]
    assert sure[1] < sure[0] - 0.05


def test_the_same_data_give_the_same_bytes(tmp_path):
    train, validation = blobs(3, [40] * 3, 1), blobs(3, [20] * 3, 1, seed=1)
    for name in ("a", "b"):
        fit(train, validation, 3, ProbeParams()).head.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_random_labels_are_not_learnt():
    train, validation = blobs(2, [100, 100], 1), blobs(2, [50, 50], 1, seed=1)
    shuffled = Data(train.features, np.random.default_rng(0).permutation(train.classes))
    assert chosen(fit(shuffled, validation, 2, ProbeParams(c=[0.001])).history)["validation_accuracy"] < 0.8


def test_large_logits_do_not_overflow():
    head = Head(np.diag([1e4, 1e4]).astype(np.float32), np.zeros(2, np.float32))
    answer = head.probabilities(np.array([[1, 0], [-1, 1], [1, 1], [-1, -1]], np.float32))
    assert answer.tolist() == [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5]]
