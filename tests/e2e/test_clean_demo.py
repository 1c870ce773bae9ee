"""What the checks find in the demo and in scikit-learn's digits: flipped labels, and planted near duplicates."""

import io

import flips
import numpy as np
import planted
import pytest
from PIL import Image

from imageloom import images, tables
from imageloom.clean import duplicates, labels, looks, neighbours
from imageloom.clean.checks import NEIGHBOURS, CheckParams
from imageloom.engine import Engine, cores, map_ordered
from imageloom.features import FeatureStore
from imageloom.files import Paths

pytestmark = pytest.mark.slow

PLANTED = 200


@pytest.fixture(scope="module")
def paths(demo):
    return Paths(demo.root)


@pytest.fixture(scope="module")
def rows(paths):
    return [row for row in tables.read(paths.clean, tables.CLEAN, "clean").to_pylist() if row["kept"]]


@pytest.fixture(scope="module")
def features(paths, rows):
    return FeatureStore(paths.features).read([row["id"] for row in rows])


@pytest.fixture(scope="module")
def network(paths):
    return Engine(paths.backbone / "backbone.tflite")


def numbers(rows) -> np.ndarray:
    names = sorted({row["class"] for row in rows})
    return np.array([names.index(row["class"]) for row in rows])


def test_flipped_labels_of_the_demo_lead_the_queue(rows, features):
    true, groups = numbers(rows), [row["group"] for row in rows]
    given = flips.flip(true, 0.1, seed=7)
    first, twice = flips.found(flips.queue(features, given, groups), given, true)
    assert first >= 0.55
    assert twice >= 0.75


def test_correcting_the_queue_brings_the_accuracy_back(rows, features):
    true, groups = numbers(rows), [row["group"] for row in rows]
    test = labels.folds(groups) == 0
    learn = np.flatnonzero(~test)
    given = flips.flip(true[learn], 0.1, seed=7)
    order = flips.queue(features[learn], given, [groups[row] for row in learn])

    def accuracy(learned: np.ndarray) -> float:
        found = labels.fit_predict(features[learn], learned, features[test], 2)
        return float((found.argmax(axis=1) == true[test]).mean())

    assert accuracy(flips.corrected(order, given, true[learn])) >= accuracy(true[learn]) - 0.01


def test_flipped_labels_of_digits_lead_the_queue(network):
    from sklearn.datasets import load_digits

    digits = load_digits()

    def embed(grey: np.ndarray) -> np.ndarray:
        drawn = Image.fromarray((255 - 15.9 * grey).astype(np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        drawn.save(file, "PNG")
        return network(images.load(file.getvalue(), network.size, "crop"))

    features = np.stack(list(map_ordered(embed, digits.images, cores())))
    given = flips.flip(digits.target, 0.05, seed=7)
    order = flips.queue(features, given, [str(row) for row in range(len(given))])
    assert flips.found(order, given, digits.target)[0] >= 0.9


def test_planted_near_duplicates_are_grouped_with_their_original_and_hardly_with_others(paths, rows, features, network):
    random = np.random.default_rng(7)
    chosen = random.choice(len(rows), PLANTED, replace=False)
    files = [(paths.raw / rows[row]["path"]).read_bytes() for row in chosen]
    made = [planted.copy(data, planted.KINDS[n % len(planted.KINDS)], random) for n, data in enumerate(files)]
    added = map_ordered(lambda data: network(images.load(data, network.size, "crop")), made, cores())
    near = neighbours.nearest(neighbours.projected(np.concatenate([features, list(added)])), NEIGHBOURS)
    known = {row["id"]: row["print"] for row in tables.read(paths.looks, tables.LOOKS, "clean").to_pylist()}
    prints = [known[row["id"]] for row in rows] + [looks.measure(data)["print"] for data in made]
    crawls = np.zeros(len(prints), int)
    links = duplicates.link(prints, near, crawls, 1 - CheckParams().thresholds.near_duplicates)
    roots = duplicates.group(links, crawls, [row["id"] for row in rows] + ["~"] * PLANTED).roots
    own = np.array([row["group"] for row in rows])
    copies = roots[len(rows) :]
    assert np.mean(copies == roots[chosen]) >= 0.95
    strangers = [set(own[roots[: len(rows)] == root]) - {own[row]} for root, row in zip(copies, chosen, strict=True)]
    assert np.mean([bool(each) for each in strangers]) <= 0.01


def test_few_of_the_demos_own_pictures_are_called_one_picture(rows):
    """Its cells are alike, and some were photographed twice."""
    sizes = np.unique([row["group"] for row in rows], return_counts=True)[1]
    assert sizes[sizes > 1].sum() <= 0.1 * len(rows)
    assert sizes.max() <= 8
