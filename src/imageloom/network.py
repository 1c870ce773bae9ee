"""The network that a classifier stands on, and the features that it gives of the pictures.

Most recipes stand on the pretrained backbone. One that trains a network puts its own beside the classifier, in
models/classifier/network/, with the same files as in models/backbone/, and what it gives of the split's pictures in
models/classifier/features/. `of` says which it is; nobody else needs to know.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import console, files, images
from imageloom.engine import Engine, cores, map_ordered
from imageloom.errors import DataError, ImageError
from imageloom.features import PART, FeatureStore
from imageloom.files import Paths
from imageloom.images import Aspect


@dataclass(frozen=True)
class Network:
    """A network's files.

    Args:
        folder: Holds `saved_model/`, `backbone.tflite` and `backbone.json`.
        features: What it gives of the pictures.
    """

    folder: Path
    features: FeatureStore

    @cached_property
    def about(self) -> dict[str, Any]:
        """What backbone.json says: `module`, `image_size`, `features`, `layers`, `licence`, `weights`, `sha256`.

        Raises:
            DataError: It is missing or damaged.
        """
        return files.read_json(self.folder / "backbone.json", "backbone")

    @property
    def tflite(self) -> Path:
        """The graph for one picture."""
        return self.folder / "backbone.tflite"

    @property
    def saved_model(self) -> Path:
        """The same as TF-Hub's reusable SavedModel."""
        return self.folder / "saved_model"

    def embed(self, pictures: Mapping[str, Path], recipe: Mapping[str, Any]) -> None:
        """Stores the features of pictures.

        Args:
            pictures: Their files, by id.
            recipe: How features of the pretrained backbone are made, such as by which `aspect`.

        Raises:
            DataError: A picture cannot be read.
            ModelError: The network is missing or damaged.
        """
        engine, aspect = Engine(self.tflite), recipe["aspect"]
        store = self.features.prepare(dict(recipe) | {"backbone": self.about["sha256"]})
        names = sorted(pictures)

        def answer(name: str) -> tuple[str, np.ndarray]:
            return name, engine(look(pictures[name], engine.size, aspect))

        def answers(start: int) -> Iterator[tuple[str, np.ndarray]]:
            part = names[start : start + PART]
            for done, found in enumerate(map_ordered(answer, part, cores()), start=start + 1):
                bar.update(done)
                yield found

        with console.progress("train: features", len(names)) as bar:
            for start in range(0, len(names), PART):
                store.append(answers(start), engine.output_length)
        self.features.adopt(store)


def look(picture: Path, size: int, aspect: Aspect) -> np.ndarray:
    """A picture as a network sees it, uint8[size, size, 3].

    Raises:
        DataError: It cannot be read, though its features were found once.
    """
    try:
        return images.load(picture.read_bytes(), size, aspect)
    except (ImageError, OSError) as fault:
        raise DataError(f"cannot read {picture}: {fault}", "run `imageloom scrape` to get it again") from None


def pretrained(paths: Paths) -> Network:
    """The backbone, which the stage `embed` has shown every picture to."""
    return Network(paths.backbone, FeatureStore(paths.features))


def own(classifier: Path) -> Network:
    """That of a recipe which trains a network, there or not yet.

    Args:
        classifier: models/classifier/, or what is to take its place.
    """
    return Network(classifier / "network", FeatureStore(classifier / "features"))


def of(paths: Paths) -> Network:
    """The one that the classifier in models/classifier/ stands on."""
    found = own(paths.classifier)
    return found if (found.folder / "backbone.json").exists() else pretrained(paths)
