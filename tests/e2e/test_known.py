"""On all of the demo's pictures: how sure the classifier is, it is right; and other things it does not know."""

import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from clones import Clone
from skips import skip_or_fail

from imageloom import images, tables
from imageloom.engine import cores, map_ordered
from imageloom.errors import ImageError
from imageloom.features import FeatureStore
from imageloom.files import Paths
from imageloom.predictor import TFLITE, Predictor
from imageloom.recipes import probe
from imageloom.recipes.classifier import Classifier, complete
from imageloom.recipes.data import Data
from imageloom.recipes.probe import ProbeParams
from imageloom.recipes.rejection import RejectionParams

pytestmark = pytest.mark.slow

FOLDS = 5
BINS = 15  # as in Guo et al. 2017


@pytest.fixture(scope="module")
def rows(demo: Clone) -> list[dict]:
    return tables.read(demo.root / "data/split/split.parquet", tables.SPLIT, "split").to_pylist()


def features(demo: Clone, rows: list[dict], model_format: str) -> np.ndarray:
    """Feature vectors of all pictures: what enters the last layer of the exported model."""
    if model_format == "float32":
        return FeatureStore(Paths(demo.root).features).read([row["id"] for row in rows])
    predictor = Predictor(demo.root / "models/export", model_format)

    def look(row: dict) -> np.ndarray:
        vector = predictor.run(predictor.load((demo.root / "data/raw" / row["path"]).read_bytes()))[1]
        assert vector is not None
        return vector

    return np.stack(list(map_ordered(look, rows, cores())))


@dataclass(frozen=True)
class Fold:
    """Pictures, and a classifier that was fitted without them."""

    test: np.ndarray  # bool[N]
    classifier: Classifier


@pytest.fixture(scope="module")
def actual(rows: list[dict]) -> np.ndarray:
    return np.array([row["class"] == "defective" for row in rows]).astype(int)


@pytest.fixture(scope="module")
def folds(demo: Clone, rows: list[dict], actual: np.ndarray) -> list[Fold]:
    """Each picture is in one of them; the classifiers are fitted as `train` does, with the C that it chose."""
    vectors = features(demo, rows, "float32")
    strength = json.loads((demo.root / "models/classifier/classifier.json").read_text())["fitted"]["C"]
    fold_of = np.random.default_rng(0).permutation(len(rows)) % FOLDS
    found = []
    for fold in range(FOLDS):
        test, validation = fold_of == fold, fold_of == (fold + 1) % FOLDS
        sides = [Data(vectors[side], actual[side]) for side in (~(test | validation), validation)]
        fitted = probe.fit(*sides, 2, ProbeParams(c=[strength]))
        found.append(Fold(test, complete(fitted, *sides, RejectionParams())))
    return found


def cross_validated(vectors: np.ndarray, folds: list[Fold]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of all pictures, before and after calibration, each from a classifier that has not seen it."""
    before, after = (np.zeros((len(vectors), 2), np.float32) for _ in range(2))
    for fold in folds:
        head, temperature = fold.classifier.head, fold.classifier.temperature
        before[fold.test] = head.probabilities(vectors[fold.test])
        after[fold.test] = head.tempered(temperature).probabilities(vectors[fold.test])
    return before, after


def calibration_error(probabilities: np.ndarray, actual: np.ndarray) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over bins of equal width."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == actual
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return sum(
        (bins == number).mean() * abs(confidence[bins == number].mean() - right[bins == number].mean())
        for number in np.unique(bins)
    )


def log_loss(probabilities: np.ndarray, actual: np.ndarray) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(actual)), actual], 1e-12)).mean())


@pytest.mark.parametrize("model_format", TFLITE)
def test_how_sure_it_is_it_is_right(demo, rows, actual, folds, model_format):
    before, after = cross_validated(features(demo, rows, model_format), folds)
    assert calibration_error(after, actual) <= 0.03
    assert log_loss(after, actual) <= log_loss(before, actual)
    # Twins that must fail: the same answers, surer and less sure than they are right.
    for exponent in (3, 0.3):
        sharpened = after**exponent / (after**exponent).sum(axis=1, keepdims=True)
        assert calibration_error(sharpened, actual) > 0.03
        assert log_loss(sharpened, actual) > log_loss(before, actual)


def test_the_temperature_that_was_chosen_is_in_the_exported_model(demo, rows):
    about = json.loads((demo.root / "models/classifier/classifier.json").read_text())
    temperature = about["calibration"]["temperature"]
    assert json.loads((demo.root / "models/export/model.json").read_text())["temperature"] == temperature
    heads = []
    for folder in ("classifier", "export"):
        with np.load(demo.root / "models" / folder / "head.npz") as head:
            heads.append(head["kernel"])
    assert heads[0] == pytest.approx(heads[1] * temperature, rel=1e-5)


@pytest.mark.parametrize("model_format", TFLITE)
def test_features_are_the_mean_of_the_map_and_lead_to_the_answer(demo, rows, model_format):
    predictor = Predictor(demo.root / "models/export", model_format)
    entry = predictor.card.content["formats"][model_format]
    with np.load(demo.root / "models/export" / entry["head"]) as head:
        kernel, bias = head["kernel"], head["bias"]
    for row in rows[:5]:
        pixels = predictor.load((demo.root / "data/raw" / row["path"]).read_bytes())
        (probabilities, vector), (_, places) = predictor.run(pixels), predictor.run_with_map(pixels)
        # Each tensor of int8 has a scale of its own, and is rounded to it.
        scale, near = np.abs(vector).max(), 0.02 if model_format == "int8" else 1e-5
        assert np.abs(places.mean(axis=(0, 1)) - vector).max() < near * scale
        logits = vector @ kernel + bias
        assert np.log(probabilities) - np.log(probabilities).mean() == pytest.approx(
            logits - logits.mean(), abs=1e-3 if model_format == "float32" else 0.3
        )


def planted() -> list[bytes]:
    """The sample photographs of scikit-learn and scikit-image, which show no solar cells."""
    found = []
    for package, folder in (("scikit-learn", "sklearn/datasets/images/"), ("scikit-image", "skimage/data/")):
        try:
            listed = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            skip_or_fail(f"{package} is not installed, and with it its sample photographs")
        for file in sorted(listed):
            if str(file).startswith(folder) and file.suffix in {".jpg", ".png", ".gif", ".tif"}:
                data = Path(str(file.locate())).read_bytes()
                try:
                    images.inspect(data)
                except ImageError:
                    continue  # a stack of channels is no picture
                found.append(data)
    assert len(found) >= 25
    return found


@pytest.mark.parametrize("model_format", TFLITE)
def test_other_things_are_not_known_and_test_pictures_are(demo, rows, model_format):
    predictor = Predictor(demo.root / "models/export", model_format)
    test = [(demo.root / "data/raw" / row["path"]).read_bytes() for row in rows if row["side"] == "test"]

    def share_known(pictures: list[bytes]) -> float:
        return float(np.mean([answer.known for answer in map_ordered(predictor.predict, pictures, cores())]))

    assert share_known(planted()) <= 0.1
    assert share_known(test) >= 0.95
