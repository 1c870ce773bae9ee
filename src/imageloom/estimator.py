"""A scikit-learn or XGBoost classifier on feature vectors, in a file that cannot run code when it is opened.

The file is of skops: a zip of arrays and a schema that names types. Before anything is made of it, every type that it
names must be one of `TRUSTED`; and what the libraries read without looking, the nodes of trees, is looked at here. Its
parts are numbered in their order and bear no date, so that the same classifier gives the same bytes.
"""

import io
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from imageloom.errors import ModelError

_OWN = (  # what this module writes
    "sklearn.cluster._kmeans.KMeans",
    "sklearn.ensemble._forest.RandomForestClassifier",
    "sklearn.neighbors._classification.KNeighborsClassifier",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.svm._classes.SVC",
    "sklearn.tree._classes.DecisionTreeClassifier",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
)
_PARTS = (  # and what these are made of
    "builtins.bytearray",
    "builtins.dict",
    "builtins.list",
    "builtins.str",
    "builtins.tuple",
    "numpy.float32",
    "numpy.float64",
    "numpy.int64",
    "numpy.ndarray",
)
TRUSTED = frozenset({*_OWN, *_PARTS})

_AGAIN = "run `dvc repro --force train`, and then `dvc repro`"


@dataclass(frozen=True, eq=False)
class Estimator:
    """A fitted classifier.

    Args:
        model: Gives class numbers' probabilities or, without these, scores (`decision_function`) or clusters.
        pictures: N, on how many it was fitted.
        classes: K.
        clusters: float64[C, K], for a model that finds C clusters: the share of each class in each; else None.
        temperature: What the logarithms of its probabilities are divided by.
    """

    FILE: ClassVar[str] = "model.skops"

    model: Any
    pictures: int
    classes: int
    clusters: np.ndarray | None = None
    temperature: float = 1.0

    @property
    def length(self) -> int:
        """D, how many numbers a feature vector has."""
        return int(self.model.n_features_in_)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Probabilities of the classes.

        No answer is surer than the pictures it was fitted on allow: of p there stays (N p + 1) / (N + K), Laplace's
        rule of succession, so that a tree's 0 and 1 have logarithms.

        Args:
            features: float32[N, D].

        Returns:
            float32[N, K], rows of which sum to one.
        """
        with _one_thread() if len(features) == 1 else nullcontext():
            shares = self._shares(features)
        shares = (shares * self.pictures + 1) / (self.pictures + self.classes)
        return tempered(shares.astype(np.float32), self.temperature)

    def tempered(self, temperature: float) -> "Estimator":
        """The same answers, more or less sure of them: logarithms of probabilities are divided by `temperature`."""
        return replace(self, temperature=self.temperature * temperature)

    def _shares(self, features: np.ndarray) -> np.ndarray:
        """float64[N, K]."""
        if self.clusters is not None:
            return self.clusters[self.model.predict(features)]
        if hasattr(self.model, "predict_proba"):
            return np.asarray(self.model.predict_proba(features), np.float64)
        scores = np.asarray(self.model.decision_function(features), np.float64)
        scores = np.stack([-scores, scores], axis=1) / 2 if scores.ndim == 1 else scores
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def save(self, path: Path) -> None:
        """Writes a skops file; the same classifier gives the same bytes."""
        import skops.io

        content = {name: value for name, value in vars(self).items() if value is not None}
        path.write_bytes(_settled(skops.io.dumps(content)))

    @classmethod
    def load(cls, path: Path, made_by: str = "train") -> "Estimator":
        """Reads what `save` wrote.

        Args:
            path: The file.
            made_by: The stage that wrote it, for the hint.

        Raises:
            ModelError: It is missing or damaged, names a type that is not of `TRUSTED`, needs a library that is not
                installed or was made by another version of scikit-learn.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise ModelError(f"no {path}", f"run `dvc repro {made_by}` first") from None
        except OSError as fault:
            raise ModelError(f"cannot read {path}: {fault.strerror}", "check its permissions") from None
        try:
            strange = sorted(set(_types(content)) - TRUSTED)
        except Exception as fault:  # what zipfile and json raise for bytes that are no skops file is of many kinds
            raise ModelError(f"{path} is damaged: {fault}", _AGAIN) from None
        if strange:
            raise ModelError(
                f"{path} holds {strange[0]}, which no classifier of imageloom does; it was not opened",
                f"do not trust who gave it to you; {_AGAIN}",
            )
        return cls(**_made(content, path))


def _one_thread() -> AbstractContextManager[object]:
    """Keeps scikit-learn's libraries to one thread: for one picture more of them only wait for each other.

    Neighbours among 1,600 pictures took 5 ms so, and 88 ms on two threads of a busy machine.
    """
    return _libraries().limit(limits=1)


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """float32[N, K], the probabilities whose logits are those of these, divided by `temperature`."""
    logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)) / np.float32(temperature)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _made(content: bytes, path: Path) -> dict[str, Any]:
    """The fields of the estimator in a file that names trusted types only.

    Raises:
        ModelError: It is not what `save` writes.
    """
    try:
        import skops.io
        from sklearn.exceptions import InconsistentVersionWarning

        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            found = skops.io.loads(content, trusted=sorted(TRUSTED))
        _check(found)
        return dict(found)
    except ModuleNotFoundError as fault:
        lacking = (fault.name or "").partition(".")[0]
        raise ModelError(f"{lacking}, which {path} needs, is not installed", f"uv pip install {lacking}") from None
    except InconsistentVersionWarning as fault:
        versions = f"{fault.original_sklearn_version}, and {fault.current_sklearn_version} is installed"
        raise ModelError(f"{path} was made by scikit-learn {versions}", _AGAIN) from None
    except Exception as fault:  # each type has its own ways to refuse what it is made from
        raise ModelError(f"{path} is damaged: {fault}", _AGAIN) from None


def _check(found: Any) -> None:
    """Refuses what would only fail, or worse, when it answers.

    Raises:
        ValueError: Something is not as `Estimator.save` writes it.
    """
    if not isinstance(found, dict) or found.keys() - {"clusters"} != {"model", "pictures", "classes", "temperature"}:
        raise ValueError("it does not hold what a classifier is made of")
    if not (isinstance(found["classes"], int) and found["pictures"] > 0 and found["temperature"] > 0):
        raise ValueError("its numbers are none of a classifier")
    if not (hasattr(found["model"], "predict") and hasattr(found["model"], "n_features_in_")):
        raise ValueError("it holds no model")
    model = found["model"].steps[-1][1] if hasattr(found["model"], "steps") else found["model"]
    clusters = found.get("clusters")
    if clusters is not None and np.shape(clusters) != (len(model.cluster_centers_), found["classes"]):
        raise ValueError("its clusters are others than are told of")
    if hasattr(model, "support_vectors_"):
        _check_support_vectors(model, found["classes"])
    for tree in [model, *getattr(model, "estimators_", ())]:
        if hasattr(tree, "tree_"):
            _check_tree(tree.tree_)


def _check_support_vectors(model: Any, classes: int) -> None:
    """What libsvm follows unasked is as long as it must be, for K classes and V support vectors.

    Raises:
        ValueError: It is not.
    """
    vectors, pairs = len(model.support_vectors_), classes * (classes - 1) // 2
    shapes = [model._dual_coef_.shape, model._intercept_.shape, model._n_support.shape]
    if shapes != [(classes - 1, vectors), (pairs,), (classes,)] or model._n_support.sum() != vectors:
        raise ValueError("its support vectors do not fit together")


def _check_tree(tree: Any) -> None:
    """Each node's children come after it and each question is about a feature: scikit-learn follows them unasked.

    Raises:
        ValueError: That is not so.
    """
    numbers = np.arange(tree.node_count)
    left, right = tree.children_left, tree.children_right
    leaf = (left == -1) & (right == -1)
    inner = (left > numbers) & (right > numbers) & (left < tree.node_count) & (right < tree.node_count)
    asks = (tree.feature >= 0) & (tree.feature < tree.n_features)
    if not (tree.node_count and (leaf | (inner & asks)).all() and len(tree.value) == tree.node_count):
        raise ValueError("a tree in it leads nowhere")


def _types(content: bytes) -> Iterator[str]:
    """The types that a skops file names, by module and name.

    Raises:
        ValueError: A part of it is compressed, as `Estimator.save` compresses none, and may be of any size.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("a part of it is compressed")
        yield from _named(json.loads(archive.read("schema.json")))


def _named(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "__class__" in node or "__module__" in node:
            yield f"{node.get('__module__')}.{node.get('__class__')}"
        for value in node.values():
            yield from _named(value)
    elif isinstance(node, list):
        for value in node:
            yield from _named(value)


def _settled(content: bytes) -> bytes:
    """A skops file whose parts are named, and whose objects are numbered, in the order in which they are told.

    Else they bear their places in memory, random numbers and the time.
    """
    names: dict[str, str] = {}
    numbers: dict[int, int] = {}

    def settled(node: Any) -> Any:
        if isinstance(node, list):
            return [settled(value) for value in node]
        if not isinstance(node, Mapping):
            return node
        told = {key: settled(value) for key, value in node.items()}
        if isinstance(node.get("file"), str):
            told["file"] = names.setdefault(node["file"], f"{len(names)}{Path(node['file']).suffix}")
        if isinstance(node.get("__id__"), int):
            told["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        return told

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(buffer, "w") as archive:
        schema = settled(json.loads(given.read("schema.json")))
        for old, new in names.items():
            archive.writestr(zipfile.ZipInfo(new), given.read(old))
        archive.writestr(zipfile.ZipInfo("schema.json"), json.dumps(schema))
    return buffer.getvalue()
