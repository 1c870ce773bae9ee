"""How far a picture's features are from those that a classifier was trained on (out-of-distribution detection).

Feature vectors are first brought to length one: the length tells of contrast more than of content, and foreign pictures
stand out more without it. The distance joins two parts, each of which is 1 on average over the training pictures: how
far the vector lies from the mean within the leading principal axes, in their standard deviations (Mahalanobis 1936),
and how much of it lies outside of them, the residual (Ndiour et al. 2020, arXiv:2012.04250; ViM, Wang et al. 2022). The
first part alone lets pictures pass that are unlike anything known.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import arrays

Numbers = float | np.floating | np.ndarray

AXES = 64  # principal axes that are kept, at most: 0.6 MB for 2,192 features; twice as many change little
_SHARE = 4  # training pictures for each axis, at least: with fewer, an axis is chance
_ROWS = 4096  # at a time, which keeps memory flat
_LEAST = float(np.finfo(np.float32).tiny)  # what is divided by: all training pictures may be alike
# Share of all variance. What is less, as colour in grey pictures, is lost in the difference of two sums in float32, and
# the square of it in such a sum itself.
_ROUNDING = 1e-3


@dataclass(frozen=True, eq=False)
class Detector:
    """Says how far feature vectors are from the training pictures'.

    Args:
        mean: float32[D], of the training vectors brought to length one.
        axes: float32[D, R], the leading principal axes, each of length one.
        variances: float32[R], of the training vectors along the axes.
        residual: float32[], the mean square of what lies outside the axes.
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    residual: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray) -> "Detector":
        """Learns the training pictures' distribution.

        Args:
            features: float32[N, D].
        """
        number, length = features.shape
        blocks = [slice(start, start + _ROWS) for start in range(0, number, _ROWS)]
        mean = sum(_of_length_one(features[rows].astype(np.float64)).sum(axis=0) for rows in blocks) / number
        centred = (_of_length_one(features[rows].astype(np.float64)) - mean for rows in blocks)
        kept = max(1, min(AXES, number // _SHARE, length - 1))
        few = number < min(length, _ROWS)
        variances, axes, total = _axes_of_few(next(centred), kept) if few else _axes_of_many(centred, kept)
        least = max(total * _ROUNDING, _LEAST)
        return cls(
            mean.astype(np.float32),
            np.ascontiguousarray(axes[:, ::-1], np.float32),
            np.maximum(variances[::-1], max(least * _ROUNDING, _LEAST)).astype(np.float32),
            np.asarray(max(total - variances.sum(), least), np.float32),
        )

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Distances from the training pictures; about 1 for pictures like them.

        Args:
            features: float32[N, D].

        Returns:
            float32[N].
        """
        return np.fromiter(map(self.distance, features), np.float32, len(features))

    def distance(self, vector: np.ndarray) -> float:
        """That of one, float32[D]; with few calls, since after a network has run each is slow."""
        length = math.sqrt(vector @ vector)
        centred = vector * np.float32(1 / max(length, _LEAST)) - self.mean
        along = centred @ self.axes  # [R]
        inside, whole = self._weights
        return math.sqrt(max((along * along) @ inside + whole * (centred @ centred), 0.0))

    @functools.cached_property
    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        """float32[R] and float32[]: what the squares along the axes, and that of the whole length, count.

        Half of the squared distance is the mean of a_i^2 / variance_i, the other (c^2 - sum of a_i^2) / residual.
        """
        whole = 0.5 / self.residual.astype(np.float64)
        inside = 0.5 / (self.variances.astype(np.float64) * len(self.variances)) - whole
        return inside.astype(np.float32), whole.astype(np.float32)

    def save(self, path: Path) -> None:
        """Writes the detector as `.npz`; the same features give the same bytes."""
        arrays.save(path, mean=self.mean, axes=self.axes, variances=self.variances, residual=self.residual)

    @classmethod
    def load(cls, path: Path, made_by: str = "train") -> "Detector":
        """Reads what `save` wrote.

        Args:
            path: The file.
            made_by: The stage that wrote it, for the hint.

        Raises:
            ModelError: The file is missing or damaged.
        """
        return cls(*arrays.load(path, ("mean", "axes", "variances", "residual"), made_by))


def _axes_of_many(blocks: Iterable[np.ndarray], kept: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The last of the principal axes, from the covariance [D, D] of centred vectors, blocks float64[n, D].

    Returns:
        Variances float64[kept] from the smallest, axes float64[D, kept], and the sum of all variances.
    """
    from scipy.linalg import eigh

    number, products = 0, np.zeros(())
    for centred in blocks:
        number += len(centred)
        products = products + centred.T @ centred
    covariance = products / number
    last = len(covariance) - 1
    return *eigh(covariance, subset_by_index=(last + 1 - kept, last)), float(np.trace(covariance))


def _axes_of_few(centred: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The same, of fewer vectors than numbers in each: X X^T u = s u is smaller, and X^T X (X^T u) = s (X^T u)."""
    from scipy.linalg import eigh

    number = len(centred)
    variances, sides = eigh(centred @ centred.T / number, subset_by_index=(number - kept, number - 1))
    axes = centred.T @ sides
    return variances, axes / np.maximum(np.linalg.norm(axes, axis=0), _LEAST), float(np.square(centred).sum() / number)


def near(distances: Numbers, bound: float) -> Any:
    """Which distances are within a bound: bool[N], or of one number a bool.

    NaN counts as near: a model whose features nobody can see answers by its confidence alone.
    """
    return (distances <= bound) | (distances != distances)


def known(confidences: Numbers, distances: Numbers, bounds: Mapping[str, float]) -> Any:
    """Which answers a model stands by, sure enough and of pictures that are near enough: bool[N], or of one a bool.

    Args:
        confidences: Of each the highest of its probabilities, calibrated.
        distances: See `near` for NaN.
        bounds: `min_confidence` and `max_distance`, as classifier.json and model.json have them under `known`.
    """
    return (confidences >= bounds["min_confidence"]) & near(distances, bounds["max_distance"])


def _of_length_one(vectors: np.ndarray) -> np.ndarray:
    """[N, D] of the same type; a vector of zeros stays one."""
    lengths = np.sqrt(np.vecdot(vectors, vectors))[:, np.newaxis]
    return vectors / np.maximum(lengths, _LEAST)
