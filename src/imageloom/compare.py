"""`imageloom compare A B`: whether model B is better than model A, on the same pictures that neither has seen."""

import argparse
import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imageloom import console, files, images, runtimes, tables
from imageloom.engine import cores, map_ordered
from imageloom.errors import DataError, ImageError, ModelError
from imageloom.files import Paths
from imageloom.predictor import Predictor

Verdict = Literal["better", "same", "worse"]

# What the command ends with; 1 and 2 are for what went wrong.
EXIT_CODES: dict[Verdict, int] = {"better": 0, "same": 3, "worse": 4}

ALPHA = 0.05  # chance at which a difference is called one although there is none

SHOWN = 10  # changed pictures, where people read
FEWEST_FOR_A_BAR = 50  # pictures

_Z = 1.959964  # of the normal distribution, for 95 %


@dataclass(frozen=True)
class Seen:
    """A picture and what the models said of it, by names of classes."""

    file: str
    actual: str
    a: str
    b: str

    @property
    def outcome(self) -> Literal["both", "won", "lost", "neither"]:
        """Who was right; won is by B."""
        if self.a == self.b:
            return "both" if self.a == self.actual else "neither"
        return "won" if self.b == self.actual else "lost" if self.a == self.actual else "neither"


@dataclass(frozen=True)
class Comparison:
    """How B does against A on the same pictures.

    Args:
        pictures: How many there are.
        right_a: How many A names rightly.
        right_b: How many B names rightly.
        won: How many B names rightly and A does not.
        lost: How many A names rightly and B does not.
    """

    pictures: int
    right_a: int
    right_b: int
    won: int
    lost: int

    @classmethod
    def of(cls, seen: Iterable[Seen]) -> "Comparison":
        """Counts."""
        counts = Counter(one.outcome for one in seen)
        both, won, lost = counts["both"], counts["won"], counts["lost"]
        return cls(counts.total(), both + lost, both + won, won, lost)

    @property
    def difference(self) -> float:
        """Accuracy of B less that of A."""
        return (self.won - self.lost) / self.pictures

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds between which the difference lies 95 times of 100.

        Wald's, with one picture more won and one more lost (Bonett and Price 2012), which Fagerland, Lydersen and Laake
        2014 recommend for pairs.
        """
        number = self.pictures + 2
        won, lost = (self.won + 1) / number, (self.lost + 1) / number
        half = _Z * math.sqrt((won + lost - (won - lost) ** 2) / number)
        return max(-1.0, won - lost - half), min(1.0, won - lost + half)

    @property
    def p(self) -> float:
        """McNemar's test, mid-p: how likely pictures would change sides so unevenly if neither model were better.

        McNemar 1947; the mid-p version, which is neither too shy nor too bold, by Fagerland, Lydersen and Laake 2013.
        """
        from scipy.special import bdtr  # scipy.stats has the binomial distribution, too, but takes long to import

        number, fewer = self.won + self.lost, min(self.won, self.lost)
        return min(1.0, float(bdtr(fewer, number, 0.5) + (bdtr(fewer - 1, number, 0.5) if fewer else 0)))

    @property
    def verdict(self) -> Verdict:
        """`same` stands for a difference that may be chance; test and interval must agree that it is not."""
        low, high = self.interval
        if self.p >= ALPHA or low <= 0 <= high:
            return "same"
        return "better" if self.difference > 0 else "worse"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    model = "an exported folder, a model's file, a SavedModel, or mlflow:models/NAME@alias"
    parser.add_argument("a", metavar="A", help=f"the model that is there: {model}")
    parser.add_argument("b", metavar="B", help="the model that may take its place")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="pictures that neither model has seen, in a folder per class (default: the project's test pictures)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every picture that changed")
    parser.add_argument("-C", "--project", type=Path, default=Path(), metavar="DIR", help="folder of params.yaml")
    parser.epilog = (
        "Ends with 0 where B is better, 3 where no difference is shown, 4 where B is worse, 2 after an error."
    )


def run(arguments: argparse.Namespace) -> int:
    """Compares the models.

    Returns:
        The verdict's code, of `EXIT_CODES`.

    Raises:
        ModelError: A model cannot be used, or knows none of the classes.
        DataError: There are no pictures, or none on which neither model was trained.
    """
    models = runtimes.open_model(arguments.a), runtimes.open_model(arguments.b)
    paths = Paths(arguments.project)
    given = _in_folders(arguments.data) if arguments.data else _test_side(paths)
    pictures, seen_before = _held_out(models, given)
    classes = Counter(name for _, name in pictures)
    called = _called(models, classes)
    for letter, names in zip("AB", called, strict=True):
        _check_classes(letter, {*names.values()}, classes)
    seen = _look(models, called, pictures)
    result = Comparison.of(seen)
    named = [
        {"model": where, "version": model.version, "trained_on": number}
        for where, model, number in zip((arguments.a, arguments.b), models, seen_before, strict=True)
    ]
    if arguments.json:
        console.say(console.as_json(_as_dict(result, seen, named), indent=2))
    else:
        console.say("\n".join(console.readable(line) for line in _as_text(result, seen, named)))
    return EXIT_CODES[result.verdict]


def _test_side(paths: Paths) -> list[tuple[Path, str]]:
    """Files and classes of the project's test pictures."""
    columns = tables.read(paths.split, tables.SPLIT, "split").select(["path", "class", "side"]).to_pylist()
    found = [(paths.raw / row["path"], row["class"]) for row in columns if row["side"] == "test"]
    if not found:
        raise DataError("the split has no test pictures", "set split.test, or name a folder of pictures by --data")
    return found


def _in_folders(folder: Path) -> list[tuple[Path, str]]:
    """Files and classes of the pictures in a folder per class; names of classes are in NFC, as models have them."""
    below = sorted(path for path in folder.glob("*/**/*") if path.suffix.lower() in images.EXTENSIONS)
    classes = ((path, path.relative_to(folder).parts[0]) for path in below if path.is_file())
    found = [(path, unicodedata.normalize("NFC", name)) for path, name in classes]
    if not found:
        raise DataError(f"no pictures in folders below {folder}", "put those of each class into a folder of its name")
    return found


def _held_out(
    models: Sequence[Predictor], pictures: Sequence[tuple[Path, str]]
) -> tuple[list[tuple[Path, str]], list[int | None]]:
    """The pictures on which neither model was trained, and on how many of all each was; None where it does not say.

    Whoever has seen a picture with its answer names it rightly: on such pictures the better memory would win.
    """
    ids = list(map_ordered(_id, [path for path, _ in pictures], cores()))
    fresh, counts = [True] * len(pictures), list[int | None]()
    for letter, model in zip("AB", models, strict=True):
        known = model.trained_on()
        if known is None:
            console.warn(f"{letter} does not say on which pictures it was trained: see that these are others")
            counts.append(None)
            continue
        seen = [id is not None and id in known for id in ids]
        fresh = [new and not old for new, old in zip(fresh, seen, strict=True)]
        counts.append(sum(seen))
        if any(seen):
            console.warn(f"{letter} was trained on {sum(seen):,} of the {len(pictures):,} pictures: they are left out")
    left = [picture for picture, new in zip(pictures, fresh, strict=True) if new]
    if not left:
        raise DataError("there is no picture on which neither model was trained", "name others by --data")
    return left, counts


def _id(path: Path) -> str | None:
    """The SHA-256 of a file's bytes; None where it cannot be read, of which `_look` tells."""
    try:
        return files.sha256(path)
    except OSError:
        return None


def _called(models: Sequence[Predictor], folders: Collection[str]) -> list[dict[str, str]]:
    """For each model, what each of its classes, by name, is called here: as a folder is where one has its name, its
    label, or another model's name of that label; else by the same name for all models."""
    shared: dict[str, set[str]] = {}
    for model in models:
        for label, name in zip(model.labels, model.names, strict=True):
            shared.setdefault(label, set()).add(name)

    def called(name: str, label: str) -> str:
        names = sorted(shared[label])
        return next((one for one in (name, label, *names) if one in folders), names[0])

    return [
        {name: called(name, label) for name, label in zip(model.names, model.labels, strict=True)} for model in models
    ]


def _check_classes(letter: str, known: Collection[str], classes: Mapping[str, int]) -> None:
    strange = [name for name in classes if name not in known]
    if len(strange) == len(classes):
        raise ModelError(
            f"{letter} knows none of the classes {', '.join(sorted(classes))}", "compare on pictures of its own classes"
        )
    for name in strange:
        count = console.counted(classes[name], "picture")
        console.warn(f"{letter} does not know the class {name!r}, and is wrong on its {count}")


def _look(
    models: Sequence[Predictor], called: Sequence[Mapping[str, str]], pictures: Sequence[tuple[Path, str]]
) -> list[Seen]:
    """What both models say; each picture is read once."""

    def look(item: tuple[Path, str]) -> Seen | None:
        path, actual = item
        try:
            data = path.read_bytes()
            a, b = (names[model.predict(data).name] for model, names in zip(models, called, strict=True))
        except (ImageError, OSError):
            return None
        return Seen(str(path), actual, a, b)

    seen: list[Seen] = []
    many = len(pictures) >= FEWEST_FOR_A_BAR
    with console.progress("compare", len(pictures), log=console.remark) if many else nullcontext() as bar:
        for done, one in enumerate(map_ordered(look, pictures, cores()), start=1):
            seen += [one] if one else []
            if bar is not None:
                bar.update(done)
    if not seen:
        raise DataError(f"none of the {len(pictures):,} pictures can be read", "`dvc checkout` brings them back")
    if len(seen) < len(pictures):
        console.warn(f"left out as unreadable: {console.counted(len(pictures) - len(seen), 'picture')}")
    return seen


def _by_class(seen: Sequence[Seen]) -> dict[str, Comparison]:
    return {name: Comparison.of(one for one in seen if one.actual == name) for name in sorted({s.actual for s in seen})}


def _as_dict(result: Comparison, seen: Sequence[Seen], models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def counts(part: Comparison) -> dict[str, Any]:
        accuracy = {"accuracy_a": part.right_a / part.pictures, "accuracy_b": part.right_b / part.pictures}
        return {"pictures": part.pictures, **accuracy, "won": part.won, "lost": part.lost}

    return {
        "verdict": result.verdict,
        **dict(zip("ab", models, strict=True)),
        **counts(result),
        "difference": result.difference,
        "interval": list(result.interval),
        "mcnemar_p": result.p,
        "classes": {name: counts(part) for name, part in _by_class(seen).items()},
        "changed": [vars(one) for one in seen if one.a != one.b],
    }


def _as_text(result: Comparison, seen: Sequence[Seen], models: Sequence[Mapping[str, Any]]) -> list[str]:
    low, high = result.interval
    rights = (result.right_a, result.right_b)
    changed = [one for one in seen if one.a != one.b]
    return [
        *(
            f"{letter}  {right / result.pictures:.3f}  {model['model']} ({model['version']})"
            for letter, right, model in zip("AB", rights, models, strict=True)
        ),
        "",
        f"accuracy of B less that of A: {result.difference:+.3f} (95 % between {low:+.3f} and {high:+.3f}) "
        f"on {console.counted(result.pictures, 'picture')}",
        f"right by B alone: {result.won:,}, by A alone: {result.lost:,}; McNemar's test: p = {result.p:.3g}",
        "",
        *_class_table(_by_class(seen)),
        *_changes(changed),
        "",
        {
            "better": "B is better",
            "same": "no difference is shown: what there is may be chance",
            "worse": "B is worse",
        }[result.verdict],
    ]


def _class_table(parts: Mapping[str, Comparison]) -> list[str]:
    """A line for each class."""
    rows = [["class", "pictures", "A", "B", "won", "lost"]]
    for name, part in parts.items():
        accuracies = [f"{right / part.pictures:.3f}" for right in (part.right_a, part.right_b)]
        rows.append([name, f"{part.pictures:,}", *accuracies, f"{part.won:,}", f"{part.lost:,}"])
    return console.table(rows, even=True)


def _changes(changed: Sequence[Seen]) -> list[str]:
    if not changed:
        return ["", "every picture has the same answer of both"]
    lines = [f"  {one.file}: {one.actual}; A {one.a}, B {one.b}" for one in changed[:SHOWN]]
    more = f" (the first {SHOWN}; all with --json)" if len(changed) > SHOWN else ""
    return ["", f"another answer of B for {console.counted(len(changed), 'picture')}{more}", *lines]
