"""A classifier as stages hand it on: a head, how sure to take it, and what it does not know."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageloom.ood import Detector
from imageloom.recipes import calibration, probe, rejection
from imageloom.recipes.head import Head
from imageloom.recipes.probe import Data, ProbeParams
from imageloom.recipes.rejection import Known, RejectionParams


@dataclass(frozen=True)
class Classifier:
    """All that is fitted on feature vectors.

    Args:
        head: Uncalibrated.
        temperature: What its logits are divided by to be calibrated.
        detector: Of pictures that are unlike the training pictures.
        known: The bounds of what is answered.
        fitted: What was chosen on validation: `C`.
    """

    head: Head
    temperature: float
    detector: Detector
    known: Known
    fitted: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes `head.npz`, uncalibrated, and `ood.npz`."""
        self.head.save(folder / "head.npz")
        self.detector.save(folder / "ood.npz")

    def describe(self) -> dict[str, Any]:
        """What classifier.json holds of it."""
        return {
            "fitted": self.fitted,
            "calibration": {"temperature": self.temperature},
            "known": self.known.to_dict(),
        }


def fit(
    train: Data, validation: Data, classes: int, probing: ProbeParams, rejecting: RejectionParams
) -> tuple[Classifier, list[dict[str, Any]]]:
    """Fits head, temperature, detector and bounds.

    Args:
        train: What head and detector are fitted on; every class is there.
        validation: What C, temperature and bounds are chosen on.
        classes: K, the number of classes.
        probing: Of the recipe.
        rejecting: Of the bounds.

    Returns:
        The classifier, and one row for each C that was tried.
    """
    head, history = probe.fit(train, validation, classes, probing)
    temperature = calibration.temperature(head.probabilities(validation.features), validation.classes)
    detector = Detector.fit(train.features)
    known = rejection.bounds(
        head.tempered(temperature).probabilities(validation.features),
        detector.distances(validation.features),
        validation.classes,
        rejecting,
    )
    fitted = {"C": next(row["C"] for row in history if row["chosen"])}
    return Classifier(head, temperature, detector, known, fitted), history
