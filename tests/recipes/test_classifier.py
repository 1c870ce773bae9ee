"""A classifier is fitted whole, and anew on other features by the same rules."""

import numpy as np
import pytest
from blobs import blobs

from imageloom.ood import Detector
from imageloom.recipes.calibration import temperature
from imageloom.recipes.classifier import fit, refit
from imageloom.recipes.head import Head
from imageloom.recipes.probe import Data, ProbeParams
from imageloom.recipes.probe import fit as fit_probe
from imageloom.recipes.rejection import RejectionParams

CLASSES = [{"name": str(number), "label": str(number)} for number in range(3)]


@pytest.fixture(scope="module")
def sides() -> tuple[Data, Data]:
    return blobs(3, [40, 60, 50], 2), blobs(3, [30] * 3, 2, seed=1)


def test_what_it_says_of_itself_is_so(sides, tmp_path):
    train, validation = sides
    found, history = fit(train, validation, 3, ProbeParams(), RejectionParams(target_precision=0.9, least_share=0.2))
    about = found.describe()
    chosen = next(row for row in history if row["chosen"])
    assert about["fitted"] == {"C": chosen["C"]}
    raw = found.head.probabilities(validation.features)
    assert about["calibration"] == {"temperature": temperature(raw, validation.classes)}
    assert about["calibration"]["temperature"] != 1
    own = raw[np.arange(90), validation.classes]
    assert -np.log(own).mean() == pytest.approx(chosen["validation_loss"], rel=1e-5)  # the head is uncalibrated
    calibrated = found.head.tempered(found.temperature).probabilities(validation.features)
    assert np.array_equal(calibrated.argmax(axis=1), raw.argmax(axis=1))
    known = about["known"]
    answered = calibrated.max(axis=1) >= known["min_confidence"]
    answered &= found.detector.distances(validation.features) <= known["max_distance"]
    assert answered.mean() == pytest.approx(known["share_known"], abs=1e-5)
    right = (calibrated.argmax(axis=1) == validation.classes)[answered].mean()
    assert right == pytest.approx(known["precision"], abs=1e-5)
    assert known["precision"] >= known["target_precision"] == 0.9
    found.save(tmp_path)
    assert np.array_equal(Head.load(tmp_path / "head.npz").kernel, found.head.kernel)
    assert np.array_equal(Detector.load(tmp_path / "ood.npz").mean, Detector.fit(train.features).mean)


def test_refitting_on_the_same_features_gives_the_same(sides):
    train, validation = sides
    # One C only: where several are tried, each starts from the last one's end, which the last digits tell.
    found, _ = fit(train, validation, 3, ProbeParams(c=[0.03], balanced=False), RejectionParams(target_precision=0.9))
    again = refit({"classes": CLASSES, **found.describe()}, train, validation)
    assert np.array_equal(again.head.kernel, found.head.kernel)
    assert again.describe() == found.describe()


def test_refitting_keeps_c_and_chooses_the_rest_anew(sides):
    train, validation = sides
    found, _ = fit(train, validation, 3, ProbeParams(), RejectionParams(target_precision=0.9, least_share=0.2))
    chosen = found.fitted["C"]
    noise = np.random.default_rng(0).normal(0, 2, 20) * np.logspace(-2, 2, 20)
    others = [Data((2 * side.features + noise).astype(np.float32), side.classes) for side in sides]
    again = refit({"classes": CLASSES, **found.describe()}, *others)
    assert again.fitted == {"C": chosen}
    assert again.settings["known"] == found.settings["known"]
    expected, _ = fit_probe(*others, 3, ProbeParams(c=[chosen]))
    assert np.array_equal(again.head.kernel, expected.kernel)
    right = (again.head.probabilities(others[1].features).argmax(axis=1) == validation.classes).mean()
    wrong = (found.head.probabilities(others[1].features).argmax(axis=1) == validation.classes).mean()
    assert right > wrong + 0.1
    assert again.known.max_distance != found.known.max_distance
