"""Small projects on disk for tests: real pictures in data/raw, and the stages run on them."""

import datetime
import hashlib
import importlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from imageloom import images, params, tables
from imageloom.cli import STAGES
from imageloom.files import Paths

FIRST_CRAWL = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def picture(hue: str, seed: int, size: int = 40, height: int | None = None) -> bytes:
    """A PNG of noise around a colour: warm, cold, or plain; square without a height; no two seeds give the same."""
    random = np.random.default_rng([seed, len(hue)])
    middle = {"warm": (170, 90, 60), "cold": (60, 90, 170)}.get(hue, (110, 110, 110))
    pixels = np.clip(random.normal(middle, 45, (height or size, size, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class Project:
    """A project's folder, with its own parameters and no crawl: pictures are put in by `add`."""

    def __init__(self, root: Path, **sections: object) -> None:
        self.paths = Paths(root)
        self.rows: list[dict] = []
        root.mkdir(parents=True, exist_ok=True)
        self.configure(**sections)

    def configure(self, **sections: object) -> None:
        """Writes params.yaml."""
        self.paths.params.write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")

    def add(self, name: str, pictures: Iterable[bytes], crawl: int = 0) -> None:
        """Puts pictures into a class as crawl number `crawl` would."""
        moment = FIRST_CRAWL + datetime.timedelta(days=crawl)
        for data in pictures:
            sha, info = hashlib.sha256(data).hexdigest(), images.inspect(data)
            path = self.paths.raw / name / f"{sha[:20]}.{info.extension}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            row = dict.fromkeys(tables.MANIFEST.names)
            row |= {
                "url": f"http://site/{len(self.rows)}",
                "class": name,
                "source": "gallery",
                "status": "ok",
                "attempts": 1,
                "used": True,
            }
            row |= {"sha256": sha, "path": f"{name}/{path.name}", "width": info.width, "height": info.height}
            row |= {"first_seen": moment, "last_seen": moment}
            self.rows.append(row)
        tables.write(self.paths.raw / "manifest.parquet", self.rows, tables.MANIFEST)

    def run(self, *stages: str) -> None:
        """Runs stages in this process, as the command line does."""
        for name in stages:
            stage = importlib.import_module(STAGES[name])
            stage.run(params.load(name, stage.Params, self.paths.params), self.paths)
