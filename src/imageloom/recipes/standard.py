"""Brings features to mean 0 and deviation 1, and a layer that was fitted on such back to the features as they are."""

from dataclasses import dataclass

import numpy as np

from imageloom.recipes.head import Head

_LEAST = 1e-6  # a feature that changes less tells nothing


@dataclass(frozen=True, eq=False)
class Standard:
    """Mean and deviation of the features of the training pictures.

    Args:
        mean: float64[D].
        scale: float64[D]; 1 where a feature never changes.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> "Standard":
        """Of float32[N, D]."""
        mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
        return cls(mean, np.where(scale > _LEAST, scale, 1))

    def apply(self, features: np.ndarray) -> np.ndarray:
        """The features at mean 0 and deviation 1, float32[N, D]."""
        return (features - self.mean.astype(np.float32)) / self.scale.astype(np.float32)

    def fold(self, kernel: np.ndarray, bias: np.ndarray) -> Head:
        """The head that gives on features what a layer, float64[D, K] and float64[K], gives on standardised ones.

        ((x - m) / s) W + b = x (W / s) + (b - (m / s) W), where x[D], m[D], s[D], W[D, K], b[K].
        """
        folded = kernel / self.scale[:, None]
        return Head(folded.astype(np.float32), (bias - self.mean @ folded).astype(np.float32))


def picture_weights(labels: np.ndarray, own: np.ndarray, classes: int, balanced: bool) -> np.ndarray:
    """How much each picture counts, all together N.

    Args:
        labels: int[N], class numbers.
        own: float64[N], how much each counts beside others of its class.
        classes: K.
        balanced: Whether every class weighs the same.

    Returns:
        float64[N].
    """
    if not balanced:
        return own * (len(own) / own.sum())
    sums = np.bincount(labels, own, classes)
    return own * (len(own) / (classes * np.where(sums > 0, sums, 1)))[labels]


def smoothed(classes: int, smoothing: float) -> np.ndarray:
    """float32[K, K], the targets of each class: `smoothing` is spread over all (Szegedy et al. 2016, section 7)."""
    return (smoothing / classes + (1 - smoothing) * np.eye(classes)).astype(np.float32)
