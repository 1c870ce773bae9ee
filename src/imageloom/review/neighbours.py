"""The pictures that look most alike to the network: what a reviewer compares a doubtful one with."""

import threading

import numpy as np

from imageloom.errors import ImageloomError
from imageloom.features import FeatureStore, view_of

# A random projection keeps distances nearly (Johnson and Lindenstrauss, 1984), in a fifth of the memory.
LENGTH = 256


class Neighbours:
    """Reads the features when it is first asked, which takes a second for 20,000 pictures.

    Args:
        store: The features.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._edition = -1

    def of(self, sha256: str, count: int, edition: int) -> list[tuple[str, float]]:
        """The most similar pictures.

        Args:
            sha256: Of the picture.
            count: How many.
            edition: Features are read anew when this is another than the last time.

        Returns:
            Pairs of SHA-256 and cosine similarity, most similar first; none where the picture has no features.
        """
        with self._lock:
            if edition != self._edition:
                self._read()
                self._edition = edition
            row = self._row_of.get(sha256)
            if row is None:
                return []
            similarity = self._matrix @ self._matrix[row]
        similarity[row] = -np.inf
        count = min(count, len(similarity) - 1)
        nearest = np.argpartition(-similarity, max(0, count - 1))[:count]
        order = nearest[np.argsort(-similarity[nearest], kind="stable")]
        return [(self._ids[index], round(float(similarity[index]), 3)) for index in order]

    def _read(self) -> None:
        self._ids: list[str] = []
        parts: list[np.ndarray] = []  # float32[n, LENGTH] each
        try:
            for ids, vectors in self._store.parts():
                own = [row for row, name in enumerate(ids) if not view_of(name)]
                self._ids += [ids[row] for row in own]
                parts.append(_projected(vectors[own]))
        except ImageloomError:  # a stage is at work on them: no neighbours are better than no page
            self._ids, parts = [], []
        self._row_of = {name: row for row, name in enumerate(self._ids)}
        self._matrix = _directions(np.concatenate(parts)) if parts else np.zeros((0, LENGTH), np.float32)


def _projected(vectors: np.ndarray) -> np.ndarray:
    """float32[N, D] -> float32[N, min(D, LENGTH)]."""
    if vectors.shape[1] <= LENGTH:
        return vectors
    return vectors @ np.random.default_rng(0).standard_normal((vectors.shape[1], LENGTH), dtype=np.float32)


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Each row as seen from the mean of all, with length 1: features have no negative numbers and a large mean."""
    vectors = vectors - vectors.mean(axis=0)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors
