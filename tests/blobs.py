"""Features of pictures, for tests of what is fitted on them."""

import numpy as np

from imageloom.recipes.data import Data


def blobs(classes: int, each: list[int], spread: float, seed: int = 0) -> Data:
    """Gaussian clouds in 20 dimensions with odd scales and one feature that never changes."""
    random = np.random.default_rng(seed)
    middles = np.random.default_rng(9).normal(size=(classes, 20))
    labels = np.repeat(np.arange(classes), each)
    features = middles[labels] + random.normal(scale=spread, size=(len(labels), 20))
    features = features * np.logspace(-2, 2, 20) + 7
    features[:, 3] = 5
    return Data(features.astype(np.float32), labels)
