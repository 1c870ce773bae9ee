"""Training on several processors for graphics, or on several machines, step by step together.

Each replica takes its part of a step's pictures; the gradients are summed, so that what is learnt is the same, but for
rounding, as by one.
"""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from imageloom import graphs
from imageloom.errors import ImageloomError
from imageloom.quiet import no_native_stderr

Strategy = Literal["none", "mirrored", "multi_worker"]


@dataclass(frozen=True)
class Team:
    """Who trains together.

    Args:
        kind: `none`, this process alone; `mirrored`, all its processors for graphics; `multi_worker`, the processes
            that the environment's TF_CONFIG names, each told its own number there.
    """

    kind: Strategy

    @cached_property
    def strategy(self) -> Any:
        """TensorFlow's own; that of several machines must be made before anything else is done with TensorFlow.

        Raises:
            ImageloomError: TF_CONFIG does not name the processes.
        """
        tf = graphs.tensorflow()
        if self.kind == "none":
            return tf.distribute.get_strategy()
        with no_native_stderr():
            if self.kind == "mirrored":
                return tf.distribute.MirroredStrategy()
            _workers()
            return tf.distribute.MultiWorkerMirroredStrategy()

    @property
    def number(self) -> int:
        """Of this process among all, from 0."""
        return int(_workers()["task"]["index"]) if self.kind == "multi_worker" else 0

    @property
    def is_chief(self) -> bool:
        """Whether this is the process that writes files."""
        return self.number == 0

    @property
    def replicas(self) -> range:
        """The numbers of this process' replicas."""
        workers = len(_workers()["cluster"]["worker"]) if self.kind == "multi_worker" else 1
        own = int(self.strategy.num_replicas_in_sync) // workers
        return range(self.number * own, (self.number + 1) * own)


def _workers() -> dict[str, Any]:
    """What TF_CONFIG says.

    Raises:
        ImageloomError: It is not set, or not as it must be.
    """
    try:
        found = json.loads(os.environ["TF_CONFIG"])
        known = found["cluster"]["worker"]
        valid = found["task"]["type"] == "worker" and 0 <= int(found["task"]["index"]) < len(known)
    except (KeyError, ValueError, TypeError):
        valid = False
    if not valid:
        raise ImageloomError(
            "the strategy is multi_worker, and TF_CONFIG does not say who the workers are",
            'set it for each: {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}',
        )
    return dict(found)
