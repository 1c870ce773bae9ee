"""What decoding a picture tells the checks, measured once per picture and kept in data/clean/looks.parquet.

One decode feeds every check that needs pixels: figures of quality, and the print by which near duplicates are told.
Thresholds are applied later, so changing one decodes nothing; only new pictures cost anything.
"""

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFilter

from imageloom import console, files, images, jpeg_scans, tables
from imageloom.clean import prints
from imageloom.clean.pictures import Picture
from imageloom.engine import cores, map_ordered
from imageloom.errors import DataError, ImageError

SIDE = 128  # pixels at which a picture is looked at, its proportions aside: enough for all figures, and flat in memory
_EDGES_SIDE = 64  # pixels at which edges are looked for, as cleanvision does: sharpness in print, not on a poster

# Perceived brightness of red, green and blue: the weights of their squares (Finley 2006, HSP), as in cleanvision.
_BRIGHTNESS = np.array([0.241, 0.691, 0.068])


def measure(data: bytes) -> dict[str, Any]:
    """Looks at a picture.

    Returns:
        A row of `tables.LOOKS` but its `id`.

    Raises:
        ImageError: It is no picture.
    """
    pixels = images.load(data, SIDE, "stretch")  # [S, S, 3]
    brightness = np.sqrt((pixels.astype(np.float32) ** 2) @ _BRIGHTNESS.astype(np.float32)) / 255  # [S, S]
    grey = Image.fromarray(pixels).convert("L")
    counts = np.bincount(np.asarray(grey).ravel(), minlength=256)
    shares = counts[counts > 0] / counts.sum()
    small = grey.reduce(SIDE // _EDGES_SIDE)
    dark, bright = np.percentile(brightness, (99, 5))
    return {
        "brightness_99": float(dark),
        "brightness_5": float(bright),
        "entropy": max(0.0, float(-(shares * np.log2(shares)).sum())),
        "edges": float(np.asarray(small.filter(ImageFilter.FIND_EDGES), np.float32).std()),
        "histogram": float(np.std(small.histogram())),
        "print": prints.encode(np.asarray(grey)),
    }


def update(pictures: Sequence[Picture], raw: Path, kept: Path) -> tuple[pa.Table, dict[str, str]]:
    """The looks of pictures, of which only the new ones are decoded.

    Args:
        pictures: What to look at.
        raw: The folder of pictures, data/raw.
        kept: What was measured before, if it is there and was measured in the same way.

    Returns:
        Rows of `tables.LOOKS` in the order of `pictures`, and why pictures could not be opened: id -> why.
    """
    schema = tables.LOOKS.with_metadata({"made_by": json.dumps(_recipe(), sort_keys=True)})
    known = {row["id"]: row for row in _read(kept, schema)}
    new = [picture for picture in pictures if picture.id not in known]
    failed: dict[str, str] = {}

    def look(picture: Picture) -> dict[str, Any] | str:
        try:
            return {"id": picture.id, **measure((raw / picture.path).read_bytes())}
        except ImageError as fault:
            return str(fault)
        except OSError as fault:
            raise DataError(f"cannot read {raw / picture.path}: {fault.strerror}", "run `imageloom scrape`") from None

    with console.progress("clean", len(new)) as bar:
        for done, (picture, found) in enumerate(zip(new, map_ordered(look, new, cores()), strict=True), 1):
            bar.update(done)
            if isinstance(found, str):
                failed[picture.id] = found
            else:
                known[picture.id] = found
    rows = [known[picture.id] for picture in pictures if picture.id in known]
    return tables.from_rows(rows, schema), failed


def _recipe() -> dict[str, str]:
    """What the figures depend on beside the pictures: code, and the libraries that do the sums."""
    code = {name: Path(str(module)) for name, module in (("looks", __file__), ("prints", prints.__file__))}
    code |= {module.__name__: Path(str(module.__file__)) for module in (images, jpeg_scans)}
    digests = {name: files.sha256(path) for name, path in code.items()}
    return digests | {name: metadata.version(name) for name in ("numpy", "pillow")}


def _read(kept: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """What was measured before; nothing where it was measured another way, or cannot be read: it is made anew then."""
    try:
        table = tables.read(kept, tables.LOOKS, "clean")
    except DataError:
        return []
    if (pq.read_schema(kept).metadata or {}).get(b"made_by") != schema.metadata[b"made_by"]:
        return []
    return list(table.to_pylist())
