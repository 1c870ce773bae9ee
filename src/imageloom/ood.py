"""How far a picture's features are from those that a classifier was trained on (out-of-distribution detection).

Feature vectors are first brought to length one: the length tells of contrast more than of content, and foreign pictures
stand out more without it. The distance joins two parts, each of which is 1 on average over the training pictures: how
far the vector lies from the mean within the leading principal axes, in their standard deviations (Mahalanobis 1936),
and how much of it lies outside of them, the residual (Ndiour et al. 2020, arXiv:2012.04250; ViM, Wang et al. 2022). The
first part alone lets pictures pass that are unlike anything known.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imageloom import arrays

AXES = 64  # principal axes that are kept, at most: 0.3 MB for 1,280 features; twice as many change little
_SHARE = 4  # training pictures for each axis, at least: with fewer, an axis is chance
_ROWS = 4096  # at a time, which keeps memory flat


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
        from scipy.linalg import eigh

        number, length = features.shape
        blocks = [slice(start, start + _ROWS) for start in range(0, number, _ROWS)]
        mean = sum(_of_length_one(features[rows]).sum(axis=0) for rows in blocks) / number
        covariance = np.zeros((length, length))
        for rows in blocks:
            centred = _of_length_one(features[rows]) - mean
            covariance += centred.T @ centred
        covariance /= number
        kept = max(1, min(AXES, number // _SHARE, length - 1))
        variances, axes = eigh(covariance, subset_by_index=(length - kept, length - 1))  # from the smallest
        least = np.finfo(np.float32).tiny  # where all training pictures are alike along an axis
        return cls(
            mean.astype(np.float32),
            np.ascontiguousarray(axes[:, ::-1], np.float32),
            np.maximum(variances[::-1], least).astype(np.float32),
            np.asarray(max(np.trace(covariance) - variances.sum(), least), np.float32),
        )

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Distances from the training pictures; about 1 for pictures like them.

        Args:
            features: float32[N, D].

        Returns:
            float32[N].
        """
        centred = _of_length_one(features) - self.mean
        along = centred @ self._axes  # [N, R]
        outside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0) / self.residual
        inside = (along**2 / self.variances).mean(axis=1)
        return np.sqrt((inside + outside) / 2).astype(np.float32)

    @functools.cached_property
    def _axes(self) -> np.ndarray:
        """float64[D, R]; converting them takes longer than all else that one picture needs."""
        return self.axes.astype(np.float64)

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


def near(distances: np.ndarray, bound: float) -> np.ndarray:
    """bool[N], which distances are within a bound.

    NaN counts as near: a model whose features nobody can see answers by its confidence alone.
    """
    return ~(np.asarray(distances) > bound)


def _of_length_one(features: np.ndarray) -> np.ndarray:
    """float64[N, D]; a vector of zeros stays one."""
    vectors = features.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
