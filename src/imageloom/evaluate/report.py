"""reports/index.html: one page that tells how good the classifier is, on what, and where it errs."""

import base64
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import files, tables
from imageloom.files import Paths


@dataclass(frozen=True)
class Thumbnail:
    """A test picture to show.

    Args:
        pixels: uint8[S, S, 3].
        actual: Class number.
        predicted: Class number.
        share: Probability of the predicted class.
        id: SHA-256 of the picture.
    """

    pixels: np.ndarray
    actual: int
    predicted: int
    share: float
    id: str

    def data_address(self) -> str:
        """The picture as a `data:` address."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "JPEG", quality=82)
        return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def origin(paths: Paths) -> dict[str, Any]:
    """Where pictures and network come from: counts by licence, authors, how many are left out, the backbone."""
    rows = tables.read(paths.clean, tables.CLEAN, "clean").to_pylist()
    kept = [row for row in rows if row["kept"]]
    return {
        "licences": Counter(row["licence"] or "not stated" for row in kept).most_common(),
        "authors": [name for name, _ in Counter(row["author"] for row in kept if row["author"]).most_common(20)],
        "left_out": sorted(Counter(row["reason"] for row in rows if not row["kept"]).items()),
        "copies": sum(row["copies"] - 1 for row in rows),
        "kept": len(kept),
        "backbone": files.read_json(paths.backbone / "backbone.json", "backbone"),
    }


def render(
    result: dict[str, Any],
    matrix: np.ndarray,
    classes: list[dict[str, str]],
    shown: dict[str, list[Thumbnail]],
    origin: dict[str, Any],
) -> str:
    """The page.

    Args:
        result: What metrics.json holds.
        matrix: int[K, K], the confusion matrix.
        classes: `name` and `label` of the K classes.
        shown: `grid` and `worst`.
        origin: See `origin`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return environment.get_template("report.html").render(
        result=result,
        matrix=matrix.tolist(),
        shares=shares.tolist(),
        classes=classes,
        shown=shown,
        origin=origin,
        sides=tables.SIDES,
    )
