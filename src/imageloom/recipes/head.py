"""What every recipe ends as, from a feature vector to probabilities: one dense layer with softmax, or an estimator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from imageloom import arrays, files
from imageloom.errors import DataError
from imageloom.estimator import Estimator


@dataclass(frozen=True)
class Head:
    """A linear classifier on feature vectors.

    Args:
        kernel: float32[D, K].
        bias: float32[K].
    """

    FILE: ClassVar[str] = "head.npz"

    kernel: np.ndarray
    bias: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Softmax of the logits.

        Args:
            features: float32[N, D].

        Returns:
            float32[N, K], rows of which sum to one.
        """
        logits = features @ self.kernel + self.bias  # [N, K]
        logits -= logits.max(axis=1, keepdims=True)  # the same probabilities, and no overflow
        odds = np.exp(logits)
        return odds / odds.sum(axis=1, keepdims=True)

    def tempered(self, temperature: float) -> "Head":
        """The head whose logits are these, divided by `temperature`: the same answers, more or less sure of them."""
        return Head(self.kernel / np.float32(temperature), self.bias / np.float32(temperature))

    def save(self, path: Path) -> None:
        """Writes both arrays as `.npz`; the same arrays give the same bytes."""
        arrays.save(path, kernel=self.kernel, bias=self.bias)

    @classmethod
    def load(cls, path: Path) -> "Head":
        """Reads what `save` wrote.

        Raises:
            ModelError: The file is missing or damaged.
        """
        return cls(*arrays.load(path, ("kernel", "bias"), "train"))


def read_head(classifier: Path) -> Head | Estimator:
    """What the classifier in models/classifier/ ends as, uncalibrated.

    Raises:
        ModelError: It is missing or damaged.
    """
    estimator = classifier / Estimator.FILE
    return Estimator.load(estimator) if estimator.exists() else Head.load(classifier / Head.FILE)


def read_about(classifier: Path) -> dict[str, Any]:
    """What models/classifier/classifier.json says; `Classifier.describe` and the stage `train` tell its keys.

    Raises:
        DataError: It is missing or damaged.
    """
    return files.read_json(classifier / "classifier.json", "train")


def class_numbers(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """int[N], the numbers that the classifier has for the classes of N rows of the split.

    Raises:
        DataError: It was not trained on one of the classes.
    """
    number = {spec["name"]: index for index, spec in enumerate(about["classes"])}
    strange = sorted({row["class"] for row in rows} - number.keys())
    if strange:
        raise DataError(f"the classifier does not know the class {', '.join(strange)}", "run `dvc repro train`")
    return np.array([number[row["class"]] for row in rows], int)
