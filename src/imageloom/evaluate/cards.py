"""Data card and model card: what the pictures are and whose, what the model is and what it is not for.

After "Datasheets for Datasets" (Gebru et al. 2021) and "Model Cards for Model Reporting" (Mitchell et al. 2019).
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from imageloom import network, tables
from imageloom.evaluate.outcome import Outcome
from imageloom.evaluate.slices import Slice, host
from imageloom.files import Paths

NAMED = 8  # classes in a sentence
FEW = 50  # training pictures of a class, below which the model card warns
NOT_STATED = "not stated"


def data_card(outcome: Outcome) -> dict[str, Any]:
    """What the pictures are, where they come from, and whose they are."""
    kept = [row for row in outcome.pictures if row["kept"]]
    counts = Counter((row["class"], outcome.sides.get(row["id"])) for row in kept)
    return {
        "kept": len(kept),
        "copies": sum(row["copies"] - 1 for row in outcome.pictures),
        "groups": len({row["group"] for row in kept}),
        "left_out": sorted(Counter(row["reason"] for row in outcome.pictures if not row["kept"]).items()),
        "classes": [[counts[(name, side)] for side in tables.SIDES] for name in outcome.names],
        "sources": _counted((row["source"] or NOT_STATED, host(row["url"]) or NOT_STATED) for row in kept),
        "licences": [(name, number, _terms(name)) for (name,), number in _counted((_licence(row),) for row in kept)],
        "authors": _counted((row["author"], _licence(row)) for row in kept if row["author"]),
        "nameless": sum(not row["author"] for row in kept),
        "formats": _counted((row["format"] or NOT_STATED,) for row in kept),
        "crawls": [number for _, number in sorted(Counter(row["crawl"] for row in kept).items())],
        "sides": _spread([min(row["width"], row["height"]) for row in kept]),
        "bytes": sum(row["bytes"] or 0 for row in kept),
    }


def model_card(outcome: Outcome, slices: Sequence[Slice], paths: Paths) -> dict[str, Any]:
    """What the model is made of, and what to be careful about.

    Raises:
        DataError: backbone.json is missing or damaged.
    """
    about = outcome.about
    return {
        "recipe": about["recipe"],
        "aspect": about["input"]["aspect"],
        "fitted": about.get("fitted", {}),
        "cross_validated": about.get("cross_validated", False),
        "temperature": about["calibration"]["temperature"],
        "bounds": about["known"],
        "backbone": network.of(paths).about,
        "cautions": list(_cautions(outcome, slices)),
    }


def _cautions(outcome: Outcome, slices: Sequence[Slice]) -> Iterable[str]:
    """What the figures themselves warn of."""
    train = Counter(row["class"] for row in outcome.pictures if outcome.sides.get(row["id"]) == "train")
    few = [f"{spec['label']} ({train[spec['name']]:,})" for spec in outcome.classes if train[spec["name"]] < FEW]
    if few:
        yield f"Learned from few training pictures: {_some(few)}."
    test = np.bincount(outcome.actual, minlength=len(outcome.classes))
    none = [spec["label"] for spec, number in zip(outcome.classes, test, strict=True) if number == 0]
    if none:
        yield f"There are no test pictures of {_some(none)}, so nothing is known of how well these are told."
    for part in slices:
        if part.verdict == "worse":
            yield (
                f"It does worse on pictures with {part.title}: {part.value} ({part.accuracy.value:.1%} right, "
                f"{part.rest:.1%} of the others)."
            )
    licences = {_licence(row) for row in outcome.pictures if row["kept"]}
    if any(_forbids_trade(name) for name in licences):
        yield "Some of its pictures are not for commercial use; ask a lawyer whether that binds the model."
    if NOT_STATED in licences:
        yield "Some of its pictures came without a licence: find out whose they are before you pass them on."


def _some(names: Sequence[str]) -> str:
    """The first `NAMED` names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _counted(keys: Iterable[tuple[Any, ...]]) -> list[tuple[tuple[Any, ...], int]]:
    """Keys and how often each comes, the commonest first; those that come equally often by name."""
    return sorted(Counter(keys).items(), key=lambda pair: (-pair[1], pair[0]))


def _licence(row: dict[str, Any]) -> str:
    return row["licence"] or NOT_STATED


def _forbids_trade(licence: str) -> bool:
    return re.search(r"\bnc\b|non-?commercial", licence, re.IGNORECASE) is not None


def _terms(licence: str) -> str:
    """What a licence of Creative Commons asks for, in words; empty for others."""
    letters = set(re.findall(r"[a-z0]+", licence.lower()))
    if not letters & {"cc", "cc0"}:
        return ""
    if "cc0" in letters:
        return "no conditions"
    said = {
        "by": "name the author",
        "nc": "not for commercial use",
        "sa": "share alike",
        "nd": "no derivatives",
    }
    return ", ".join(words for code, words in said.items() if code in letters)


def _spread(numbers: Sequence[int]) -> tuple[int, int, int] | None:
    """Smallest, median and largest."""
    return (min(numbers), int(np.median(numbers)), max(numbers)) if numbers else None
