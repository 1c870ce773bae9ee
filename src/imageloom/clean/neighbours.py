"""Nearest neighbours among many vectors, by a graph of neighbours (HNSW, Malkov and Yashunin 2018) through usearch.

Vectors are added in the order of crawls, and each is searched for when its crawl is in: its neighbours are those that
it had when it came, so that what comes later never changes what was near before. The graph is built in one thread,
since with several it depends on which is faster; searching changes nothing and takes all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

AXES = 128  # numbers that a feature vector is projected to before it is looked up
_EXPANSION = 64  # vectors that usearch keeps in view while it adds or looks: recall against time
_FEW = 32  # the same for bits, which are looked up in many forms
_ROWS = 4096  # at a time, which keeps memory flat


@dataclass(frozen=True)
class Neighbours:
    """The k nearest of each of N vectors, from the nearest; a vector is no neighbour of its own.

    Args:
        rows: int32[N, k], -1 where there are fewer.
        similarities: float32[N, k], cosines; -1 where there are fewer.
    """

    rows: np.ndarray
    similarities: np.ndarray


def projected(features: np.ndarray) -> np.ndarray:
    """Feature vectors in fewer dimensions, which keeps distances to within a tenth (Johnson and Lindenstrauss 1984).

    Directions are drawn at random from a fixed seed, not learned: what comes later must not turn the axes.

    Args:
        features: float32[N, D].

    Returns:
        float32[N, min(D, AXES)], of length one.
    """
    length = features.shape[1]
    if length > AXES:
        axes = np.random.default_rng(0).standard_normal((length, AXES)).astype(np.float32)
        low = np.concatenate([of_length_one(block) @ axes for block in _blocks(features)])
    else:
        low = features
    return of_length_one(low)


def of_length_one(vectors: np.ndarray) -> np.ndarray:
    """float32[N, D]; a vector of zeros stays one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12).astype(np.float32)


def nearest(vectors: np.ndarray, k: int, crawls: np.ndarray | None = None) -> Neighbours:
    """Finds neighbours.

    Args:
        vectors: float32[N, D], of length one.
        k: How many of each.
        crawls: int[N]; each vector's neighbours are then of its own crawl and those before. All, if not given.
    """
    number = len(vectors)
    rows, similarities = np.full((number, k), -1, np.int32), np.full((number, k), -1, np.float32)
    index = _index(vectors.shape[1])
    for members in _by_crawl(np.zeros(number, int) if crawls is None else crawls):
        index.add(members, vectors[members], threads=1)
        keys, distances = _search(index, vectors[members], k + 1)
        own = keys == members[:, None]
        own[~own.any(axis=1), -1] = True  # among many that are alike it may not have found itself
        width = keys.shape[1] - 1
        rows[members, :width] = keys[~own].reshape(len(members), width)
        similarities[members, :width] = 1 - distances[~own].reshape(len(members), width)
    similarities[rows < 0] = -1
    return Neighbours(rows, similarities)


def alike(bits: np.ndarray, queries: Sequence[np.ndarray], k: int, crawls: np.ndarray) -> np.ndarray:
    """Finds vectors of bits that differ little.

    Args:
        bits: uint8[N, B], eight bits each.
        queries: Each uint8[N, B], another form of every vector in which it may be found.
        k: How many for each form.
        crawls: int[N], as for `nearest`.

    Returns:
        int64[P, 2], pairs of rows, the smaller first, each pair once.
    """
    from usearch.index import Index, MetricKind, ScalarKind

    index = Index(ndim=8 * bits.shape[1], metric=MetricKind.Hamming, dtype=ScalarKind.B1, expansion_search=_FEW)
    pairs = [np.empty((0, 2), np.int64)]
    for members in _by_crawl(crawls):
        index.add(members, bits[members], threads=1)
        for query in queries:
            keys, _ = _search(index, query[members], k)
            pairs.append(np.stack(np.broadcast_arrays(members[:, None], keys), axis=-1).reshape(-1, 2))
    return distinct(np.concatenate(pairs))


def distinct(pairs: np.ndarray) -> np.ndarray:
    """Each pair of different rows once, the smaller first, in order; those with -1 are left out."""
    smaller, larger = pairs.min(axis=1).astype(np.int64), pairs.max(axis=1).astype(np.int64)
    kept = (smaller >= 0) & (smaller != larger)
    size = larger.max(initial=0) + 1
    return np.stack(np.divmod(np.unique(smaller[kept] * size + larger[kept]), size), axis=1)


def _index(length: int):  # type: ignore[no-untyped-def]
    from usearch.index import Index, MetricKind, ScalarKind

    return Index(
        ndim=length,
        metric=MetricKind.Cos,
        dtype=ScalarKind.F16,  # half as much to fetch from memory, which is what looking among 100,000 takes time for
        expansion_add=_EXPANSION,
        expansion_search=_EXPANSION,
    )


def _search(index, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[no-untyped-def]
    """Keys int64[n, k'] and distances float32[n, k'] with k' = min(k, size of the index); -1 where it found fewer."""
    k = min(k, len(index))
    keys, distances = np.full((len(vectors), k), -1, np.int64), np.full((len(vectors), k), 2, np.float32)
    for start in range(0, len(vectors), _ROWS):
        found = index.search(vectors[start : start + _ROWS], k)
        if len(vectors[start : start + _ROWS]) == 1:
            keys[start, : len(found)], distances[start, : len(found)] = found.keys, found.distances
            continue
        there = np.arange(k) < np.asarray(found.counts)[:, None]
        rows = slice(start, start + len(there))
        keys[rows], distances[rows] = np.where(there, found.keys.astype(np.int64), -1), found.distances
    return keys, distances


def _by_crawl(crawls: np.ndarray) -> Iterator[np.ndarray]:
    for crawl in np.unique(crawls):
        yield np.flatnonzero(crawls == crawl)


def _blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(features), _ROWS):
        yield features[start : start + _ROWS]
