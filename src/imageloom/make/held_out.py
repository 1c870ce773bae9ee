"""How right a classifier is on pictures that it has not seen, which neither trained it nor chose anything of it."""

from dataclasses import dataclass

import numpy as np

from imageloom import network, tables, wilson
from imageloom.console import counted
from imageloom.errors import ImageloomError
from imageloom.evaluate.metrics import majority_baseline
from imageloom.files import Paths
from imageloom.recipes.head import class_numbers, read_about, read_head


@dataclass(frozen=True)
class HeldOut:
    """What came of the pictures that were held out.

    Args:
        pictures: How many.
        right: How many of them are answered right.
        baseline: What share would be by always answering the class that is commonest in training.
        commonest: The label of that class.
    """

    pictures: int
    right: int
    baseline: float
    commonest: str

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.pictures

    def __str__(self) -> str:
        low, high = wilson.interval(self.accuracy, self.pictures)
        return (
            f"{self.accuracy:.1%} right on {counted(self.pictures, 'picture')} held out "
            f"(95 % interval {low:.1%} to {high:.1%}); always answering {self.commonest!r} would be {self.baseline:.1%}"
        )

    def require(self, least: float) -> None:
        """Sees that it is right often enough.

        Raises:
            ImageloomError: It is not.
        """
        if self.accuracy < least:
            hint = (
                "nothing was written; add pictures, look for wrong ones, or ask for less by --assert_accuracy_at_least"
            )
            raise ImageloomError(f"the accuracy is {self.accuracy:.4g}, and {least:g} or more is asked", hint)


def measure(paths: Paths) -> HeldOut:
    """Counts on the test side of the split.

    Raises:
        DataError: Split, features or classifier are missing or damaged.
    """
    about = read_about(paths.classifier)
    rows = tables.read(paths.split, tables.SPLIT, "split").to_pylist()
    sides = {side: [row for row in rows if row["side"] == side] for side in ("train", "test")}
    train, test = (class_numbers(about, sides[side]) for side in ("train", "test"))
    features = network.of(paths).features.read([row["id"] for row in sides["test"]])
    answers = read_head(paths.classifier).probabilities(features).argmax(axis=1)
    commonest = about["classes"][int(np.bincount(train).argmax())]["label"]
    return HeldOut(len(test), int((answers == test).sum()), majority_baseline(train, test), commonest)
