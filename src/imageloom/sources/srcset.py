"""Reads the attribute `srcset`, by the rules of the HTML standard: addresses of one picture in several sizes."""

import re
from collections.abc import Iterator

_SPACE = " \t\n\f\r"
_URL = re.compile(r"[^ \t\n\f\r]+")
_WIDTH_OR_HEIGHT = re.compile(r"\d+[wh]")
_DENSITY = re.compile(r"\d{0,9}\.?\d{1,9}(?:[eE][+-]?\d{1,3})?x")  # bounded: it is tried at every digit


def addresses(srcset: str) -> list[str]:
    """The addresses, the largest picture's first; those of one size in the attribute's order."""
    found = list(_candidates(srcset))
    return [url for url, _ in sorted(found, key=lambda candidate: candidate[1], reverse=True)]


def _candidates(srcset: str) -> Iterator[tuple[str, tuple[float, float]]]:
    """Each address with its width in pixels and its density; what is not valid is left out, as browsers do."""
    place = 0
    while True:
        while place < len(srcset) and srcset[place] in _SPACE + ",":
            place += 1
        match = _URL.match(srcset, place)
        if match is None:
            return
        url, place = match[0], match.end()
        if url.endswith(","):  # an address may hold commas, as those with `data:` do, and not end in one
            yield url.rstrip(","), (0, 1)
            continue
        descriptors, place = _descriptors(srcset, place)
        size = _size(descriptors)
        if size is not None:
            yield url, size


def _descriptors(srcset: str, place: int) -> tuple[list[str], int]:
    """What stands between an address and the next comma that is not in brackets."""
    depth, start = 0, place
    while place < len(srcset) and (depth or srcset[place] != ","):
        depth += {"(": 1, ")": -1 if depth else 0}.get(srcset[place], 0)
        place += 1
    return srcset[start:place].split(), place


def _size(descriptors: list[str]) -> tuple[float, float] | None:
    width, density = 0.0, 1.0
    kinds = [descriptor[-1] for descriptor in descriptors]
    if len(set(kinds)) < len(kinds) or ("x" in kinds and len(kinds) > 1) or kinds == ["h"]:
        return None
    for descriptor in descriptors:
        if _DENSITY.fullmatch(descriptor):
            density = float(descriptor[:-1])
        elif not _WIDTH_OR_HEIGHT.fullmatch(descriptor):
            return None
        elif descriptor.endswith("w"):
            width = float(descriptor[:-1])
    return width, density
