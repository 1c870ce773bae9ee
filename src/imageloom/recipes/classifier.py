"""A classifier as stages hand it on: a head, how sure to take it, and what it does not know."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloom.estimator import Estimator, tempered
from imageloom.ood import Detector
from imageloom.recipes import calibration, rejection
from imageloom.recipes.data import Data, Fitted
from imageloom.recipes.head import Head
from imageloom.recipes.rejection import Known, RejectionParams


@dataclass(frozen=True)
class Classifier:
    """All that is fitted on feature vectors.

    Args:
        head: Uncalibrated.
        temperature: What its logits are divided by to be calibrated.
        detector: Of pictures that are unlike the training pictures.
        known: The bounds of what is answered.
        fitted: What was chosen on validation, such as `C`.
        cross_validated: Whether the head was fitted on validation pictures too.
    """

    head: Head | Estimator
    temperature: float
    detector: Detector
    known: Known
    fitted: dict[str, Any]
    cross_validated: bool

    def save(self, folder: Path) -> None:
        """Writes `head.npz` or `model.skops`, uncalibrated, and `ood.npz`."""
        self.head.save(folder / self.head.FILE)
        self.detector.save(folder / "ood.npz")

    def describe(self) -> dict[str, Any]:
        """What classifier.json holds of it."""
        return {
            "fitted": self.fitted,
            "cross_validated": self.cross_validated,
            "calibration": {"temperature": self.temperature},
            "known": self.known.to_dict(),
        }


def complete(fitted: Fitted, train: Data, validation: Data, params: RejectionParams) -> Classifier:
    """Joins to a head its temperature, its detector and its bounds.

    Args:
        fitted: What a recipe gave for the same pictures.
        train: What the detector is fitted on.
        validation: What the bounds are chosen on; the temperature is chosen on all that `fitted` has fresh answers for.
        params: Of the bounds.
    """
    classes = np.concatenate([train.classes, validation.classes])[-len(fitted.fresh) :]
    temperature = calibration.temperature(fitted.fresh, classes)
    detector = Detector.fit(train.features)
    known = rejection.bounds(
        tempered(fitted.fresh[-len(validation.classes) :], temperature),
        detector.distances(validation.features),
        validation.classes,
        params,
    )
    return Classifier(fitted.head, temperature, detector, known, fitted.chosen, fitted.cross_validated)
