"""A classifier is fitted whole: what it says of its temperature and of what it knows is so."""

import numpy as np
import pytest
from blobs import blobs

from imageloom.estimator import tempered
from imageloom.ood import Detector
from imageloom.recipes import dense, probe
from imageloom.recipes.calibration import temperature
from imageloom.recipes.classifier import complete
from imageloom.recipes.data import Data
from imageloom.recipes.dense import HeadParams
from imageloom.recipes.head import Head
from imageloom.recipes.probe import ProbeParams
from imageloom.recipes.rejection import RejectionParams, max_distance


@pytest.fixture(scope="module")
def sides() -> tuple[Data, Data]:
    return blobs(3, [40, 60, 50], 2), blobs(3, [30] * 3, 2, seed=1)


def test_what_it_says_of_itself_is_so(sides, tmp_path):
    train, validation = sides
    fitted = probe.fit(train, validation, 3, ProbeParams(c=[0.0003]))  # less sure than it is right
    found = complete(fitted, train, validation, RejectionParams(target_precision=0.9, least_share=0.2))
    about = found.describe()
    assert about["fitted"] == fitted.chosen
    both = np.concatenate([train.classes, validation.classes])
    assert len(fitted.fresh) == len(both) == 240
    assert about["calibration"] == {"temperature": temperature(fitted.fresh, both)}
    assert about["calibration"]["temperature"] != 1
    assert found.head is fitted.head  # uncalibrated
    calibrated = tempered(fitted.fresh, found.temperature)[-90:]  # those of validation
    assert np.array_equal(calibrated.argmax(axis=1), fitted.fresh[-90:].argmax(axis=1))
    by_head = found.head.tempered(found.temperature).probabilities(validation.features)
    of_it = tempered(found.head.probabilities(validation.features), found.temperature)
    assert np.abs(by_head - of_it).max() < 1e-4
    known = about["known"]
    answered = calibrated.max(axis=1) >= known["min_confidence"]
    answered &= found.detector.distances(validation.features) <= known["max_distance"]
    assert answered.mean() == pytest.approx(known["share_known"], abs=1e-5)
    fresh, seen = (found.detector.distances(side.features) for side in (validation, train))
    assert known["max_distance"] == max_distance(fresh, RejectionParams().distance_quantile)
    assert known["max_distance"] != max_distance(seen, RejectionParams().distance_quantile)  # they were fitted on
    right = (calibrated.argmax(axis=1) == validation.classes)[answered].mean()
    assert right == pytest.approx(known["precision"], abs=1e-5)
    assert known["precision"] >= known["target_precision"] == 0.9
    found.save(tmp_path)
    assert np.array_equal(Head.load(tmp_path / "head.npz").kernel, found.head.kernel)
    assert np.array_equal(Detector.load(tmp_path / "ood.npz").mean, Detector.fit(train.features).mean)


def test_the_temperature_is_of_the_pictures_that_have_fresh_answers(sides):
    train, validation = sides
    fitted = dense.fit(train, validation, 3, HeadParams(epochs=10))  # it has none for training pictures
    assert len(fitted.fresh) == len(validation.classes)
    found = complete(fitted, train, validation, RejectionParams())
    assert found.temperature == temperature(fitted.fresh, validation.classes) != 1
