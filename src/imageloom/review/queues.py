"""What there is to look at, in queues: each holds the pictures about which one question is asked, worst first."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from imageloom.review.pictures import Pictures

NEAR_DUPLICATES = "near_duplicates"

# Checks that have a queue of their own; what any other check finds is in the queue `quality`.
_ISSUES, _OUTLIERS, _PLACEHOLDERS, _CONFLICTS = "label_issues", "outliers", "placeholders", "two_classes"

# Below this the two most probable classes are as good as equal: 0.6 against 0.4.
UNSURE_MARGIN = 0.2


@dataclass(frozen=True)
class Entry:
    """What is decided about at once.

    Args:
        members: SHA-256 of one picture, or of a group of near duplicates, the best first.
        suggestion: The class that is chosen beforehand; empty for none.
        root: The group's first-seen member; empty for a single picture.
    """

    members: tuple[str, ...]
    suggestion: str = ""
    root: str = ""

    @property
    def key(self) -> str:
        """The picture by which a skip is remembered."""
        return self.root or self.members[0]


@dataclass(frozen=True)
class Queue:
    """One question.

    Args:
        title: What people read.
        question: What they are asked.
        entries: Lists what there is, worst first.
        grouped: Whether an entry is a group, of which one picture is to stay.
    """

    title: str
    question: str
    entries: Callable[[Pictures], list[Entry]]
    grouped: bool = False


def _unlabelled(pictures: Pictures) -> list[Entry]:
    """The pool: where a model has an opinion, the pictures about which it is least sure come first.

    What it is sure of teaches it little (uncertainty sampling; Lewis and Gale, SIGIR 1994).
    """
    marks = zip(pictures.ids, pictures.column("reason"), strict=True)
    pool = [name for name, reason in marks if reason == "unlabelled"]
    margins = _margins(pictures)
    pool.sort(key=lambda name: (margins.get(name, 0.0), name))
    return [Entry((name,), next(iter(pictures.probabilities_of(name)), "")) for name in pool]


def _label_issues(pictures: Pictures) -> list[Entry]:
    return _flagged(pictures, lambda check: check == _ISSUES, suggests=True)


def _conflicts(pictures: Pictures) -> list[Entry]:
    found = _flagged(pictures, lambda check: check == _CONFLICTS)
    there = {entry.members[0] for entry in found}
    marks = zip(pictures.ids, pictures.column("reason"), strict=True)
    return found + [Entry((name,)) for name, reason in marks if reason == _CONFLICTS and name not in there]


def _outliers(pictures: Pictures) -> list[Entry]:
    return _flagged(pictures, lambda check: check in (_OUTLIERS, _PLACEHOLDERS))


def _quality(pictures: Pictures) -> list[Entry]:
    others = {_ISSUES, _OUTLIERS, _PLACEHOLDERS, _CONFLICTS, NEAR_DUPLICATES}
    return _flagged(pictures, lambda check: check not in others)


def _flagged(pictures: Pictures, wanted: Callable[[str], bool], suggests: bool = False) -> list[Entry]:
    found = []
    for name, flags in pictures.flags.items():
        flag = next((one for one in flags if wanted(one.check)), None)
        if flag is not None and name in pictures.class_of:
            found.append((flag.score, name, flag.detail if suggests else ""))
    return [Entry((name,), suggestion) for _, name, suggestion in sorted(found)]


def _groups(pictures: Pictures) -> list[Entry]:
    """Groups of near duplicates: what has most pixels comes first, then what has most bytes."""
    rows: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    names = ("group", "reason", "width", "height", "bytes")
    for name, group, reason, width, height, size in zip(pictures.ids, *map(pictures.column, names), strict=True):
        if reason in ("", NEAR_DUPLICATES):
            rows[group].append((-(width or 0) * (height or 0), -(size or 0), name))
    groups = sorted((-len(members), root) for root, members in rows.items() if len(members) > 1)
    return [Entry(tuple(name for _, _, name in sorted(rows[root])), root=root) for _, root in groups]


def _losses(pictures: Pictures) -> list[Entry]:
    """Pictures for which a model that has not seen them names another class, surest mistakes first."""
    found = []
    for name, row, number in _judged(pictures):
        best = int(pictures.matrix[row].argmax())
        if best != number:
            found.append((float(pictures.matrix[row, number]), name, pictures.model_classes[best]))
    return [Entry((name,), suggestion) for _, name, suggestion in sorted(found)]


def _unsure(pictures: Pictures) -> list[Entry]:
    margins = _margins(pictures)
    found = sorted((margins[name], name) for name, _, _ in _judged(pictures) if margins[name] < UNSURE_MARGIN)
    return [Entry((name,), pictures.class_of[name]) for _, name in found]


def _judged(pictures: Pictures) -> list[tuple[str, int, int]]:
    """Pictures in use about which a model has said something: id, row of the probabilities, number of their class."""
    number = {name: index for index, name in enumerate(pictures.model_classes)}
    found = []
    for name, used in zip(pictures.ids, pictures.column("kept"), strict=True):
        row, index = pictures.probabilities.get(name), number.get(pictures.class_of[name])
        if used and row is not None and index is not None:
            found.append((name, row, index))
    return found


def _margins(pictures: Pictures) -> dict[str, float]:
    """How much more probable the first class is than the second, by picture."""
    if pictures.matrix.shape[0] == 0 or pictures.matrix.shape[1] < 2:
        return {}
    ordered = np.sort(pictures.matrix, axis=1)  # [N, K]
    margins = (ordered[:, -1] - ordered[:, -2]).tolist()
    return {name: margins[row] for name, row in pictures.probabilities.items()}


def _served(pictures: Pictures) -> list[Entry]:
    names = {spec.name for spec in pictures.classes} | set(pictures.class_of.values())
    corrected = sorted(pictures.kept, key=lambda one: (not one.corrected, one.probability, one.id))
    return [
        Entry((one.id,), next((name for name in (one.label, one.predicted) if name in names), "")) for one in corrected
    ]


# In the order of the page. Their names stand in decisions.csv.
QUEUES = {
    "unlabelled": Queue("Unlabelled", "What does it show?", _unlabelled),
    "label_issues": Queue("Label issues", "Is its class wrong?", _label_issues),
    "conflicts": Queue("Under two classes", "Which of its classes is right?", _conflicts),
    NEAR_DUPLICATES: Queue("Near duplicates", "Which of them is to stay?", _groups, grouped=True),
    "outliers": Queue("Outliers", "Does it belong here at all?", _outliers),
    "quality": Queue("Quality", "Is it good enough to learn from?", _quality),
    "losses": Queue("Highest losses", "Is it the model that errs, or the class?", _losses),
    "unsure": Queue("Most unsure", "Is its class right?", _unsure),
    "served": Queue("From the server", "What does it show?", _served),
}
