"""Test pictures as the report shows them: what the network was shown, what it answered, and where the evidence lies."""

import base64
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import heatmap, images, network
from imageloom.engine import Engine, cores, map_ordered
from imageloom.errors import ImageError
from imageloom.evaluate.outcome import Outcome
from imageloom.files import Paths
from imageloom.recipes.head import Head
from imageloom.tflite_graph import TFLiteGraph

SIDE = 224  # pixels; what the network was shown is made no larger than this
THUMBNAIL = 144  # pixels, in figures
TOP = 5  # answers that are told of each picture

_QUALITY = 80  # of JPEG
_MISSING = 200  # the grey of a picture that is not to be had any more


@dataclass(frozen=True)
class Choice:
    """Which test pictures are shown.

    Args:
        worst: Rows with the highest losses, from the highest.
        unknown: Rows whose answers the model does not stand by.
        browse: Rows to look at by cell of the confusion matrix: wrong answers from the surest, right ones as they come.
    """

    worst: list[int]
    unknown: list[int]
    browse: list[int]

    @property
    def rows(self) -> list[int]:
        """All of them, each once."""
        return list(dict.fromkeys([*self.worst, *self.unknown, *self.browse]))


def choose(outcome: Outcome, worst: int, browse: int) -> Choice:
    """Chooses the pictures to show.

    Args:
        outcome: What was said.
        worst: How many of the highest losses, and how many unknown ones.
        browse: How many for the confusion matrix; each cell has as many as any other, as far as they go.
    """
    order = np.lexsort((-np.where(outcome.right, 0, outcome.sure), outcome.right))
    cells: dict[tuple[int, int], int] = {}
    places = []
    for row in order:
        cell = (int(outcome.actual[row]), int(outcome.predicted[row]))
        cells[cell] = cells.get(cell, 0) + 1
        places.append((cells[cell], int(row)))
    by_loss = np.argsort(-outcome.losses, kind="stable")
    return Choice(
        [int(row) for row in by_loss[:worst]],
        [int(row) for row in np.flatnonzero(~outcome.known)[:worst]],
        [row for _, row in sorted(places, key=lambda pair: pair[0])[:browse]],
    )


@dataclass(frozen=True)
class Picture:
    """A test picture to show.

    Args:
        row: Its row in the outcome.
        jpeg: What the network was shown, at most `SIDE` pixels wide.
        classes: The class that was answered, and the actual one; where they are the same, the second most probable.
        evidence: int8[2, h, w], where evidence for these classes lies (positive) and against them; None without reason.
    """

    row: int
    jpeg: bytes
    classes: tuple[int, int]
    evidence: np.ndarray | None

    def to_dict(self, outcome: Outcome) -> dict[str, Any]:
        """What the page's script reads."""
        row, shares = outcome.rows[self.row], outcome.probabilities[self.row]
        top = np.argsort(-shares, kind="stable")[:TOP]
        entry = {
            "image": base64.b64encode(self.jpeg).decode(),
            "actual": int(outcome.actual[self.row]),
            "shares": [[int(number), round(float(shares[number]), 4)] for number in top],
            "own": round(float(shares[outcome.actual[self.row]]), 4),
            "known": bool(outcome.known[self.row]),
            "distance": round(float(outcome.distances[self.row]), 3),
            "id": row["id"],
            **{key: row[key] for key in ("title", "author", "licence") if row.get(key)},
        }
        address = row.get("page") or row.get("url") or ""
        if address.startswith(("http://", "https://")):
            entry["page"] = address
        if self.evidence is not None:
            entry["evidence"] = {
                "classes": self.classes,
                "shape": self.evidence.shape[1:],
                "values": base64.b64encode(self.evidence.tobytes()).decode(),
            }
        return entry


def load(outcome: Outcome, choice: Choice, paths: Paths) -> list[Picture]:
    """Decodes the chosen pictures and asks the network where it sees what.

    Where the network gives no map, evidence is found by occlusion, which takes fifty runs for each picture, and only
    for the worst.
    """
    if not choice.rows:
        return []
    asked = _Network(network.of(paths).tflite, outcome)
    explained = set(choice.rows if asked.gives_maps else choice.worst)

    def make(row: int) -> Picture:
        second = np.argsort(-outcome.probabilities[row], kind="stable")[1]
        actual, predicted = int(outcome.actual[row]), int(outcome.predicted[row])
        classes = (predicted, int(second) if actual == predicted else actual)
        pixels = asked.load(paths.raw / outcome.rows[row]["path"])
        if pixels is None:
            return Picture(row, _jpeg(np.full((SIDE, SIDE, 3), _MISSING, np.uint8)), classes, None)
        return Picture(row, _jpeg(pixels), classes, asked.evidence(pixels, classes) if row in explained else None)

    return list(map_ordered(make, choice.rows, cores()))


def thumbnails(outcome: Outcome, rows: Iterable[Mapping[str, Any]], paths: Paths) -> Iterator[np.ndarray]:
    """What the network was shown of some pictures, uint8[T, T, 3] with T = THUMBNAIL; grey for one that is gone."""
    for row in rows:
        pixels = _read(paths.raw / row["path"], THUMBNAIL, outcome.about["input"]["aspect"])
        yield np.full((THUMBNAIL, THUMBNAIL, 3), _MISSING, np.uint8) if pixels is None else pixels


class _Network:
    """The network and the head on it, asked for reasons; safe to use from several threads."""

    def __init__(self, model: Path, outcome: Outcome) -> None:
        self._head = outcome.head.tempered(outcome.about["calibration"]["temperature"])
        # What each place adds to an answer is known where the answer is a weighted sum of what is there.
        linear = isinstance(self._head, Head)
        self._map = TFLiteGraph(model.read_bytes(), str(model)).pooled_map() if linear else None
        self._engine = Engine(model, () if self._map is None else (self._map,))
        self._aspect: images.Aspect = outcome.about["input"]["aspect"]

    @property
    def gives_maps(self) -> bool:
        """Whether evidence costs one run of the network."""
        return self._map is not None

    def load(self, path: Path) -> np.ndarray | None:
        """What the network is shown of a picture, uint8[S, S, 3]; None where it is not to be had any more."""
        return _read(path, self._engine.size, self._aspect)

    def evidence(self, pixels: np.ndarray, classes: tuple[int, int]) -> np.ndarray:
        """int8[2, h, w], both classes by one measure."""
        if self._map is None:
            maps = [heatmap.occlusion(self._answer, pixels, number) for number in classes]
        else:
            assert isinstance(self._head, Head)
            _, activations = self._engine.tensors(pixels, self._map)
            maps = [heatmap.class_activation(activations, self._head.kernel, number) for number in classes]
        both = np.stack(maps)
        return (both / max(float(np.abs(both).max()), 1e-12) * 127).round().astype(np.int8)

    def _answer(self, pixels: np.ndarray) -> np.ndarray:
        return self._head.probabilities(self._engine(pixels)[np.newaxis])[0]


def _read(path: Path, size: int, aspect: images.Aspect) -> np.ndarray | None:
    try:
        return images.load(path.read_bytes(), size, aspect)
    except (ImageError, OSError):  # it was there when it was embedded; the figures do not need it
        return None


def _jpeg(pixels: np.ndarray) -> bytes:
    from PIL import Image

    image, file = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()
