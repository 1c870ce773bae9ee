"""What cleaning did: how often probes are right that were trained on the pictures as they came, and as cleaned.

Both are judged on the same pictures, those that are kept, by the classes that these have after review. Each picture is
judged by a probe that was trained on four fifths of the rest, none of its near duplicates among them (five-fold
cross-validation by group), so every kept picture is a validation picture once.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imageloom import wilson
from imageloom.clean import labels
from imageloom.clean.findings import Findings
from imageloom.clean.outcome import Outcome
from imageloom.clean.pictures import Picture
from imageloom.features import FeatureStore


@dataclass(frozen=True)
class Accuracy:
    """How often the probes of one kind were right.

    Args:
        pictures: Labelled pictures to train on.
        judged: Kept pictures on which they were judged.
        right: Of these, those that they named rightly.
    """

    pictures: int
    judged: int
    right: int

    @property
    def share(self) -> float:
        """Accuracy."""
        return self.right / self.judged

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return wilson.interval(self.share, self.judged)


@dataclass(frozen=True)
class Effect:
    """What cleaning did.

    Args:
        before: Of probes that were trained on the pictures as they came.
        after: Of probes that were trained on the cleaned ones.
        changed: Whether these are other pictures, or have other classes.
    """

    before: Accuracy
    after: Accuracy
    changed: bool


def measure(pictures: Sequence[Picture], outcome: Outcome, findings: Findings, store: FeatureStore) -> Effect | None:
    """Accuracies before and after cleaning; None where the pictures came without labels or those of one class only.

    Raises:
        DataError: A picture has no features.
    """
    came = {
        picture.id: picture.labels[0]
        for picture in pictures
        if picture.labels and picture.reason != "undecodable" and picture.id not in findings.bridges
    }
    cleaned = {row["id"]: row["class"] for row in outcome.kept}
    if len(set(came.values())) < 2:
        return None
    probes = _Probes(sorted(came.keys() | cleaned.keys()), cleaned, findings.groups, store)
    # The probes of the checks learned from every picture that has one class: the same ones, unless some were left out.
    trusted = {picture.id for picture in pictures if picture.trusted}
    known = cleaned.keys() == trusted and trusted <= set(findings.ids)
    after = _right(findings, cleaned) if known else probes.right(cleaned)
    before = after if came == cleaned else probes.right(came)
    return Effect(
        Accuracy(len(came), len(cleaned), before), Accuracy(len(cleaned), len(cleaned), after), came != cleaned
    )


def _right(findings: Findings, cleaned: Mapping[str, str]) -> int:
    pairs = zip(findings.ids, findings.probabilities.argmax(axis=1), strict=True)
    return sum(cleaned.get(id_) == findings.classes[k] for id_, k in pairs)


class _Probes:
    """Trains probes and judges them on the pictures that are kept."""

    def __init__(
        self, ids: Sequence[str], cleaned: Mapping[str, str], groups: Mapping[str, str], store: FeatureStore
    ) -> None:
        self._ids, self._cleaned = ids, cleaned
        self._folds = labels.folds([groups.get(id_, id_) for id_ in ids])
        self._read = functools.cache(lambda: store.read(ids))  # only where something is to be trained

    def right(self, given: Mapping[str, str]) -> int:
        """How many kept pictures are named rightly by probes that learn the classes `given`."""
        names = sorted({*given.values(), *self._cleaned.values()})
        number = {name: k for k, name in enumerate(names)}
        learned, true = (
            np.array([number.get(classes.get(id_, ""), -1) for id_ in self._ids]) for classes in (given, self._cleaned)
        )
        features, right = self._read(), 0
        for fold in range(labels.FOLDS):
            train, test = (self._folds != fold) & (learned >= 0), (self._folds == fold) & (true >= 0)
            if train.any() and test.any():
                shares = labels.fit_predict(features[train], learned[train], features[test], len(names))
                right += int((shares.argmax(axis=1) == true[test]).sum())
        return right
