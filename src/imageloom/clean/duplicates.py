"""Near duplicates: pictures that show the same photograph, or were taken of the same thing at the same moment.

What resembles each other in features, or in the short form of its print, is proposed; prints decide, so that two
pictures of one kind are not called one picture. Whatever is linked is one group, rooted in the member that came first
(by crawl, then by id). A picture that would link groups which stood apart in an earlier crawl is a bridge: these may be
on different sides of the split, so it is used on neither, and they stay apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from imageloom.clean import neighbours, prints
from imageloom.clean.neighbours import Neighbours
from imageloom.engine import cores, map_ordered

_PROPOSED = 5  # for each picture and each form of its print
# Bits of 256 by which short prints may differ in all forms: those of copies differ in 46 at most (cropped), and others
# usually in 107; two thirds of what is proposed then need no closer look.
_FAR = 80
_PAIRS = 8192  # compared at a time, which keeps memory flat


@dataclass(frozen=True)
class Links:
    """Pairs of near duplicates.

    Args:
        pairs: int64[P, 2], rows of pictures, the smaller first.
        agreements: float32[P], from the threshold to 1.
    """

    pairs: np.ndarray
    agreements: np.ndarray


@dataclass(frozen=True)
class Groups:
    """Which pictures belong together.

    Args:
        roots: int64[N], the row of the root of each picture's group, its own where it stands alone.
        bridges: bool[N].
    """

    roots: np.ndarray
    bridges: np.ndarray


def link(encoded: Sequence[bytes], near: Neighbours, crawls: np.ndarray, threshold: float) -> Links:
    """Finds pairs of near duplicates.

    Args:
        encoded: Prints of N pictures.
        near: Their neighbours by features.
        crawls: int[N], when each came.
        threshold: How well prints must agree, from 0 to 1.
    """
    known = _Prints.of(prints.decode(list(encoded)))
    by_features = np.stack(np.broadcast_arrays(np.arange(len(encoded))[:, None], near.rows), axis=-1).reshape(-1, 2)
    by_prints = neighbours.alike(known.forms[0], known.forms, _PROPOSED, crawls)
    proposed = neighbours.distinct(np.concatenate([by_features, by_prints]))
    proposed = proposed[_in_blocks(known.differences, proposed) <= _FAR]
    agreements = known.agreements(proposed, threshold)
    linked = agreements >= threshold
    return Links(proposed[linked], agreements[linked])


@dataclass(frozen=True)
class _Prints:
    """The prints of N pictures, and what they are compared by.

    Args:
        coefficients: float32[N, ORDER, ORDER].
        whole: uint64[N, 2, W], their signs.
        mirrored: Those of their mirror images.
        parts: The parts that a crop most likely shows, each with the signs uint64[N, 2, W] of it in all pictures.
        forms: Short prints uint8[N, 32] by which a picture is looked up: as it is, mirrored, and parts of it.
    """

    coefficients: np.ndarray
    whole: np.ndarray
    mirrored: np.ndarray
    parts: list[tuple[prints.Part, np.ndarray]]
    forms: list[np.ndarray]

    @classmethod
    def of(cls, coefficients: np.ndarray) -> "_Prints":
        mirrored = prints.mirrored(coefficients)
        parts, forms = [], [prints.short(coefficients), prints.short(mirrored)]
        for part, cut in prints.parts(coefficients):
            parts.append((part, prints.signs(cut)))
            if part.share == prints.SHARES[0]:
                forms.append(prints.short(cut))
        return cls(coefficients, prints.signs(coefficients), prints.signs(mirrored), parts, forms)

    def differences(self, pairs: np.ndarray) -> np.ndarray:
        """int[P], bits in which the short prints of two pictures differ, in the form in which they differ least."""
        forms = [form.view(np.uint64) for form in self.forms]
        found = np.full(len(pairs), 8 * self.forms[0].shape[1])
        for one, other in (pairs.T, pairs[:, ::-1].T):
            for form in forms:
                found = np.minimum(found, np.bitwise_count(form[one] ^ forms[0][other]).sum(axis=1))
        return found

    def agreements(self, pairs: np.ndarray, threshold: float) -> np.ndarray:
        """float32[P], of the pictures as they are, mirrored, or one cropped to a part of the other: the best of these.

        Below the threshold it is not sought on.
        """
        found = _in_blocks(self._whole, pairs)[:, 0]
        for both in (pairs, pairs[:, ::-1]):
            rest = np.flatnonzero(found < threshold)
            best, *place = _in_blocks(self._as_crops, both[rest]).T
            found[rest] = np.maximum(found[rest], best)
            worth = best >= prints.WORTH_MOVING
            rest, start = rest[worth], np.stack(place, axis=1)[worth]
            moved = _in_blocks(self._moved, np.concatenate([both[rest], start], axis=1))[:, 0]
            found[rest] = np.maximum(found[rest], moved)
        return found

    def _whole(self, pairs: np.ndarray) -> np.ndarray:
        """[P, 1], agreements as they are or mirrored."""
        one, other = pairs.T
        as_is = prints.agreement(self.whole[one], self.whole[other])
        return np.maximum(as_is, prints.agreement(self.mirrored[one], self.whole[other]))[:, None]

    def _as_crops(self, pairs: np.ndarray) -> np.ndarray:
        """[P, 4], how well the second agrees with the likeliest part of the first, and its top, left and share."""
        whole, crop = pairs.T
        print_, best = self.whole[crop], np.full((len(pairs), 4), -1, np.float32)
        for part, signs in self.parts:
            agreement = prints.agreement(signs[whole], print_)
            better = agreement > best[:, 0]
            best[better, 0] = agreement[better]
            best[better, 1:] = (part.top, part.left, part.share)
        return best

    def _moved(self, pairs: np.ndarray) -> np.ndarray:
        """[P, 1], how well the second agrees with the best part of the first; which part to begin with comes third."""
        whole, crop = pairs[:, :2].astype(np.int64).T
        return prints.best_agreement(self.coefficients[whole], self.whole[crop], pairs[:, 2:])[:, None]


def _in_blocks(work: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Applies `work` to some rows at a time, on all cores; at least to one block, which may be empty."""
    blocks = np.array_split(rows, max(1, -(-len(rows) // _PAIRS)))
    return np.concatenate(list(map_ordered(work, blocks, cores())))


def group(links: Links, crawls: np.ndarray, ids: Sequence[str]) -> Groups:
    """Joins what is linked.

    Args:
        links: Pairs of near duplicates.
        crawls: int[N], when each picture came.
        ids: Their ids.
    """
    order = sorted(range(len(ids)), key=lambda row: (crawls[row], ids[row]))
    place = np.empty(len(ids), int)
    place[order] = np.arange(len(ids))
    earlier: dict[int, list[int]] = {}
    for one, other in links.pairs.tolist():
        first, last = sorted((one, other), key=lambda row: place[row])
        earlier.setdefault(last, []).append(first)
    parent = np.arange(len(ids))
    bridges = np.zeros(len(ids), bool)

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for row in order:
        linked = {root(one) for one in earlier.get(row, ()) if not bridges[one]}
        placed_before = [one for one in linked if crawls[one] < crawls[row]]
        if len(placed_before) > 1:
            bridges[row] = True
            continue
        for one in linked:
            older, newer = sorted((one, root(row)), key=lambda each: place[each])
            parent[newer] = older
    return Groups(np.array([root(row) for row in range(len(ids))], np.int64), bridges)
