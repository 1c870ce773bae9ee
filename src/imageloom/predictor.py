"""The one way to use an exported model: a picture's bytes in, its classes' probabilities out.

`imageloom predict`, `imageloom serve` and MLflow's pyfunc all call `Predictor`, so that none of them can answer
differently. It needs LiteRT, numpy and Pillow only, and answers a third of a second after the process has started.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from imageloom import files, images
from imageloom.engine import Engine
from imageloom.errors import ImageError, ModelError

# The number of the layout of an exported folder that this module reads.
FORMAT = 1

MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
CARD_FILE = "model.json"

_EXPORT_AGAIN = "run `dvc repro --force export` to make it again"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about one picture.

    Args:
        label: The most probable class, as people read it.
        name: The same class, as folders are named.
        probabilities: float32[K], in the order of the model's classes.
        predictor: Who said so.
    """

    label: str
    name: str
    probabilities: np.ndarray
    predictor: "Predictor"

    def to_dict(self, top_k: int | None = None) -> dict[str, Any]:
        """The answer as the command line and the server give it, most probable class first.

        Args:
            top_k: How many classes to name; None names all.
        """
        order = np.argsort(-self.probabilities, kind="stable")[:top_k]
        ranked = [
            {
                "label": self.predictor.labels[index],
                "name": self.predictor.names[index],
                # Six digits: float32 has no more to say, and 0.9 is not to be written 0.8999999761581421.
                "probability": round(float(self.probabilities[index]), 6),
            }
            for index in order
        ]
        return {"label": self.label, "predictions": ranked, "model": self.predictor.version}


class Predictor:
    """An exported model, ready to answer; safe to call from several threads.

    Args:
        folder: What the stage `export` wrote: `model.tflite`, `labels.txt` and `model.json`.

    Raises:
        ModelError: A file is missing, was altered since it was exported, or does not fit the others.

    Example:
        >>> Predictor(Path("models/export")).predict(Path("photo.jpg").read_bytes()).label
        'functional'
    """

    def __init__(self, folder: Path) -> None:
        card = _read_card(folder)
        _check_digests(folder, card)
        self.names, self.labels = _read_classes(folder, card)
        self.version = str(card["version"])
        self.card = card
        self._size, self._aspect = _read_input(folder, card)
        self._engine = Engine(folder / MODEL_FILE)
        _check_graph(folder, self._engine, self._size, len(self.labels))

    def predict(self, data: bytes) -> Prediction:
        """Says what is on a picture.

        Args:
            data: The encoded picture, in any format of `images.FORMATS`.

        Raises:
            ImageError: It is not a picture that can be used.
        """
        return self.predict_pixels(images.load(data, self._size, self._aspect))

    def predict_pixels(self, image: np.ndarray) -> Prediction:
        """Says what is on a picture that `images.load` has decoded: uint8[S, S, 3] RGB."""
        probabilities = np.array(self._engine(image), dtype=np.float32)
        best = int(probabilities.argmax())
        return Prediction(self.labels[best], self.names[best], probabilities, self)


def _read_card(folder: Path) -> dict[str, Any]:
    """`model.json`, of a format that this module knows and with every key that it uses."""
    path = folder / CARD_FILE
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        is_ours = (folder.parent.parent / "params.yaml").exists()
        advice = "run `dvc repro` to make one" if is_ours else "run this in the project's folder, where params.yaml is"
        raise ModelError(
            f"no exported model in {folder}: {CARD_FILE} is missing",
            f"{advice}, or name the model's folder with --model",
        ) from None
    except OSError as fault:
        raise ModelError(f"cannot read {path}: {fault.strerror}", "check the folder's permissions") from None
    except ValueError as fault:
        raise ModelError(f"{path} is not JSON: {fault}", _EXPORT_AGAIN) from None
    number = card.get("format") if isinstance(card, dict) else None
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ModelError(f"{path} is no description of an exported model: it has no format number", _EXPORT_AGAIN)
    if number > FORMAT:
        raise ModelError(
            f"{path} is of format {number}; this version of imageloom reads up to {FORMAT}",
            "update imageloom, or export the model with this version",
        )
    for key, kind in (("version", str), ("classes", list), ("input", dict), ("files", dict)):
        if not isinstance(card.get(key), kind):
            raise ModelError(f"{path} has no {key!r}, or one of another kind", _EXPORT_AGAIN)
    return card


def _check_digests(folder: Path, card: dict[str, Any]) -> None:
    """Compares the files that are used with the SHA-256 that the export wrote down."""
    for name in (MODEL_FILE, LABELS_FILE):
        expected = card["files"].get(name)
        if not isinstance(expected, str):
            raise ModelError(f"{folder / CARD_FILE} has no SHA-256 of {name}", _EXPORT_AGAIN)
        try:
            found = files.sha256(folder / name)
        except OSError as fault:
            raise ModelError(f"cannot read {folder / name}: {fault.strerror}", _EXPORT_AGAIN) from None
        if found != expected:
            raise ModelError(
                f"{folder / name} was altered: its SHA-256 begins with {found[:12]}, {expected[:12]} was exported",
                f"{_EXPORT_AGAIN}, or `dvc checkout --force` to have the exported files back",
            )


def _read_classes(folder: Path, card: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes' names and labels, in the order of the model's outputs."""
    classes = card["classes"]
    if not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in classes):
        raise ModelError(f"{folder / CARD_FILE}: every class needs a name", _EXPORT_AGAIN)
    names = tuple(one["name"] for one in classes)
    labels = tuple(str(one.get("label") or one["name"]) for one in classes)
    # Not splitlines(): a label may hold U+2028 or other characters that Python takes for the end of a line.
    listed = (folder / LABELS_FILE).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if tuple(listed) != labels:
        raise ModelError(
            f"{folder / LABELS_FILE} lists {len(listed)} labels that are not the {len(labels)} of {CARD_FILE}",
            _EXPORT_AGAIN,
        )
    return names, labels


def _read_input(folder: Path, card: dict[str, Any]) -> tuple[int, images.Aspect]:
    size, aspect = card["input"].get("size"), card["input"].get("aspect")
    if isinstance(size, bool) or not isinstance(size, int) or aspect not in get_args(images.Aspect):
        known = ", ".join(get_args(images.Aspect))
        raise ModelError(
            f"{folder / CARD_FILE}: input needs a whole size and an aspect among {known}; found {card['input']}",
            _EXPORT_AGAIN,
        )
    return size, aspect


def _check_graph(folder: Path, engine: Engine, size: int, count: int) -> None:
    path = folder / MODEL_FILE
    if engine.output_length != count:
        raise ModelError(f"{path} has {engine.output_length} outputs for {count} labels", _EXPORT_AGAIN)
    if engine.size != size or engine.input_dtype != np.uint8:
        raise ModelError(
            f"{path} takes {engine.input_dtype} pictures of side {engine.size}; {CARD_FILE} says uint8 and {size}",
            _EXPORT_AGAIN,
        )


class _PyFunc:
    """The model as MLflow calls it."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Predicts every row.

        Args:
            model_input: A pandas DataFrame whose column `image` holds encoded pictures.
            params: Not used.

        Returns:
            A DataFrame with the column `label` and one column of probabilities per class label.
        """
        import pandas as pd

        if "image" not in getattr(model_input, "columns", ()):
            raise ModelError("the input has no column `image`", "give a DataFrame of one column `image` of bytes")
        answers = [self._row(number, data) for number, data in enumerate(model_input["image"])]
        return pd.DataFrame(answers, columns=["label", *self._predictor.labels], index=model_input.index)

    def _row(self, number: int, data: bytes) -> Sequence[Any]:
        try:
            prediction = self._predictor.predict(bytes(data))
        except ImageError as fault:
            raise ImageError(f"row {number}: {fault.message}", fault.kind) from None
        return [prediction.label, *map(float, prediction.probabilities)]


def _load_pyfunc(data_path: str) -> _PyFunc:
    """What MLflow calls when this module is a model's `loader_module`; `data_path` is the exported folder."""
    return _PyFunc(Predictor(Path(data_path)))
