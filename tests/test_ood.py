"""Pictures unlike those of training are far away, and those like them are not."""

import dataclasses

import numpy as np
import pytest

from imageloom import ood
from imageloom.errors import ModelError
from imageloom.ood import Detector


def cloud(number: int, seed: int, length: int = 200) -> np.ndarray:
    """Features of one kind: they vary along five directions a lot, and a little along all."""
    directions = np.random.default_rng(99).normal(size=(5, length))
    random = np.random.default_rng(seed)
    vectors = 3 + 0.1 * random.normal(size=(number, 5)) @ directions + 0.02 * random.normal(size=(number, length))
    return (vectors * random.uniform(0.5, 2, (number, 1))).astype(np.float32)  # of any length


def test_pictures_like_those_of_training_are_about_one_away():
    detector = Detector.fit(cloud(600, 0))
    assert np.sqrt((detector.distances(cloud(600, 0)) ** 2).mean()) == pytest.approx(1, abs=0.01)
    near = detector.distances(cloud(500, 1))
    assert near.dtype == np.float32
    assert near.mean() == pytest.approx(1, abs=0.1)
    assert np.quantile(near, 0.99) < 2.2


@pytest.mark.parametrize("kind", ["within the axes", "outside of them"])
def test_both_ways_of_being_different_are_seen(kind):
    detector = Detector.fit(cloud(600, 0))
    limit = detector.distances(cloud(500, 1)).max()
    directions = np.random.default_rng(99).normal(size=(5, 200))
    if kind == "within the axes":
        strange = 3 + directions * [[1], [-1], [2], [-2], [1]]
    else:
        basis = np.linalg.qr(np.vstack([directions, np.ones(200)]).T)[0]
        noise = np.random.default_rng(5).normal(size=(20, 200))
        strange = 3 + 0.1 * (noise - noise @ basis @ basis.T)
    assert detector.distances(strange.astype(np.float32)).min() > 1.2 * limit


def test_few_pictures_have_the_same_axes_from_the_smaller_matrix(monkeypatch):
    few, near, far = cloud(150, 0), cloud(50, 1), -cloud(50, 2)
    small = Detector.fit(few)
    monkeypatch.setattr(ood, "_axes_of_few", lambda centred, kept: ood._axes_of_many([centred], kept))
    large = Detector.fit(few)
    assert small.axes.shape == large.axes.shape == (200, 37)
    assert small.variances == pytest.approx(large.variances, rel=1e-4)
    for vectors in (few, near, far):
        assert small.distances(vectors) == pytest.approx(large.distances(vectors), rel=1e-3)


def test_the_length_of_a_vector_does_not_matter():
    detector, vectors = Detector.fit(cloud(200, 0)), cloud(50, 1)
    assert detector.distances(7 * vectors) == pytest.approx(detector.distances(vectors), rel=1e-4)


def test_it_is_the_mahalanobis_distance_where_all_axes_are_kept():
    features = np.random.default_rng(0).normal(5, 1, (300, 4)).astype(np.float32)
    vectors = features / np.linalg.norm(features, axis=1, keepdims=True)
    detector = Detector.fit(features)
    assert detector.axes.shape == (4, 3)
    covariance = np.cov(vectors.T, bias=True)
    values, axes = np.linalg.eigh(covariance)
    along = (vectors - vectors.mean(axis=0)) @ axes
    expected = np.sqrt(((along[:, 1:] ** 2 / values[1:]).mean(axis=1) + along[:, 0] ** 2 / values[0]) / 2)
    assert detector.distances(features) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("features", [np.zeros((1, 8)), np.ones((2, 8)), np.eye(8), np.full((9, 2), 0.5)])
def test_few_or_equal_pictures_give_numbers(features):
    features = features.astype(np.float32)
    distances = Detector.fit(features).distances(features)
    assert distances.shape == (len(features),)
    assert np.isfinite(distances).all()


def test_what_never_varies_makes_no_picture_far_but_those_in_which_it_does():
    def grey(seed: int) -> np.ndarray:  # red, green and blue are the same numbers
        return np.repeat(cloud(300, seed, 16), 3, axis=1) * np.float32(1 / 3)

    detector = Detector.fit(grey(0))
    near = detector.distances(grey(1))
    assert near.mean() < 1.2
    assert near.max() < 2.5
    tinted = grey(2)
    tinted[:, ::3] *= 1.2
    assert detector.distances(tinted).min() > 2 * near.max()


def test_the_same_features_give_the_same_bytes_and_it_is_small(tmp_path):
    features = np.random.default_rng(0).normal(1, 1, (120, 1280)).astype(np.float32)
    for name in ("a", "b"):
        Detector.fit(features).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").stat().st_size < 400_000
    loaded = Detector.load(tmp_path / "a")
    assert np.array_equal(loaded.distances(features[:9]), Detector.fit(features).distances(features[:9]))


def test_one_picture_is_as_far_by_itself_as_among_others():
    detector = Detector.fit(cloud(300, 0))
    vectors = np.vstack([cloud(50, 1), -cloud(5, 2), np.zeros((1, 200), np.float32)])
    alone = [detector.distance(vector) for vector in vectors]
    centred = vectors / np.maximum(np.linalg.norm(vectors, axis=1), 1e-30)[:, None] - detector.mean.astype(np.float64)
    squares = (centred @ detector.axes) ** 2
    outside = ((centred**2).sum(axis=1) - squares.sum(axis=1)) / detector.residual
    assert alone == pytest.approx(np.sqrt(((squares / detector.variances).mean(axis=1) + outside) / 2), rel=1e-3)
    assert alone == pytest.approx(detector.distances(vectors), rel=1e-4)
    assert {type(distance) for distance in alone} == {float}
    assert np.isnan(detector.distance(np.full(200, np.nan, np.float32)))


def test_known_is_what_is_sure_and_near_and_nobody_is_far_where_distances_are_no_numbers():
    bounds = {"min_confidence": 0.7, "max_distance": 2.0}
    confidences, distances = np.float32([0.7, 0.69, 0.9, 0.9]), np.float32([2, 1, 2.1, np.nan])
    assert ood.known(confidences, distances, bounds).tolist() == [True, False, False, True]
    for confidence, distance, known in zip(confidences, distances, [True, False, False, True], strict=True):
        assert ood.known(confidence, float(distance), bounds) == known


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_file_of_what_is_no_number_is_damaged(tmp_path, value):
    detector = Detector.fit(cloud(20, 0))
    dataclasses.replace(detector, residual=np.float32(value)).save(tmp_path / "ood.npz")
    with pytest.raises(ModelError, match=r"ood\.npz is damaged: it holds what is infinite or no number"):
        Detector.load(tmp_path / "ood.npz")


def test_a_file_that_is_missing_or_damaged_is_told(tmp_path):
    with pytest.raises(ModelError, match=r"no .*ood\.npz"):
        Detector.load(tmp_path / "ood.npz")
    Detector.fit(cloud(20, 0)).save(tmp_path / "ood.npz")
    content = (tmp_path / "ood.npz").read_bytes()
    for damaged in (content[:100], b"", b"PK\x03\x04nonsense", content[: len(content) // 2]):
        (tmp_path / "ood.npz").write_bytes(damaged)
        with pytest.raises(ModelError, match=r"ood\.npz is damaged"):
            Detector.load(tmp_path / "ood.npz")
