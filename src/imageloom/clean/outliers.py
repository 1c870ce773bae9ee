"""Outliers: pictures that resemble no other, and so most likely show none of the classes.

The score goes by the mean distance to the nearest neighbours (Kuan and Mueller 2022, arXiv:2207.03061), here in units
of what is usual among the pictures. Near duplicates do not count as neighbours: two copies of a stray are strays.
"""

import numpy as np

from imageloom.clean.neighbours import Neighbours

_COUNTED = 8  # neighbours


def scores(near: Neighbours, groups: np.ndarray) -> np.ndarray:
    """1 where neighbours are as near as usual or nearer, 1/2 where they are twice as far.

    Args:
        near: Neighbours of N pictures, among all of them.
        groups: int[N], the near-duplicate group of each.

    Returns:
        float32[N].
    """
    foreign = (near.rows >= 0) & (groups[near.rows] != groups[:, None])
    counted = foreign & (foreign.cumsum(axis=1) <= _COUNTED)
    number = counted.sum(axis=1)
    away = np.where(counted, 1 - near.similarities, 0).sum(axis=1) / np.maximum(number, 1)
    if not number.any():
        return np.ones(len(away), np.float32)
    usual = max(float(np.median(away[number > 0])), 1e-6)
    return np.minimum(1, usual / np.maximum(away, 1e-9)).astype(np.float32)
