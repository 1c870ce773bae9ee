"""What the routes share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imageloom.predictor import Prediction, Predictor
from imageloom.serving.door import Door
from imageloom.serving.inbox import Inbox
from imageloom.serving.metrics import Metrics
from imageloom.serving.remote import Remote
from imageloom.serving.settings import Settings


class Slot(Protocol):
    """Where the model is, which may be exchanged while requests are answered."""

    @property
    def current(self) -> Predictor:
        """The model that answers now; a request takes it once, so that one model gives the whole answer."""

    @property
    def version(self) -> str:
        """Of the model that answers now."""

    @property
    def folder(self) -> Path:
        """What it was loaded from."""

    @property
    def source(self) -> str:
        """What the user calls that."""

    @property
    def run_id(self) -> str | None:
        """The MLflow run that made it, where it is a registered model."""

    @property
    def reloads(self) -> int:
        """How often another model took the place of one."""

    @property
    def fault(self) -> str:
        """Why the last newer model was refused; empty where it was not."""

    def predict(self, model: Predictor, data: bytes) -> Prediction:
        """Says what is on a picture by a model that was `current`.

        Raises:
            ImageError: It is not a picture that can be used.
        """

    def load(self, model: Predictor, data: bytes) -> np.ndarray:
        """Decodes a picture as a model takes it: uint8[S, S, 3] RGB.

        Raises:
            ImageError: It is not a picture that can be used.
        """


class Gate(Protocol):
    """The queue of requests."""

    @property
    def waiting(self) -> int:
        """How many requests wait."""

    @property
    def capacity(self) -> int:
        """How many may wait."""

    @property
    def full(self) -> bool:
        """Whether the next request would be refused."""

    def deadline(self, environ: dict[str, Any]) -> float:
        """By when the request must be answered, as `time.monotonic` tells it."""


@dataclass(frozen=True)
class Service:
    """What the routes share.

    Args:
        slot: The model.
        gate: The queue.
        settings: What the command line set.
        door: Who is let in.
        remote: What fetches pictures.
        metrics: What is counted.
        inbox: Where pictures go that a person should look at; None where none are kept.
    """

    slot: Slot
    gate: Gate
    settings: Settings
    door: Door
    remote: Remote
    metrics: Metrics
    inbox: Inbox | None
