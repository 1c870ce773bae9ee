"""When not to answer: what is unsure, or unlike the training pictures, is not known; the validation pictures decide."""

import math
from dataclasses import asdict, dataclass

import numpy as np
from pydantic import Field

from imageloom import ood
from imageloom.errors import DataError
from imageloom.params import StageParams


class RejectionParams(StageParams):
    """What is asked of the answers, and how many may be withheld for it."""

    target_precision: float = Field(
        default=0.95, gt=0, le=1, description="share of the answers that shall be right; what is less sure is not known"
    )
    least_share: float = Field(
        default=0.99,
        ge=0,
        le=1,
        description="share of the validation pictures that stays known even where the precision is missed by it; "
        "0 insists on the precision",
    )
    distance_quantile: float = Field(
        default=0.995,
        gt=0.5,
        lt=1,
        description="share of pictures of these kinds that shall not be too far from those of training",
    )


@dataclass(frozen=True)
class Known:
    """The bounds of what is answered, and what they give on the validation pictures.

    Args:
        min_confidence: The lowest calibrated probability of the first answer that is known.
        max_distance: The largest distance (`ood.Detector`) that is known.
        target_precision: What was asked.
        precision: Share of the known pictures that is answered right.
        share_known: Share of the pictures that is known.
        share_at_target: The largest share with which the target would be reached; 0 where none is.
    """

    min_confidence: float
    max_distance: float
    target_precision: float
    precision: float
    share_known: float
    share_at_target: float

    def to_dict(self) -> dict[str, float]:
        """As classifier.json and model.json hold it."""
        return {name: round(value, 6) for name, value in asdict(self).items()}


def bounds(probabilities: np.ndarray, distances: np.ndarray, classes: np.ndarray, params: RejectionParams) -> Known:
    """Chooses both bounds.

    The largest distance is chosen first. Then the lowest confidence is the smallest with which the share of right
    answers among the known pictures reaches the target; where none does while enough stays known, the one with the
    largest share.

    Args:
        probabilities: float32[N, K], calibrated, of the validation pictures.
        distances: float32[N], of the same.
        classes: int[N], the classes that they are of.
        params: See `RejectionParams`.

    Raises:
        DataError: No distance is a number.
    """
    furthest = max_distance(distances, params.distance_quantile)
    near = ood.near(distances, furthest)
    confidences = probabilities.max(axis=1)[near]
    order = np.argsort(-confidences, kind="stable")
    confidences, right = confidences[order], (probabilities.argmax(axis=1) == classes)[near][order]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)  # [n], with the n surest known
    share = np.arange(1, len(right) + 1) / len(classes)
    ends = np.flatnonzero(np.append(confidences[1:] < confidences[:-1], True))  # equals are known together, or not
    reaching = ends[precision[ends] >= params.target_precision]
    allowed = ends[share[ends] >= min(params.least_share, share[-1])][::-1]  # from the most that are known
    within = reaching[share[reaching] >= share[allowed[-1]]]
    end = within[-1] if len(within) else allowed[precision[allowed].argmax()]
    bound = _between(confidences[end], *confidences[end + 1 : end + 2])
    end = np.count_nonzero(confidences >= bound) - 1  # rounded, it may let more in
    return Known(
        bound,
        furthest,
        params.target_precision,
        float(precision[end]),
        float(share[end]),
        float(share[reaching[-1]]) if len(reaching) else 0.0,
    )


def _between(known: float, unknown: float | None = None) -> float:
    """The bound between the least sure answer that is known and the surest that is not; 0 where all are known.

    It has six digits; answers that are nearer to each other than that are known together.
    """
    return 0.0 if unknown is None else math.floor((float(known) + float(unknown)) / 2 * 1e6) / 1e6


def max_distance(distances: np.ndarray, quantile: float) -> float:
    """The distance within which this share of pictures of the same kinds is expected.

    It is the validation pictures' quantile, and no less than the bound of a prediction interval for one more picture,
    their logarithms being about normal: of twenty pictures the furthest says little of what the next may be.

    Args:
        distances: float32[N], of the validation pictures; those that are no numbers say nothing.
        quantile: The share.

    Raises:
        DataError: None is a number.
    """
    from scipy.special import stdtrit

    distances = distances[np.isfinite(distances)]
    if not len(distances):
        raise DataError("the features of the validation pictures are no numbers", "run `dvc repro --force embed`")
    found = float(np.quantile(distances.astype(np.float64), quantile))
    if len(distances) < 2:
        return 2 * found
    logarithms = np.log(np.maximum(distances.astype(np.float64), 1e-12))
    spread = float(logarithms.std(ddof=1)) * math.sqrt(1 + 1 / len(distances))
    bound = math.exp(float(logarithms.mean()) + stdtrit(len(distances) - 1, quantile) * spread)
    return math.ceil(max(found, bound) * 1e6) / 1e6
