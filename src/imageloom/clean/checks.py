"""The checks of stage `clean`: each has a name, a threshold, an action, and gives every picture a score.

Measuring, scoring and marking are apart: `find` measures once, each check scores from what was measured, and a picture
is marked where its score is below the check's threshold. So changing a threshold decodes nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from imageloom.clean import duplicates, labels, looks, neighbours, outliers, placeholders, quality
from imageloom.clean.duplicates import Groups, Links
from imageloom.clean.findings import Findings, Score
from imageloom.clean.neighbours import Neighbours
from imageloom.clean.pictures import Picture
from imageloom.features import FeatureStore
from imageloom.files import Paths
from imageloom.params import StageParams

Action = Literal["drop", "flag"]

NEIGHBOURS = 24  # of each picture by features


class Thresholds(StageParams):
    """Each check marks the pictures whose score, from 0 to 1, is below its threshold; 0 marks none."""

    dark: float = Field(default=0.32, ge=0, le=1, description="brightness that all but 1 % of the pixels are below")
    bright: float = Field(default=0.05, ge=0, le=1, description="darkness that all but 5 % of the pixels are below")
    blurry: float = Field(default=0.29, ge=0, le=1, description="sharpness, by the strength of edges")
    odd_aspect: float = Field(default=0.35, ge=0, le=1, description="the shorter side over the longer")
    low_information: float = Field(default=0.3, ge=0, le=1, description="entropy of the tones, as a share of ten bits")
    odd_size: float = Field(
        default=0.5, ge=0, le=1, description="half at three interquartile ranges from the quartiles"
    )
    near_duplicates: float = Field(
        default=0.015, ge=0, le=1, description="how much the prints of two pictures differ; smaller is stricter"
    )
    two_classes: float = Field(
        default=1, ge=0, le=1, description="0 for the same bytes under two classes, 1/2 for near duplicates, else 1"
    )
    label_issues: float = Field(
        default=0.2, ge=0, le=1, description="probability of the class given, by a probe that never saw the picture"
    )
    outliers: float = Field(default=0.25, ge=0, le=1, description="usual distance to neighbours over the picture's own")
    placeholders: float = Field(default=0.11, ge=0, le=1, description="one over the addresses that give this picture")


class Actions(StageParams):
    """What becomes of the pictures that a check marks: `flag` keeps them, for review; `drop` leaves them out."""

    dark: Action = Field(default="flag", description="of pictures that are too dark")
    bright: Action = Field(default="flag", description="of pictures that are too bright")
    blurry: Action = Field(default="flag", description="of blurred pictures")
    odd_aspect: Action = Field(default="flag", description="of very long or tall pictures")
    low_information: Action = Field(default="flag", description="of pictures of almost one tone")
    odd_size: Action = Field(default="flag", description="of pictures much larger or smaller than the others")
    near_duplicates: Literal["group", "drop", "flag"] = Field(
        default="group",
        description="of near duplicates: `group` keeps all, on one side; `drop` and `flag` spare the first",
    )
    two_classes: Action = Field(default="flag", description="of near duplicates under two classes")
    label_issues: Action = Field(default="flag", description="of pictures that look like another class")
    outliers: Action = Field(default="flag", description="of pictures that resemble no other")
    placeholders: Action = Field(default="flag", description="of pictures that many addresses give")


class CheckParams(StageParams):
    """Thresholds and actions of the checks."""

    probes: bool = Field(
        default=True,
        description="train probes that have not seen the picture they are asked about: for `label_issues`, for what "
        "`imageloom review` suggests, and to tell what cleaning did",
    )
    thresholds: Thresholds = Field(default=Thresholds(), description="scores below which each check marks a picture")
    actions: Actions = Field(default=Actions(), description="what becomes of the pictures that each check marks")

    def action(self, check: str) -> Literal["drop", "flag", "group"]:
        """What becomes of a picture that the check marks."""
        return getattr(self.actions, check)


@dataclass(frozen=True)
class Evidence:
    """What was measured of N pictures, for the checks to score.

    Args:
        pictures: The pictures, by id.
        looks: Rows of `tables.LOOKS`.
        near: Their neighbours by features, among all.
        links: Pairs of near duplicates.
        groups: Groups of near duplicates.
        labelled: int[L], rows of those that have one class.
        probabilities: float32[N, K]; rows of pictures that are neither labelled nor in the pool are empty.
        classes: The K classes; none where no probes are asked for.
    """

    pictures: Sequence[Picture]
    looks: pa.Table
    near: Neighbours
    links: Links
    groups: Groups
    labelled: np.ndarray
    probabilities: np.ndarray
    classes: Sequence[str]


Scored = list[tuple[int, float, str]]


@dataclass(frozen=True)
class Check:
    """A check.

    Args:
        name: In tables and parameters.
        title: In the report.
        help: What it marks, in a sentence.
        score: Row, score from 0 to 1, and detail of each picture that it looks at.
    """

    name: str
    title: str
    help: str
    score: Callable[[Evidence], Scored]


def find(pictures: Sequence[Picture], params: CheckParams, paths: Paths) -> Findings:
    """Runs every check.

    Args:
        pictures: All pictures, by id; the checks look at those that are usable.
        params: Thresholds.
        paths: The project's files; nothing is written.

    Raises:
        DataError: A picture has no features, or its file is gone.
    """
    # Those that are not used are measured too: a picture that is dropped must not take the root from its group.
    present = [picture for picture in pictures if picture.opens]
    table, failed = looks.update(present, paths.raw, paths.looks)
    present = [picture for picture in present if picture.id not in failed]
    if not present:
        return Findings()
    evidence = _measure(present, table, params, FeatureStore(paths.features))
    bounds = params.thresholds.model_dump()
    scores = [
        Score(present[row].id, name, float(score), bool(score < bounds[name]), detail)
        for name, check in CHECKS.items()
        for row, score, detail in check.score(evidence)
        if present[row].usable
    ]
    told = [row for row, picture in enumerate(present) if picture.reason in ("", "unlabelled")]
    return Findings(
        scores=scores,
        groups={present[row].id: present[root].id for row, root in enumerate(evidence.groups.roots)},
        bridges=frozenset(present[row].id for row in np.flatnonzero(evidence.groups.bridges)),
        ids=[present[row].id for row in told] if evidence.classes else [],
        probabilities=evidence.probabilities[told if evidence.classes else []],
        classes=evidence.classes,
        looks=table,
        links=[
            (present[one].id, present[other].id, float(agreement))
            for (one, other), agreement in zip(evidence.links.pairs, evidence.links.agreements, strict=True)
        ],
    )


def _measure(pictures: Sequence[Picture], table: pa.Table, params: CheckParams, store: FeatureStore) -> Evidence:
    ids = [picture.id for picture in pictures]
    features = store.read(ids)
    crawls = np.array([picture.crawl for picture in pictures])
    low = neighbours.projected(features)
    near = neighbours.nearest(low, NEIGHBOURS, crawls)
    links = duplicates.link(table["print"].to_pylist(), near, crawls, 1 - params.thresholds.near_duplicates)
    groups = duplicates.group(links, crawls, ids)
    if crawls.min() != crawls.max():
        near = neighbours.nearest(low, NEIGHBOURS)
    labelled = np.array([row for row, picture in enumerate(pictures) if picture.trusted], int)
    classes = sorted({pictures[row].class_name for row in labelled}) if params.probes else []
    probabilities = _probabilities(pictures, features, groups, (labelled, classes))
    return Evidence(pictures, table, near, links, groups, labelled, probabilities, classes)


def _probabilities(
    pictures: Sequence[Picture], features: np.ndarray, groups: Groups, known: tuple[np.ndarray, list[str]]
) -> np.ndarray:
    labelled, classes = known
    found = np.zeros((len(pictures), len(classes)), np.float32)
    if classes:
        number = {name: k for k, name in enumerate(classes)}
        given = np.array([number[pictures[row].class_name] for row in labelled])
        parts = labels.folds([pictures[groups.roots[row]].id for row in labelled])
        others = np.setdiff1d(np.arange(len(pictures)), labelled)
        found[labelled], found[others] = labels.out_of_sample(
            features[labelled], given, parts, features[others], len(classes)
        )
    return found


def _quality(name: str) -> Callable[[Evidence], Scored]:
    def score(evidence: Evidence) -> Scored:
        return [(row, each, "") for row, each in enumerate(quality.scores(evidence.looks, evidence.pictures)[name])]

    return score


def _near_duplicates(evidence: Evidence) -> Scored:
    """Of each picture that is linked; the first of a group that can be used, which stays, counts as alone."""
    best = np.zeros(len(evidence.pictures))
    for side in (0, 1):
        np.maximum.at(best, evidence.links.pairs[:, side], evidence.links.agreements)
    roots, pictures = evidence.groups.roots, evidence.pictures
    spared: dict[int, int] = {}
    for row in sorted(range(len(pictures)), key=lambda row: (pictures[row].crawl, row)):
        if pictures[row].usable:
            spared.setdefault(roots[row], row)
    return [
        (row, 1.0, "") if spared.get(root) == row else (row, float(1 - best[row]), pictures[root].id)
        for row, root in enumerate(roots)
    ]


def _two_classes(evidence: Evidence) -> Scored:
    names: dict[int, set[str]] = {}
    for row in evidence.labelled:
        names.setdefault(evidence.groups.roots[row], set()).add(evidence.pictures[row].class_name)
    found: Scored = []
    for row, picture in enumerate(evidence.pictures):
        same = set(picture.labels) if picture.reason == "two_classes" else set()
        near = names.get(evidence.groups.roots[row], set()) if picture.trusted else set()
        others = sorted((same or near) - {picture.class_name})
        found.append((row, (0.0 if same else 0.5) if others else 1.0, ", ".join(others)))
    return found


def _label_issues(evidence: Evidence) -> Scored:
    """Of each labelled picture; with one class alone, or without probes, there is nothing to doubt."""
    if len(evidence.classes) < 2:
        return []
    number = {name: k for k, name in enumerate(evidence.classes)}
    found: Scored = []
    for row in evidence.labelled:
        shares = evidence.probabilities[row]
        given, likely = number[evidence.pictures[row].class_name], int(shares.argmax())
        found.append((row, float(shares[given]), "" if likely == given else evidence.classes[likely]))
    return found


def _outliers(evidence: Evidence) -> Scored:
    return [(row, each, "") for row, each in enumerate(outliers.scores(evidence.near, evidence.groups.roots))]


def _placeholders(evidence: Evidence) -> Scored:
    copies = np.array([picture.copies for picture in evidence.pictures])
    found = placeholders.scores(evidence.groups.roots, copies)
    return [(row, each, f"{round(1 / each)} addresses") for row, each in enumerate(found)]


CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check("placeholders", "Placeholders", "One picture that many addresses give.", _placeholders),
        Check("two_classes", "Two classes", "The same picture, or near duplicates, under two classes.", _two_classes),
        Check(
            "near_duplicates", "Near duplicates", "Resized, compressed, cropped or mirrored copies.", _near_duplicates
        ),
        Check("label_issues", "Label issues", "A probe that never saw it takes it for another class.", _label_issues),
        Check("outliers", "Outliers", "It resembles no other picture.", _outliers),
        Check("dark", "Dark", "Hardly anything in it is bright.", _quality("dark")),
        Check("bright", "Bright", "Hardly anything in it is dark.", _quality("bright")),
        Check("blurry", "Blurry", "It has no sharp edges.", _quality("blurry")),
        Check("low_information", "Little information", "It is almost of one tone.", _quality("low_information")),
        Check("odd_aspect", "Odd proportions", "One side is much longer than the other.", _quality("odd_aspect")),
        Check("odd_size", "Odd size", "It is much larger or smaller than the others.", _quality("odd_size")),
    )
}
