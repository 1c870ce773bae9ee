import numpy as np
import pytest
from blobs import blobs
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from imageloom.recipes.head import Head
from imageloom.recipes.probe import Data, ProbeParams, fit


@pytest.mark.parametrize("classes", [2, 5])
def test_folded_layer_equals_scaler_and_regression(classes):
    train, validation = blobs(classes, [60] * classes, 0.8), blobs(classes, [30] * classes, 0.8, seed=1)
    head, history = fit(train, validation, classes, ProbeParams(c=[0.1]))
    scaler = StandardScaler().fit(train.features.astype(np.float64))
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
    model.fit(scaler.transform(train.features), train.classes)
    expected = model.predict_proba(scaler.transform(validation.features))
    assert head.kernel.shape == (20, classes)
    assert np.abs(head.probabilities(validation.features) - expected).max() < 2e-3
    assert history[0]["validation_accuracy"] > 1.5 / classes


def test_c_is_chosen_on_validation_and_not_on_training():
    train, validation = blobs(2, [30, 30], 3), blobs(2, [200, 200], 3, seed=1)
    _, history = fit(train, validation, 2, ProbeParams())
    chosen = next(row for row in history if row["chosen"])
    assert chosen["validation_loss"] == min(row["validation_loss"] for row in history)
    assert chosen["train_loss"] > min(row["train_loss"] for row in history)


def test_balanced_weights_find_the_rare_class():
    train, test = blobs(2, [500, 12], 2), blobs(2, [200, 200], 2, seed=1)
    recall = {}
    for balanced in (True, False):
        head, _ = fit(train, train, 2, ProbeParams(c=[0.01], balanced=balanced))
        recall[balanced] = (head.probabilities(test.features).argmax(1) == 1)[200:].mean()
    assert recall[True] > recall[False] + 0.1


def test_the_same_data_give_the_same_bytes(tmp_path):
    train, validation = blobs(3, [40] * 3, 1), blobs(3, [20] * 3, 1, seed=1)
    for name in ("a", "b"):
        fit(train, validation, 3, ProbeParams())[0].save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = Head.load(tmp_path / "a")
    assert loaded.kernel.dtype == loaded.bias.dtype == np.float32


def test_random_labels_are_not_learnt():
    train, validation = blobs(2, [100, 100], 1), blobs(2, [300, 300], 1, seed=1)
    shuffled = np.random.default_rng(0).permutation(train.classes)
    head, _ = fit(Data(train.features, shuffled), validation, 2, ProbeParams(c=[0.001]))
    assert (head.probabilities(validation.features).argmax(1) == validation.classes).mean() < 0.8


def test_c_is_chosen_by_loss_where_accuracy_would_choose_another():
    train, validation = blobs(2, [30, 30], 3, seed=5), blobs(2, [200, 200], 3, seed=105)
    head, history = fit(train, validation, 2, ProbeParams())
    most_right = max(history, key=lambda row: row["validation_accuracy"])
    chosen = next(row for row in history if row["chosen"])
    assert most_right["validation_accuracy"] > chosen["validation_accuracy"]
    assert chosen["validation_loss"] == min(row["validation_loss"] for row in history)
    own = head.probabilities(validation.features)[np.arange(400), validation.classes]
    assert -np.log(own).mean() == pytest.approx(chosen["validation_loss"], rel=1e-5)


def test_large_logits_do_not_overflow():
    head = Head(np.diag([1e4, 1e4]).astype(np.float32), np.zeros(2, np.float32))
    answer = head.probabilities(np.array([[1, 0], [-1, 1], [1, 1], [-1, -1]], np.float32))
    assert answer.tolist() == [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5]]
