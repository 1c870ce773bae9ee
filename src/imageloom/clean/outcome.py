"""What becomes of the pictures, from what the checks found and what people decided."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imageloom.clean.checks import CHECKS, CheckParams
from imageloom.clean.findings import Findings, Score
from imageloom.clean.pictures import Picture

# Why a picture is left out whatever the checks say -> what a reader is told.
REASONS = {
    "undecodable": "the file cannot be opened as a picture",
    "dropped": "dropped in review",
    "too_small": "its shorter side has fewer pixels than `clean.min_side`",
    "two_classes": "the same bytes were found under more than one class",
    "unlabelled": "nobody has said yet what it shows",
    "bridge": "links groups of near duplicates that stood apart before, and may be on different sides",
}

# Of the manifest's row that saw a picture first.
FROM_MANIFEST = ("url", "source", "page", "title", "author", "licence", "bytes", "format")


@dataclass(frozen=True)
class Tally:
    """What one check came to.

    Args:
        check: Its name.
        action: What becomes of what it marks: `drop`, `flag` or `group`.
        looked: Pictures that it looked at.
        flagged: Pictures that it marks, and nobody said that they are fine.
        settled: Pictures that it would mark, had nobody said so.
        left_out: Pictures that are left out because of it.
    """

    check: str
    action: str
    looked: int
    flagged: int
    settled: int
    left_out: int


@dataclass(frozen=True)
class Outcome:
    """The result of cleaning.

    Args:
        rows: A row of `tables.CLEAN` for every picture, by id.
        scores: Rows of `tables.SCORES`.
        tallies: One for each check.
    """

    rows: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    tallies: list[Tally]

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The rows of the pictures that are used."""
        return [row for row in self.rows if row["kept"]]

    @property
    def left_out(self) -> dict[str, int]:
        """How many pictures are not used, by reason."""
        return dict(sorted(Counter(row["reason"] for row in self.rows if not row["kept"]).items()))

    @property
    def copies(self) -> int:
        """Addresses that gave bytes which another had given."""
        return sum(row["copies"] - 1 for row in self.rows)

    @property
    def decided(self) -> dict[str, int]:
        """How many pictures have a standing decision, by decision."""
        return dict(sorted(Counter(row["decided"] for row in self.rows if row["decided"]).items()))


def judge(pictures: Sequence[Picture], findings: Findings, params: CheckParams) -> Outcome:
    """Decides about every picture.

    A reason that holds whatever the checks say comes first, then the checks in their order. A picture of which somebody
    said that it is fine, or what it shows, is marked by none of them; a bridge is left out all the same.
    """
    settled = {picture.id for picture in pictures if picture.settled}
    place = {name: number for number, name in enumerate(CHECKS)}
    scores = sorted(findings.scores, key=lambda score: (score.id, place[score.check]))
    marks: dict[str, list[str]] = {}
    for score in scores:
        if score.flagged and score.id not in settled:
            marks.setdefault(score.id, []).append(score.check)
    rows = [_row(picture, marks.get(picture.id, []), findings, params) for picture in pictures]
    table = [
        {"id": each.id, "check": each.check, "score": each.score, "detail": each.detail}
        | {"flagged": each.flagged and each.id not in settled}
        for each in scores
    ]
    return Outcome(rows, table, _tallies(scores, rows, settled, params))


def _row(picture: Picture, marks: list[str], findings: Findings, params: CheckParams) -> dict[str, Any]:
    reason = picture.reason or next((name for name in marks if params.action(name) == "drop"), "")
    if not reason and picture.id in findings.bridges:
        reason = "bridge"
    return {
        "id": picture.id,
        "class": picture.class_name,
        "path": picture.path,
        "width": picture.width,
        "height": picture.height,
        "copies": picture.copies,
        "crawl": picture.crawl,
        "group": findings.groups.get(picture.id, picture.id),
        "kept": not reason,
        "reason": reason,
        "flags": [] if reason else [name for name in marks if params.action(name) == "flag"],
        "decided": picture.decided,
        **{column: picture.first[column] for column in FROM_MANIFEST},
    }


def _tallies(
    scores: Sequence[Score], rows: Sequence[dict[str, Any]], settled: set[str], params: CheckParams
) -> list[Tally]:
    looked = Counter(score.check for score in scores)
    marked = Counter((score.check, score.id in settled) for score in scores if score.flagged)
    left_out = Counter(row["reason"] for row in rows)
    return [
        Tally(name, params.action(name), looked[name], marked[name, False], marked[name, True], left_out[name])
        for name in CHECKS
    ]
