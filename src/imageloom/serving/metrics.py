"""What the server counts, as Prometheus reads it at /metrics.

Several worker processes write their counts to files in the folder that PROMETHEUS_MULTIPROC_DIR names; whichever of
them is asked adds them all up. The variable has to be set before this module is imported.
"""

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from imageloom.predictor import Prediction
    from imageloom.serving.service import Gate, Slot

CONTENT_TYPE = CONTENT_TYPE_LATEST

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

# From a picture that is in the cache to one that waited its time out.
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The counts of one process.

    Attributes:
        shares: Whether others add them to theirs, so that they have to be up to date without being asked for.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # when each count began: as many lines again, which nobody asks for
        self._registry = CollectorRegistry()
        self.shares = _FOLDER in os.environ
        if not self.shares:
            ProcessCollector(registry=self._registry)
        registry = None if self.shares else self._registry
        self._requests = Counter(
            "imageloom_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "imageloom_request_seconds",
            "Time from a request's arrival to its answer",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._predictions = Counter(
            "imageloom_predictions", "Pictures named, by class", ["label", "known"], registry=registry
        )
        self._rejects = Counter("imageloom_rejects", "Pictures refused, by what is wrong", ["kind"], registry=registry)
        self._waiting = Gauge(
            "imageloom_queue_waiting", "Requests that wait", registry=registry, multiprocess_mode="livesum"
        )
        self._capacity = Gauge(
            "imageloom_queue_capacity", "Requests that may wait", registry=registry, multiprocess_mode="livesum"
        )
        self._model = Gauge(
            "imageloom_model_info",
            "1 for the version that is served",
            ["version"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._reloads = Gauge(
            "imageloom_model_reloads",
            "How often a newer model took the place of one",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._refused = Gauge(
            "imageloom_model_refused",
            "1 while a newer model is there that was refused",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._version = ""
        # There are few of each, and looking one up takes longer than counting.
        self._requests_of: Callable[..., Counter] = functools.cache(self._requests.labels)
        self._seconds_of: Callable[..., Histogram] = functools.cache(self._seconds.labels)
        self._predictions_of: Callable[..., Counter] = functools.cache(self._predictions.labels)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request; `route` is one of ours or `other`, so that what clients invent takes no memory."""
        self._requests_of(method, route, status).inc()
        self._seconds_of(route).observe(seconds)

    def predicted(self, prediction: "Prediction") -> None:
        """Counts a picture that was named."""
        known = "unsaid" if prediction.known is None else str(prediction.known).lower()
        self._predictions_of(prediction.name, known).inc()

    def rejected(self, kind: str) -> None:
        """Counts a picture that could not be used; `kind` is that of an `ImageError`."""
        self._rejects.labels(kind).inc()

    def observe(self, gate: "Gate", slot: "Slot") -> None:
        """Takes down how long the queue is, and which model is served."""
        version = slot.version
        self._waiting.set(gate.waiting)
        self._capacity.set(gate.capacity)
        self._reloads.set(slot.reloads)
        self._refused.set(bool(slot.fault))
        if version != self._version:
            if self._version:
                self._model.labels(self._version).set(0)
            self._model.labels(version).set(1)
            self._version = version

    def text(self) -> bytes:
        """All of it, in Prometheus's text format 0.0.4 or newer; see `CONTENT_TYPE`."""
        registry = self._registry
        if self.shares:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry)


def forget(pid: int) -> None:
    """Leaves out of sums what a worker process that has ended says of its queue; its counts stay."""
    if _FOLDER in os.environ:
        mark_process_dead(pid)
