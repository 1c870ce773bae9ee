"""The head's gradient is the loss's, its training is what its parameters say, and what goes wrong is told."""

import tracemalloc

import numpy as np
import pytest
from blobs import blobs

from imageloom.errors import DataError
from imageloom.recipes import dense, rates
from imageloom.recipes.data import Data, measure
from imageloom.recipes.dense import HeadParams, fit
from imageloom.recipes.standard import Standard, smoothed

QUIET = {"dropout": 0, "label_smoothing": 0, "l2": 0, "balanced": False}


@pytest.fixture(scope="module")
def sides() -> list[Data]:
    return [blobs(3, [40, 60, 50], 1.5), blobs(3, [30] * 3, 1.5, seed=1)]


def chosen(history: list[dict]) -> dict:
    (row,) = [row for row in history if row["chosen"]]
    return row


def test_the_gradient_is_that_of_the_loss():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(5, 3)), np.array([0, 2, 1, 1, 0])
    targets, weights = smoothed(3, 0.2)[labels].astype(float), random.random(5)
    _, slope = dense._loss(logits, targets, weights)
    for place in np.ndindex(5, 3):
        step = np.zeros((5, 3))
        step[place] = 1e-6
        ends = [dense._loss(logits + sign * step, targets, weights)[0] for sign in (1, -1)]
        assert slope[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def sgd_of_the_paper(start, slope, rate, momentum, steps) -> np.ndarray:
    """Sutskever et al. 2013, (3) and (4), whose slopes are taken where the velocity leads: what is trained is there."""
    place, velocity = start, np.zeros_like(start)
    for _ in range(steps):
        velocity = momentum * velocity - rate * slope(place + momentum * velocity)
        place = place + velocity
    return place + momentum * velocity


def adam_of_the_paper(start, slope, rate, momentum, steps) -> np.ndarray:
    """Kingma and Ba 2015, algorithm 1."""
    place, first, second = start, np.zeros_like(start), np.zeros_like(start)
    for step in range(1, steps + 1):
        first = momentum * first + (1 - momentum) * slope(place)
        second = 0.999 * second + 0.001 * slope(place) ** 2
        place = place - rate * first / (1 - momentum**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-7)
    return place


@pytest.mark.parametrize("steps", [1, 2, 15])
@pytest.mark.parametrize(("optimiser", "paper"), [("sgd", sgd_of_the_paper), ("adam", adam_of_the_paper)])
def test_steps_are_those_of_the_paper(optimiser, paper, steps):
    random = np.random.default_rng(0)
    start, steepness = random.normal(size=8), random.uniform(0.5, 4, 8)
    place = start.astype(np.float32)
    steady = dense._OPTIMISERS[optimiser]((place,))
    for _ in range(steps):  # down a bowl
        steady.step(((steepness * place).astype(np.float32),), 0.1, 0.8)
    assert np.allclose(place, paper(start, lambda at: steepness * at, 0.1, 0.8, steps), atol=1e-5)


def first_step(data: Data, classes: int, **settings) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias after a step of rate 1 on all pictures, which are taken as they are."""
    params = HeadParams(optimiser="sgd", momentum=0, schedule="constant", batch_size=512, **(QUIET | settings))
    length = data.features.shape[1]
    (step,) = dense.steps(data, Standard(np.zeros(length), np.ones(length)), classes, params, np.ones(1))
    return step.kernel, step.bias


def test_balanced_classes_pull_the_bias_equally():
    data = blobs(3, [200, 20, 100], 1)
    shares = np.array([200, 20, 100]) / 320
    assert np.allclose(first_step(data, 3)[1], shares - 1 / 3, atol=1e-6)
    assert np.allclose(first_step(data, 3, balanced=True)[1], 0, atol=1e-6)


def test_dropout_leaves_the_mean_as_it_is():
    data = Data(np.ones((1, 4000), np.float32), np.array([0]))
    plain, some = (first_step(data, 2, dropout=share)[0] for share in (0, 0.75))
    factors = some / plain
    assert set(np.unique(factors)) == {0, 4}
    assert factors.mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_it_learns_and_tells_of_each_epoch(sides, optimiser):
    rate = {"adam": 0.01, "sgd": 0.05}[optimiser]
    fitted = fit(*sides, 3, HeadParams(epochs=12, optimiser=optimiser, learning_rate=rate))
    history = fitted.history
    assert [row["step"] for row in history] == list(range(1, 13))
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 1.2
    assert chosen(history)["validation_loss"] == min(row["validation_loss"] for row in history)
    assert fitted.chosen == {"epoch": chosen(history)["step"]}
    right = (fitted.fresh.argmax(axis=1) == sides[1].classes).mean()
    assert right == pytest.approx(chosen(history)["validation_accuracy"])
    assert right > 0.8


def test_the_head_is_that_of_the_best_epoch_and_no_other_stays_in_memory():
    random = np.random.default_rng(0)
    train, validation = (Data(random.normal(size=(n, 1000)).astype(np.float32), np.arange(n) % 30) for n in (60, 30))
    peaks = []
    for epochs in (2, 60):
        tracemalloc.start()
        fitted = fit(train, validation, 30, HeadParams(epochs=epochs, batch_size=60, schedule="constant"))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 10 * fitted.head.kernel.nbytes
    best = chosen(fitted.history)
    assert best["step"] < 60  # there is nothing to learn
    assert measure(fitted.head.probabilities(train.features), train.classes, "train").items() <= best.items()


def test_without_regularisation_it_comes_to_what_logistic_regression_finds(sides):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train = blobs(3, [200] * 3, 3)
    params = HeadParams(epochs=300, learning_rate=0.02, schedule="cosine", batch_size=600, **QUIET)
    history = fit(train, sides[1], 3, params).history
    features = StandardScaler().fit_transform(train.features.astype(np.float64))
    model = LogisticRegression(C=1e6, max_iter=2000).fit(features, train.classes)
    own = model.predict_proba(features)[np.arange(600), train.classes]
    assert history[-1]["train_loss"] == pytest.approx(-np.log(own).mean(), abs=0.003)


def test_penalties_shrink_and_dropout_spreads(sides):
    def kernel(**more) -> np.ndarray:
        path = np.full(200, 0.01)
        settings = HeadParams(schedule="constant", **(QUIET | more))
        *_, last = dense.steps(sides[0], Standard.of(sides[0].features), 3, settings, path)
        return last.kernel

    plain = np.abs(kernel())
    assert np.abs(kernel(l2=0.05)).sum() < 0.7 * plain.sum()
    assert (np.abs(kernel(l1=0.05)) < 0.02).sum() > 2 * (plain < 0.02).sum()
    assert not np.array_equal(np.abs(kernel(dropout=0.5)), plain)


def test_of_several_looks_all_are_learnt_from(sides):
    train, _ = sides
    far = Data(train.features, train.classes, views=(train.features[::-1].copy(),))
    path = np.full(50, 0.01)
    kernels = [
        list(dense.steps(data, Standard.of(train.features), 3, HeadParams(**QUIET), path))[-1].kernel.copy()
        for data in (train, far)
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


def test_the_same_data_give_the_same_bytes_and_another_seed_others(sides, tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        fit(*sides, 3, HeadParams(epochs=3, seed=seed)).head.save(tmp_path / name)
    written = [(tmp_path / name).read_bytes() for name in "abc"]
    assert written[0] == written[1] != written[2]


def test_a_loss_beyond_all_numbers_stops_it_and_names_the_parameter(sides):
    with pytest.raises(DataError, match="no longer a number in epoch") as fault:
        fit(*sides, 3, HeadParams(optimiser="sgd", learning_rate=1e30))
    assert "train.head.learning_rate, which is 1e+30" in fault.value.hint


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_the_suggested_rate_is_about_the_best(sides, optimiser):
    params = HeadParams(epochs=10, optimiser=optimiser)
    found = rates.sweep(sides[0], 3, params)
    assert len(found.rates) == len(found.losses) > 50
    assert found.rates[0] < found.suggestion < found.rates[-1]

    def loss(rate: float) -> float:
        history = fit(*sides, 3, params.model_copy(update={"learning_rate": rate})).history
        return float(min(row["validation_loss"] for row in history))

    best = min(loss(rate) for rate in np.geomspace(1e-5, 1, 11))
    assert loss(found.suggestion) < best + 0.2
    assert loss(found.suggestion / 300) > best + 0.2  # the twin: the rate matters
