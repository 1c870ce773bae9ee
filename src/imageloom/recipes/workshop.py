"""Where a recipe trains a network of its own, and what comes out of it.

Such a recipe writes a SavedModel like the backbone's and gives a head on its features; the stage `train` adds the rest
of the network's files (`backbone_files`) and the features that it gives of the pictures (`network`), so that all after
it is as for other recipes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageloom.backbone_files import About
from imageloom.images import Aspect
from imageloom.network import Network
from imageloom.recipes.head import Head


@dataclass(frozen=True)
class Workshop:
    """Where a recipe works.

    Args:
        pretrained: The backbone, for those that begin with it.
        aspect: How pictures become square.
        target: A folder, not there yet, that the SavedModel is to be written to.
        kept: A folder for what a training that is killed goes on from; removed when the classifier is written.
        tell: To be called with the digest by which the training is known, and a row of its history, after each epoch.
    """

    pretrained: Network
    aspect: Aspect
    target: Path
    kept: Path
    tell: Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, eq=False)
class Trained:
    """What a recipe gives beside the SavedModel.

    Args:
        head: On the features that the new network gives, uncalibrated.
        about: What backbone.json shall say of the network.
        history: As of `data.Fitted`.
        training: Digest of all that decides what comes out, by which the training is known.
    """

    head: Head
    about: About
    history: list[dict[str, Any]]
    training: str

    @property
    def chosen(self) -> dict[str, Any]:
        """What was decided: the epoch."""
        return {"epoch": next(row["step"] for row in self.history if row["chosen"])}
