"""Prints of pictures: what stays the same when a picture is resized, compressed, brightened, mirrored or cropped a bit.

A print is the picture's lowest cosine coefficients, and what is compared are their signs, as in the perceptual hash of
Zauner 2010 ("Implementation and benchmarking of perceptual image hash functions"). Keeping the coefficients and not
the signs alone allows two things without decoding again. Mirroring turns the sign of every odd horizontal coefficient.
And the coefficients of a part of the picture, stretched to the whole, are linear in those of the picture: with the
basis f_i, the part [a, a + w] has c'_i = sum_j c_j ∫ f_i(t) f_j(a + w t) dt, so that a crop is compared with the part
of the original that it shows.

Two pictures of one kind, such as two solar cells, agree in their shape, which is in the coefficients of the axes and
the very lowest; these are left out.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ORDER = 32  # coefficients along each side
COMPARED = 24  # of these, along each side, are compared: a crop needs higher ones to tell these exactly
_COARSE = 16  # of these, along each side, in the short form by which similar prints are looked up
_SAMPLES = 64  # points at which integrals are summed
_LEAST = 4  # the sum of both frequencies must be this much: what lies below is light and shape
# Grey levels, of 255, below which a coefficient in both pictures says nothing: a copy's compression changes its sign.
_FLOOR = 0.06
_ENOUGH = 32  # coefficients above the floor that a comparison needs; a flat picture has fewer
_DTYPE = np.dtype("<f2")
LENGTH = ORDER * ORDER * _DTYPE.itemsize  # bytes

# Parts of a picture that a crop may show: shares of its side, and where they begin.
SHARES = (0.95, 0.9)
# Shares of the side by which the best of these is then moved and scaled, and how well it must agree to be worth it.
WORTH_MOVING = 0.5
_STEPS = ((0.0125, WORTH_MOVING), (0.00625, 0.7), (0.003, 0.8), (0.0015, 0.9), (0.0015, 0.94))


def encode(grey: np.ndarray) -> bytes:
    """The print of a grey picture.

    Args:
        grey: uint8[S, S].
    """
    analysis = _analysis(len(grey))
    return (analysis @ grey @ analysis.T).astype(_DTYPE).tobytes()


def decode(prints: list[bytes]) -> np.ndarray:
    """float32[N, ORDER, ORDER], the coefficients: vertical frequency first."""
    return np.frombuffer(b"".join(prints), _DTYPE).reshape(-1, ORDER, ORDER).astype(np.float32)


def mirrored(coefficients: np.ndarray) -> np.ndarray:
    """The coefficients [..., ORDER, ORDER] of the mirror images."""
    return coefficients * np.where(np.arange(ORDER) % 2, np.float32(-1), np.float32(1))


def short(coefficients: np.ndarray) -> np.ndarray:
    """uint8[N, 32]: the signs of the lowest coefficients, a bit each; few bits differ between similar pictures."""
    return np.packbits(coefficients[:, :_COARSE, :_COARSE].reshape(len(coefficients), -1) > 0, axis=1)


def parts(coefficients: np.ndarray) -> Iterator[tuple["Part", np.ndarray]]:
    """The parts of each picture that a crop most likely shows, and their coefficients.

    Args:
        coefficients: float32[N, ORDER, ORDER].

    Yields:
        The part, and float32[N, COMPARED, COMPARED].
    """
    number = len(coefficients)
    for share in SHARES:
        starts = (0.0, (1 - share) / 2, 1 - share)
        stretch = _stretch(np.array(starts), np.full(3, share))[:, :COMPARED]  # [3, C, ORDER]
        for left, across in zip(starts, stretch, strict=True):
            # Few large products, which take a tenth of the time of many small ones.
            wide = (coefficients.reshape(-1, ORDER) @ across.T).reshape(number, ORDER, COMPARED).transpose(0, 2, 1)
            wide = np.ascontiguousarray(wide).reshape(-1, ORDER)  # [N C, ORDER]
            for top, down in zip(starts, stretch, strict=True):
                cut = (wide @ down.T).reshape(number, COMPARED, COMPARED).transpose(0, 2, 1)
                yield Part(top, left, share), cut


@dataclass(frozen=True)
class Part:
    """A part of a picture, in shares of its sides: where it begins, and how much of each side it has."""

    top: float
    left: float
    share: float


def signs(coefficients: np.ndarray) -> np.ndarray:
    """uint64[N, 2, W]: of the coefficients that are compared a bit each, its sign, and whether it is above the floor.

    Args:
        coefficients: float32[N, C, C] with C of COMPARED or more.
    """
    lowest = coefficients[:, :COMPARED, :COMPARED]
    bits = np.stack([lowest > 0, (np.abs(lowest) > _FLOOR) & _used()], axis=1)  # [N, 2, C, C]
    return np.packbits(bits.reshape(len(bits), 2, COMPARED**2), axis=2).view(np.uint64)


def agreement(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How well prints agree: 1 where all signs are the same, 0 on average between pictures that share nothing.

    What is compared are the coefficients above the floor in one of the two; with too few of them nothing is said, 0.

    Args:
        one: uint64[N, 2, W], `signs` of prints.
        other: The same of the pictures that they are compared with.

    Returns:
        float32[N].
    """
    weighed = one[:, 1] | other[:, 1]
    total = np.bitwise_count(weighed).sum(axis=1, dtype=np.int32)
    different = np.bitwise_count((one[:, 0] ^ other[:, 0]) & weighed).sum(axis=1, dtype=np.int32)
    return np.where(total < _ENOUGH, 0, 1 - 2 * different / np.maximum(total, 1)).astype(np.float32)


def best_agreement(whole: np.ndarray, crop: np.ndarray, start: np.ndarray) -> np.ndarray:
    """How well pictures agree with a part of another, the part being moved and scaled until they agree best.

    Where they do not come near to agreeing, it is not sought on.

    Args:
        whole: float32[N, ORDER, ORDER] of the pictures of which a part may be shown.
        crop: uint64[N, 2, W], `signs` of the pictures that may show it.
        start: float64[N, 3], the part to begin with: top, left, share.

    Returns:
        float32[N].
    """
    place = start.copy()
    best = agreement(signs(_cut(whole, place)), crop)
    for step, worth in _STEPS:
        rows = np.flatnonzero(best >= worth)
        moves = np.array([[step, 0, 0], [0, step, 0], [-step, -step, 2 * step]])  # the last one scales about the middle
        for move in (*moves, *-moves):
            tried = place[rows] + move
            found = agreement(signs(_cut(whole[rows], tried)), crop[rows])
            better = found > best[rows]
            best[rows[better]], place[rows[better]] = found[better], tried[better]
    return best


def _cut(coefficients: np.ndarray, place: np.ndarray) -> np.ndarray:
    """float32[N, COMPARED, COMPARED] of a part, top, left and share, of each picture."""
    top, left, share = place.T
    sides = np.concatenate([np.stack([top, share], axis=1), np.stack([left, share], axis=1)]).round(6)
    distinct, which = np.unique(sides, axis=0, return_inverse=True)  # few: places are moved by few steps
    stretch = _stretch(*distinct.T)[:, :COMPARED][which.reshape(2, -1)]  # [2, N, C, ORDER]
    return stretch[0] @ coefficients @ stretch[1].swapaxes(1, 2)


def _stretch(start: np.ndarray, share: np.ndarray) -> np.ndarray:
    """float32[N, ORDER, ORDER], ∫ f_i(t) f_j(start + share t) dt for every i and j."""
    points = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    return (_analysis(_SAMPLES) @ _basis(start[:, None] + share[:, None] * points).swapaxes(1, 2)).astype(np.float32)


@functools.cache
def _analysis(samples: int) -> np.ndarray:
    """float32[ORDER, samples]: coefficients from values at the middles of as many parts of [0, 1]."""
    return _basis((np.arange(samples) + 0.5) / samples) / np.float32(samples)


def _basis(points: np.ndarray) -> np.ndarray:
    """float32[..., ORDER, P]: cosines, orthonormal on [0, 1], at points [..., P]."""
    scale = np.sqrt(np.where(np.arange(ORDER) == 0, 1, 2))
    angles = np.pi * np.arange(ORDER)[:, None] * points[..., None, :]
    return (scale[:, None] * np.cos(angles)).astype(np.float32)


@functools.cache
def _used() -> np.ndarray:
    """bool[COMPARED, COMPARED], which coefficients are compared."""
    down, across = np.indices((COMPARED, COMPARED))
    return (down > 0) & (across > 0) & (down + across >= _LEAST)
