"""What a classifier says of the test pictures, read from what the stages before have written."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from imageloom import network, tables
from imageloom.errors import DataError
from imageloom.estimator import Estimator
from imageloom.evaluate import metrics
from imageloom.files import Paths
from imageloom.ood import Detector, known, near
from imageloom.recipes.head import Head, class_numbers, read_about, read_head


@dataclass(frozen=True)
class Outcome:
    """What the classifier said of the test pictures.

    Args:
        rows: A row for each of the N test pictures: the split's columns and those of data/clean.
        about: What classifier.json holds.
        head: The classifier, uncalibrated.
        actual: int[N] class numbers.
        trained_on: int[M] class numbers of the M training pictures.
        uncalibrated: float32[N, K], probabilities as the head gives them.
        probabilities: float32[N, K], calibrated, as the exported model gives them.
        distances: float32[N], from the training pictures (`ood.Detector`).
        pictures: All rows of data/clean, kept or not.
        sides: On which side each kept picture is, by its id.
    """

    rows: list[dict[str, Any]]
    about: dict[str, Any]
    head: Head | Estimator
    actual: np.ndarray
    trained_on: np.ndarray
    uncalibrated: np.ndarray
    probabilities: np.ndarray
    distances: np.ndarray
    pictures: list[dict[str, Any]]
    sides: dict[str, str]

    @cached_property
    def classes(self) -> list[dict[str, str]]:
        """`name` and `label` of the K classes."""
        return list(self.about["classes"])

    @cached_property
    def names(self) -> list[str]:
        """Of the K classes, as folders have them."""
        return [spec["name"] for spec in self.classes]

    @cached_property
    def predicted(self) -> np.ndarray:
        """int[N] class numbers."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def right(self) -> np.ndarray:
        """bool[N]."""
        return self.predicted == self.actual

    @cached_property
    def sure(self) -> np.ndarray:
        """float32[N], the probability of each answer."""
        return self.probabilities.max(axis=1)

    @cached_property
    def near(self) -> np.ndarray:
        """bool[N], whether the picture is no farther from the training pictures than the model's bound."""
        return near(self.distances, self.about["known"]["max_distance"])

    @cached_property
    def known(self) -> np.ndarray:
        """bool[N], whether the model stands by its answer."""
        return known(self.sure, self.distances, self.about["known"])

    @cached_property
    def groups(self) -> np.ndarray:
        """int[N], numbers from 0 of the groups of near duplicates that the pictures are of, as they first come."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(row["group"], len(numbers)) for row in self.rows], int)

    @cached_property
    def losses(self) -> np.ndarray:
        """float64[N], of the calibrated probabilities."""
        return metrics.log_losses(self.probabilities, self.actual)


def read(paths: Paths) -> Outcome:
    """Runs the classifier on the features of the test pictures.

    Raises:
        DataError: The split, the features or what is known of the pictures are missing, features are no numbers, or the
            split has a class that the classifier was not trained on.
        ModelError: The classifier is missing or damaged.
    """
    split = tables.read(paths.split, tables.SPLIT, "split").to_pylist()
    clean = tables.read(paths.clean, tables.CLEAN, "clean").to_pylist()
    about, head = read_about(paths.classifier), read_head(paths.classifier)
    if not about.keys() >= {"calibration", "known"}:
        raise DataError("the classifier was trained by an older imageloom", "run `dvc repro --force train`")
    of_id = {row["id"]: row for row in clean}
    test = [row for row in split if row["side"] == "test"]
    if not test:
        raise DataError("there are no test pictures", "raise split.test in params.yaml, or add pictures")
    features = network.of(paths).features.read([row["id"] for row in test])
    if not np.isfinite(features).all():
        hint = "run `dvc repro --force embed`; if that does not help, choose another backbone"
        raise DataError("features of the test pictures are infinite or no numbers", hint)
    return Outcome(
        rows=[of_id.get(row["id"], {}) | row for row in test],
        about=about,
        head=head,
        actual=class_numbers(about, test),
        trained_on=class_numbers(about, [row for row in split if row["side"] == "train"]),
        uncalibrated=head.probabilities(features),
        probabilities=head.tempered(about["calibration"]["temperature"]).probabilities(features),
        distances=Detector.load(paths.classifier / "ood.npz").distances(features),
        pictures=clean,
        sides={row["id"]: row["side"] for row in split},
    )
