"""Stage `split`: puts every picture on one side, train, validation or test, for ever.

Pictures of a near-duplicate group stay together. `hash` places a group by a hash of the seed and the group's root, so
that no picture that comes later can move one that is there; parts are exact only on average. `stratified` deals the
sides out in turn within each class, which is exact for small sets, and remembers them in data/split/dealt.json.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from imageloom import console, files, tables, weights
from imageloom.errors import DataError
from imageloom.files import Paths
from imageloom.params import StageParams

_FEW = 5  # pictures to train on: fewer cannot be in each of five folds
_UNEVEN = 100  # times as many


class Params(StageParams):
    """How large the parts are, and how a picture's side is found."""

    method: Literal["hash", "stratified"] = Field(
        default="hash", description="`hash`, or `stratified` for small sets: exact parts of each class"
    )
    validation: float = Field(default=0.2, gt=0, lt=1, description="share of pictures that choose between settings")
    test: float = Field(default=0.2, gt=0, lt=1, description="share of pictures that measure the result")
    seed: int = Field(default=0, description="another seed gives other parts")

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> "Params":
        if self.validation + self.test >= 1:
            message = f"validation {self.validation} + test {self.test} leave nothing to train on"
            raise PydanticCustomError("shares", message, {"hint": "make one of them smaller; 0.2 each is usual"})
        return self


def run(params: Params, paths: Paths) -> None:
    """Writes data/split/split.parquet.

    Raises:
        DataError: A class has no picture on some side, near duplicates are on different sides, or data/weights.csv is
            no list of weights.
    """
    rows = tables.read(paths.clean, tables.CLEAN, "clean").to_pylist()
    dealt = paths.split.with_name("dealt.json")
    by_hash = params.method == "hash"
    sides = _by_hash(rows, params) if by_hash else _stratified(rows, params, _remembered(params, dealt))
    listed = weights.read(paths.weights, rows)
    split = [
        {
            "id": row["id"],
            "class": row["class"],
            "path": row["path"],
            "group": row["group"],
            "side": sides[row["group"]],
            "weight": listed.get(row["id"], 1.0),
        }
        for row in rows
        if row["kept"]
    ]
    _require_no_leak(split, tables.read(paths.links, tables.LINKS, "clean").to_pylist())
    counts = Counter((row["class"], row["side"]) for row in split)
    _require_every_side(counts, params)
    if by_hash:
        dealt.unlink(missing_ok=True)
    else:
        files.write_json(dealt, {"params": params.model_dump(), "sides": sides})
    tables.write(paths.split, split, tables.SPLIT)
    _warn_of_few(counts)
    if listed:
        console.say(f"split: {console.counted(len(listed), 'picture')} with a weight, from {paths.weights.name}")
    for name in sorted({row["class"] for row in split}):
        parts = ", ".join(f"{counts[name, side]:,} {side}" for side in tables.SIDES)
        console.say(f"split: {name}: {parts}")


def _require_no_leak(split: list[dict[str, Any]], links: list[dict[str, Any]]) -> None:
    """Every pair of near duplicates that are both used is on one side; groups see to it, and this sees that they do."""
    sides = {row["id"]: row["side"] for row in split}
    for link in links:
        one, other = sides.get(link["id"]), sides.get(link["other"])
        if one and other and one != other:
            pair = f"{link['id'][:12]} and {link['other'][:12]}"
            raise DataError(
                f"near duplicates are on two sides: {pair} are on {one} and {other}", "run `dvc repro --force clean`"
            )


def _by_hash(rows: list[dict[str, Any]], params: Params) -> dict[str, str]:
    """Side of each group: the first 8 bytes of SHA-256(seed, root), read as a fraction of their range."""
    return {row["group"]: _side_of(_fraction(row["group"], params.seed), params) for row in rows}


def _fraction(root: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{root}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _side_of(fraction: float, params: Params) -> str:
    if fraction < params.test:
        return "test"
    return "validation" if fraction < params.test + params.validation else "train"


def _stratified(rows: list[dict[str, Any]], params: Params, known: dict[str, str]) -> dict[str, str]:
    """Side of each group: the one that is `known`, else the next that is dealt out within the class of its root.

    Of the first n pictures of a class, test has got n * test and validation n * validation, to within one.
    """
    dealt: dict[str, Counter[str]] = {}
    roots = [row for row in rows if row["id"] == row["group"]]
    for row in roots:
        if row["group"] in known:
            dealt.setdefault(row["class"], Counter())[known[row["group"]]] += 1
    sides = dict(known)
    shares = {"test": params.test, "validation": params.validation, "train": 1 - params.test - params.validation}
    for row in sorted(roots, key=lambda row: (row["crawl"], _fraction(row["group"], params.seed))):
        if row["group"] in known:
            continue
        counts = dealt.setdefault(row["class"], Counter())
        turn = counts.total() + 1
        empty = [name for name in tables.SIDES if not counts[name]]
        # The first three pictures of a class serve one side each; after that the side most behind its share is next.
        side = empty[0] if empty else max(shares, key=lambda name: shares[name] * turn - counts[name])
        counts[side] += 1
        sides[row["group"]] = side
    return sides


def _remembered(params: Params, dealt: Path) -> dict[str, str]:
    """Sides that were dealt out before by the same parameters; none where there are none, or by others."""
    if not dealt.exists():
        return {}
    content = files.read_json(dealt, "split")
    return dict(content["sides"]) if content["params"] == params.model_dump() else {}


def _require_every_side(counts: Counter[tuple[str, str]], params: Params) -> None:
    for name in sorted({name for name, _ in counts}):
        total = sum(counts[name, side] for side in tables.SIDES)
        empty = [side for side in tables.SIDES if not counts[name, side]]
        if not empty:
            continue
        if total < len(tables.SIDES):
            hint = "each class needs three pictures or more, one for each side; add some, or leave the class out"
        elif params.method == "hash":
            hint = "set `method: stratified` under `split`, or add pictures of this class"
        else:
            hint = "make `validation` or `test` under `split` larger, or add pictures of this class"
        count = console.counted(total, "picture")
        raise DataError(f"class {name!r} has {count} and none of them for {' and '.join(empty)}", hint)


def _warn_of_few(counts: Counter[tuple[str, str]]) -> None:
    """Says which classes have too few pictures for what comes out to be relied on."""
    seen = {name: number for (name, side), number in sorted(counts.items()) if side == "train"}
    for name, number in seen.items():
        if number < _FEW:
            pictures = console.counted(number, "picture")
            console.warn(f"class {name!r} has {pictures} to train on: what is said of it will be a guess; add some")
    least, most = min(seen, key=lambda name: seen[name]), max(seen, key=lambda name: seen[name])
    times = seen[most] / seen[least]
    if times > _UNEVEN:
        console.warn(
            f"class {most!r} has {times:,.0f} times as many pictures to train on as {least!r}: accuracy will say "
            f"little of {least!r}; look at its recall, or add pictures of it"
        )
