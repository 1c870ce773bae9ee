"""Placeholders: one picture that many addresses give, such as "no image available", whatever their class.

What tells it is the number: photographs of things have an address or a few, and a placeholder stands wherever one is
missing. Its copies are the same bytes, or near duplicates where a number or a size is drawn into each.
"""

import numpy as np


def sizes(groups: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """How many addresses gave each picture or a near duplicate of it.

    Args:
        groups: int[N], the near-duplicate group of each picture.
        copies: int[N], the addresses that gave its bytes.

    Returns:
        int[N].
    """
    return np.bincount(groups, weights=copies, minlength=len(groups)).astype(int)[groups]


def scores(groups: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """float32[N], one over the number of addresses."""
    return (1 / sizes(groups, copies)).astype(np.float32)
