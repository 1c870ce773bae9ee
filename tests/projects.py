"""Small projects on disk for tests: real pictures in data/raw, and the stages run on them."""

import datetime
import hashlib
import importlib
import io
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from imageloom import files, images, params, tables
from imageloom.cli import STAGES
from imageloom.features import FeatureStore
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
        """Runs stages in this process, as the command line does; `clean` finds features also where nothing embedded."""
        for name in stages:
            if name == "clean":
                self._embed_rest()
            stage = importlib.import_module(STAGES[name])
            stage.run(params.load(name, stage.Params, self.paths.params), self.paths)

    def export_alone(self) -> None:
        """Runs `imageloom export` as a process: TensorFlow numbers functions through one and writes the numbers."""
        subprocess.run([sys.executable, "-m", "imageloom.cli", "export", "-C", str(self.paths.root)], check=True)

    def copied(self, root: Path) -> "Project":
        """Another project with the same files."""
        project = Project(root)
        shutil.copytree(self.paths.root, root, dirs_exist_ok=True)
        project.rows = list(self.rows)
        return project

    def _embed_rest(self) -> None:
        """Gives pictures without features those of the tests' backbone: the mean colours of 4 x 4 tiles."""
        store = FeatureStore(self.paths.features)
        known = {*store.ids(), *store.failed()}
        rest = {row["sha256"]: row["path"] for row in self.rows if row["sha256"]}
        if rest.keys() <= known:
            return
        if not (self.paths.features / "recipe.json").exists():
            files.write_json(self.paths.features / "recipe.json", {"aspect": "crop"})
        vectors = ((sha, _tiles(self.paths.raw / path)) for sha, path in sorted(rest.items()) if sha not in known)
        store.append(vectors, 48)


def _tiles(path: Path) -> np.ndarray:
    pixels = images.load(path.read_bytes(), 32, "crop").astype(np.float32) / 255
    return pixels.reshape(4, 8, 4, 8, 3).mean(axis=(1, 3)).ravel()
