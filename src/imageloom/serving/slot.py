"""The model that answers, and how a newer one takes its place while requests go on.

A new model is opened, tried on a stored picture, made ready in every thread that answers, and only then becomes
`current`. One that fails on the way is refused, and the old one stays.
"""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from imageloom import images, runtimes
from imageloom.errors import ImageError, ImageloomError, ModelError
from imageloom.predictor import Prediction, Predictor
from imageloom.serving import memory
from imageloom.serving.cache import Cache
from imageloom.serving.source import Source

# Pictures with more pixels than this in memory at once are decoded one at a time (64 MB as RGBA, and copies of it).
LARGE_PIXELS = 16_000_000

# And those with more not at all: a PNG of 200 KB would take 2 GB.
MOST_PIXELS = 40_000_000

# Runs a piece of work once in every thread that answers.
Everywhere = Callable[[Callable[[], object]], None]


@dataclass(frozen=True, eq=False)
class _Served:
    predictor: Predictor
    folder: Path
    run_id: str | None
    answers: Cache[Prediction]


class ModelSlot:
    """Holds the model that answers; safe to use from several threads.

    Args:
        source: What the user named: a folder, a file, or `mlflow:models/NAME@alias`.
        cache: How many answers to remember by the SHA-256 of the picture; those of a model go with it.

    Attributes:
        reloads: How many newer models have taken the place of an older one.
        refused: How many newer models were refused.
        fault: Why the last newer model was refused; empty when it was not.

    Raises:
        ModelError: There is no usable model.
    """

    def __init__(self, source: str, cache: int = 0) -> None:
        self.source = source
        self.reloads = self.refused = 0
        self.fault = ""
        self._origin, self._cache = Source(source), cache
        self._everywhere: Everywhere = lambda work: None
        self._reloading, self._decoding = threading.Lock(), threading.Lock()
        self._stamp = self.stamp()
        self._where, run_id = self._origin.locate()
        self._served = self._opened(self._where, run_id)

    @property
    def current(self) -> Predictor:
        """The model that answers now; take it once for each request, so that one model gives the whole answer."""
        return self._served.predictor

    @property
    def version(self) -> str:
        """Of the model that answers now."""
        return self._served.predictor.version

    @property
    def folder(self) -> Path:
        """Where the model that answers now was read from."""
        return self._served.folder

    @property
    def run_id(self) -> str | None:
        """The MLflow run that the model was logged in, where it came from MLflow."""
        return self._served.run_id

    def predict(self, model: Predictor, data: bytes) -> Prediction:
        """Says what is on a picture by a model that was `current`, or what that one said before of the same bytes.

        Raises:
            ImageError: It is not a picture that can be used.
        """

        def look() -> Prediction:
            return model.predict_pixels(self.load(model, data))

        served = self._served
        return served.answers.get(data, look) if served.predictor is model else look()

    def load(self, model: Predictor, data: bytes) -> np.ndarray:
        """Decodes a picture as `model.load` does, very large ones one at a time so that memory stays bounded.

        Returns:
            uint8[S, S, 3] RGB.

        Raises:
            ImageError: It is not a picture that can be used.
        """
        held = images.pixels_held(data)
        if held > MOST_PIXELS:
            raise ImageError(f"{held:,} pixels are more than the {MOST_PIXELS:,} that are decoded here", "bomb")
        with self._decoding if held > LARGE_PIXELS else contextlib.nullcontext():
            return model.load(data)

    def make_ready(self, everywhere: Everywhere) -> None:
        """Makes the model ready in every thread that will answer, and from now on every newer one before it serves."""
        self._everywhere = everywhere
        self._warm(self.current)

    def stamp(self) -> tuple[object, ...]:
        """Something that is another when what the user named may be another model."""
        return self._origin.stamp()

    def is_stale(self, stamp: tuple[object, ...]) -> bool:
        """Whether that is not the stamp under which the model was last opened, or tried in vain."""
        return stamp != self._stamp

    def reload(self) -> bool:
        """Opens what the user named again, and lets it answer if it is sound.

        Returns:
            Whether it took the place of the one before; False when it is the same, or was refused (see `fault`).
        """
        with self._reloading:
            self._stamp, self.fault = self.stamp(), ""
            try:
                where, run_id = self._origin.locate()
                if self._origin.is_registered and where == self._where:
                    return False
                served = self._opened(where, run_id)
                self._warm(served.predictor)
            except Exception as fault:  # whatever it is, the one before goes on
                self.refused += 1
                self.fault = fault.message if isinstance(fault, ImageloomError) else repr(fault)
                return False
            self._served, self._where = served, where
            self.reloads += 1
            return True

    def _opened(self, where: str, run_id: str | None) -> _Served:
        with ThreadPoolExecutor(1) as passing:  # its interpreter ends with it: none of the others will answer in it
            predictor = passing.submit(_tried, where).result()
        path = Path(where)
        return _Served(predictor, path if path.is_dir() else path.parent, run_id, Cache(self._cache))

    def _warm(self, predictor: Predictor) -> None:
        self._everywhere(lambda: predictor.predict(stored_picture()))
        threading.Thread(target=memory.gather, name="gather", daemon=True).start()  # nobody waits for it


def stored_picture() -> bytes:
    """The picture that every model is tried on, a JPEG."""
    return (resources.files("imageloom.serving") / "tried.jpg").read_bytes()


def _tried(where: str) -> Predictor:
    """A model that has answered the stored picture soundly, and has read all that it reads later."""
    predictor = runtimes.open_model(where)
    try:
        first, second = (predictor.predict(stored_picture()).probabilities for _ in range(2))
        if predictor.has_map:
            predictor.heatmap(predictor.load(stored_picture()))  # reads the head, which a newer export would replace
    except ImageloomError:
        raise
    except Exception as fault:  # what a runtime raises for a graph that does not run is of no one kind
        raise ModelError(
            f"{where} fails on the picture that every model is tried on: {fault}", "export it again"
        ) from None
    wrong = _fault_of(first, second, len(predictor.labels))
    if wrong:
        raise ModelError(f"{where} answers {wrong} to the picture that every model is tried on", "export it again")
    return predictor


def _fault_of(first: np.ndarray, second: np.ndarray, classes: int) -> str:
    if first.shape != (classes,):
        return f"{first.size} numbers for {classes} labels"
    if not np.isfinite(first).all() or first.min() < 0 or first.max() > 1 + 1e-3:
        return "what are no probabilities"
    return "" if np.array_equal(first, second) else "another thing each time"
