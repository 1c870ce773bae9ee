"""What every recipe on features ends as: one Dense layer with softmax, from a feature vector to probabilities."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import files
from imageloom.errors import ModelError


@dataclass(frozen=True)
class Head:
    """A linear classifier on feature vectors.

    Args:
        kernel: float32[D, K].
        bias: float32[K].
    """

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

    def save(self, path: Path) -> None:
        """Writes both arrays as `.npz`; the same arrays give the same bytes."""
        with path.open("wb") as file:
            np.savez(file, kernel=self.kernel, bias=self.bias)

    @classmethod
    def load(cls, path: Path) -> "Head":
        """Reads what `save` wrote.

        Raises:
            ModelError: The file is missing or damaged.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(arrays["kernel"], arrays["bias"])
        except FileNotFoundError:
            raise ModelError(f"no {path}", "run `dvc repro train` first") from None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as fault:
            raise ModelError(f"{path} is damaged: {fault}", "run `dvc repro --force train`") from fault


def read_about(classifier: Path) -> dict[str, Any]:
    """What models/classifier/classifier.json says: `recipe`, `classes` (each a `name` and a `label`) and `input`.

    Raises:
        DataError: It is missing or damaged.
    """
    return files.read_json(classifier / "classifier.json", "train")
