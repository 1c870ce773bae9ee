"""Checks of a picture's quality: dark, bright, blurry, of an odd aspect, of little information, of an odd size.

Measures, scores and thresholds are those of cleanvision 0.3 (Cleanlab Inc., Apache-2.0), which tests compare them with.
It is not imported: it opens pictures by its own way, at their full size, and takes 1.5 s to start.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from imageloom import tables
from imageloom.clean.pictures import Picture

_EDGES = 0.01  # how fast the score grows with the strength of edges
_FLAT = 0.18  # what a histogram must reach to say that a picture has few edges because it has few tones
_ENTROPY = 0.1  # of ten bits
_SPREAD = 3.0  # interquartile ranges from the quartiles within which a size is ordinary (Tukey 1977: far out)


def scores(looks: pa.Table, pictures: Sequence[Picture]) -> Mapping[str, np.ndarray]:
    """Scores from 0, the worst, to 1.

    Args:
        looks: Rows of `tables.LOOKS`, one for each of `pictures`.
        pictures: N of them.

    Returns:
        float32[N] for each check.
    """
    look = {name: tables.to_numpy(looks[name]) for name in looks.column_names if name not in ("id", "print")}
    width = np.array([picture.width for picture in pictures], float)
    height = np.array([picture.height for picture in pictures], float)
    found = {
        "dark": look["brightness_99"],
        "bright": 1 - look["brightness_5"],
        "blurry": _sharpness(look["edges"], look["histogram"]),
        "odd_aspect": np.minimum(width / height, height / width),
        "low_information": np.minimum(_ENTROPY * look["entropy"], 1),
        "odd_size": _ordinary(np.sqrt(width * height)),
    }
    return {name: score.astype(np.float32) for name, score in found.items()}


def _sharpness(edges: np.ndarray, histogram: np.ndarray) -> np.ndarray:
    flat = 1 - np.exp(-_EDGES * histogram)
    return np.minimum(1 - np.exp(-_EDGES * edges) + np.where(flat > _FLAT, flat, 0), 1)


def _ordinary(size: np.ndarray) -> np.ndarray:
    """Half and more within the bounds of ordinary sizes, and 1 in their middle."""
    lower, upper = np.percentile(size, (25, 75))
    lower, upper = lower - _SPREAD * (upper - lower), upper + _SPREAD * (upper - lower)
    middle, width = (lower + upper) / 2, upper - lower
    if width == 0:  # cleanvision marks every other size then; here one of half or twice the side
        return np.minimum(size / middle, middle / size)
    return 1 - np.clip(np.abs(size - middle) / width, 0, 1)
