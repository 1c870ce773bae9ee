"""Recipe `classical`: a decision tree, k nearest neighbours, an SVM, a random forest, XGBoost, or k-means.

On features, or on the pixels of small pictures, for which no pretrained network is needed. Of the values that are given
for what matters most in each method, the one with the lowest log-loss on validation is taken. k-means is not told the
classes: each cluster then stands for those of its training pictures, which shows what can be had without labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat

from imageloom import console
from imageloom.engine import cores
from imageloom.errors import DataError, ImageloomError
from imageloom.estimator import Estimator
from imageloom.params import StageParams
from imageloom.recipes import flat
from imageloom.recipes.data import Data, Fitted, best_row, measure, with_choice
from imageloom.recipes.standard import picture_weights

_Count = Annotated[int, Field(ge=1, le=1_000_000)]


class ClassicalParams(StageParams):
    """Which method, on what, and the values that it is tried with."""

    method: Literal["tree", "knn", "svm", "forest", "xgboost", "kmeans"] = Field(
        default="forest", description="decision tree, nearest neighbours, support vectors, random forest, ..."
    )
    on: Literal["features", "pixels"] = Field(default="features", description="the backbone's features, or pixels")
    size: int = Field(default=32, ge=4, le=256, description="pixels: side that pictures are made smaller to")
    grey: bool = Field(default=True, description="pixels: grey, or else red, green and blue")
    depths: list[_Count] = Field(
        default=[3, 6, 12, 24], min_length=1, description="tree: how many questions it may ask, to choose from"
    )
    neighbours: list[_Count] = Field(
        default=[1, 3, 5, 9, 17], min_length=1, description="knn: how many are asked, to choose from"
    )
    c: list[PositiveFloat] = Field(
        default=[0.1, 1, 10, 100], min_length=1, description="svm: inverse strengths of regularisation, to choose from"
    )
    leaves: list[_Count] = Field(
        default=[1, 3, 9], min_length=1, description="forest: fewest pictures of a leaf, to choose from"
    )
    trees: int = Field(default=300, ge=1, le=10_000, description="forest: how many")
    rounds: list[_Count] = Field(
        default=[50, 200], min_length=1, description="xgboost: numbers of trees for each class, to choose from"
    )
    clusters: list[_Count] = Field(
        default=[1, 2, 4, 8], min_length=1, description="kmeans: how many for each class, to choose from"
    )
    balanced: bool = Field(
        default=True, description="gives each class the same weight; not of knn and kmeans, which have no weights"
    )
    seed: int = Field(default=7, ge=0, le=2**32 - 1, description="of tree, forest, xgboost and kmeans")


def write_network(params: ClassicalParams, folder: Path) -> bool:
    """Writes the network that gives pixels as features, where the recipe is on pixels; says whether it is."""
    if params.on == "pixels":
        flat.write(folder, params.size, params.grey)
    return params.on == "pixels"


def fit(train: Data, validation: Data, classes: int, params: ClassicalParams) -> Fitted:
    """Fits the method with each of its values, and keeps the one with the lowest log-loss on validation.

    Args:
        train: What to fit on; every class is there.
        validation: What to choose on.
        classes: K, the number of classes.
        params: See `ClassicalParams`.

    Raises:
        DataError: There are fewer training pictures than what every value asks for.
        ImageloomError: XGBoost is asked for and not installed.
    """
    method = _METHODS[params.method]
    values = _possible(method, len(train.classes), classes, params)
    scaler = _standard(train.features) if params.on == "features" else None
    weights = picture_weights(train.classes, train.weights, classes, params.balanced) if method.weighs else None
    if weights is None and np.ptp(train.weights):
        console.warn(f"{params.method} cannot weigh pictures: all count the same")
    heads, history = [], []
    for step, value in enumerate(values, start=1):
        model = _fitted(method.make(params, value, classes), scaler, train, weights)
        heads.append(_estimator(model, train, classes))
        row: dict[str, Any] = {"step": step, method.value: value}
        for side, data in (("train", train), ("validation", validation)):
            row |= measure(heads[-1].probabilities(data.features), data.classes, side)
            row |= _agreement(heads[-1], data, side)
        history.append(row)
    best = best_row(history)
    chosen = {"method": params.method, method.value: values[best]}
    chosen |= {name: history[best][name] for name in history[best] if name.endswith(("_purity", "_nmi"))}
    fresh = heads[best].probabilities(validation.features)
    return Fitted(heads[best], fresh, with_choice(history), chosen)


@dataclass(frozen=True)
class _Method:
    """A method.

    Args:
        value: What is tried, as the history calls it.
        values: The parameter that lists it.
        make: From the parameters, a value and K to what is not fitted yet.
        needs: Training pictures that a value needs, of a value and K.
        weighs: Whether pictures can weigh more or less.
    """

    value: str
    values: str
    make: Callable[[ClassicalParams, Any, int], Any]
    needs: Callable[[Any, int], int] = lambda value, classes: 1
    weighs: bool = True


def _possible(method: _Method, pictures: int, classes: int, params: ClassicalParams) -> Sequence[Any]:
    given = sorted(set(getattr(params, method.values)))
    found = [value for value in given if method.needs(value, classes) <= pictures]
    if not found:
        raise DataError(
            f"train.classical.{method.values} asks for {method.needs(given[0], classes):,} training pictures or more, "
            f"and there are {pictures:,}",
            f"add a smaller value to train.classical.{method.values}, or pictures",
        )
    return found


def _standard(features: np.ndarray) -> Any:
    """Brings features to mean 0 and deviation 1: without it, those that vary most would decide all distances."""
    from sklearn.preprocessing import StandardScaler

    return StandardScaler().fit(features)


def _fitted(model: Any, scaler: Any, train: Data, weights: np.ndarray | None) -> Any:
    """The model, fitted with weights float64[N] where it can weigh, behind the scaler where there is one."""
    from sklearn.pipeline import Pipeline

    features = train.features if scaler is None else scaler.transform(train.features)
    model.fit(features, train.classes, **({} if weights is None else {"sample_weight": weights}))
    if getattr(model, "n_jobs", None) is not None:
        model.n_jobs = 1  # what threads add up in any order differs in the last digit
    return model if scaler is None else Pipeline([("standard", scaler), ("model", model)])


def _estimator(model: Any, train: Data, classes: int) -> Estimator:
    """With what each cluster stands for, where the model finds clusters."""
    if hasattr(model, "predict_proba") or hasattr(model, "decision_function"):
        return Estimator(model, len(train.classes), classes)
    found = model.predict(train.features)
    centres = (model[-1] if hasattr(model, "steps") else model).cluster_centers_
    counts = np.zeros((len(centres), classes))
    np.add.at(counts, (found, train.classes), 1)
    return Estimator(model, len(train.classes), classes, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _agreement(head: Estimator, data: Data, side: str) -> dict[str, float]:
    """Of clusters, how pure they are and how much they tell of the classes; of other methods nothing.

    Purity is the share of pictures that are of their cluster's commonest class; the mutual information of clusters and
    classes is divided by the mean of both entropies (NMI; Manning, Raghavan and Schütze 2008, section 16.3).
    """
    if head.clusters is None:
        return {}
    from sklearn.metrics import normalized_mutual_info_score

    found = head.model.predict(data.features)
    counts = np.zeros(head.clusters.shape)
    np.add.at(counts, (found, data.classes), 1)
    purity = float(counts.max(axis=1).sum() / len(found))
    return {f"{side}_purity": purity, f"{side}_nmi": float(normalized_mutual_info_score(data.classes, found))}


def _tree(params: ClassicalParams, depth: int, classes: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=depth, random_state=params.seed)


def _neighbours(params: ClassicalParams, number: int, classes: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(number, algorithm="brute")  # a search tree is of no use where there are many features


def _support_vectors(params: ClassicalParams, strength: float, classes: int) -> Any:
    from sklearn.svm import SVC

    return SVC(C=strength)


def _forest(params: ClassicalParams, leaf: int, classes: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(params.trees, min_samples_leaf=leaf, random_state=params.seed, n_jobs=cores())


def _xgboost(params: ClassicalParams, rounds: int, classes: int) -> Any:
    try:
        from xgboost import XGBClassifier
    except ImportError:
        hint = "install it by `uv pip install 'imageloom[xgboost]'`, or choose another train.classical.method: forest"
        raise ImageloomError("train.classical.method is xgboost, which is not installed", hint) from None
    return XGBClassifier(
        n_estimators=rounds, learning_rate=0.1, colsample_bytree=0.3, random_state=params.seed, n_jobs=1
    )


def _clusters(params: ClassicalParams, each: int, classes: int) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(each * classes, n_init=4, random_state=params.seed)


_METHODS = {
    "tree": _Method("depth", "depths", _tree),
    "knn": _Method("neighbours", "neighbours", _neighbours, lambda number, classes: number, weighs=False),
    "svm": _Method("C", "c", _support_vectors),
    "forest": _Method("leaf", "leaves", _forest),
    "xgboost": _Method("rounds", "rounds", _xgboost),
    "kmeans": _Method("clusters", "clusters", _clusters, lambda each, classes: each * classes, weighs=False),
}
