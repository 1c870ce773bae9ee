"""The one way to use an exported model: a picture's bytes in, its classes' probabilities out.

`imageloom predict`, `imageloom serve` and MLflow's pyfunc all call `Predictor`, so that none of them can answer
differently. It needs LiteRT, numpy and Pillow only, and answers a third of a second after the process has started.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import arrays, card, heatmap, images, ood
from imageloom.engine import Engine
from imageloom.errors import ImageError, ModelError
from imageloom.estimator import Estimator
from imageloom.trained_on import TrainedOn

# The formats of model.json that LiteRT runs.
TFLITE = ("float32", "float16", "int8")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about one picture.

    Args:
        label: The most probable class, as people read it.
        name: The same class, as folders are named.
        probabilities: float32[K], in the order of the model's classes.
        known: Whether the answer is to be relied on: it is sure enough, and the picture is like those of training; None
            where the model cannot tell.
        distance: How far the picture is from those of training, about 1 for one like them; NaN where nobody can tell.
        predictor: Who said so.
    """

    label: str
    name: str
    probabilities: np.ndarray
    known: bool | None
    distance: float
    predictor: "Predictor"

    def to_dict(self, top_k: int | None = None) -> dict[str, Any]:
        """The answer as the command line and the server give it, most probable class first.

        Args:
            top_k: How many classes to name; None names all.
        """
        shares = self.probabilities.tolist()
        ranked = [
            {
                "label": self.predictor.labels[index],
                "name": self.predictor.names[index],
                # Six digits: float32 has no more to say, and 0.9 is not to be written 0.8999999761581421.
                "probability": round(shares[index], 6),
            }
            for index in sorted(range(len(shares)), key=shares.__getitem__, reverse=True)[:top_k]
        ]
        return {"label": self.label, "known": self.known, "predictions": ranked, "model": self.predictor.version}


class Predictor:
    """An exported model, ready to answer; safe to call from several threads.

    What runs a format that is not TFLite overrides `open_model`, `run` and `run_with_map`.

    Args:
        folder: What the stage `export` wrote: `model.json` and what it names.
        format: Which of the formats in it answers, of those in `TFLITE`.

    Raises:
        ModelError: A file is missing, was altered since it was exported, or does not fit the others.

    Example:
        >>> Predictor(Path("models/export")).predict(Path("photo.jpg").read_bytes()).label
        'functional'
    """

    _map: int | None = None

    def __init__(self, folder: Path, format: str = "float32") -> None:
        self.card = card.read(folder)
        self.names, self.labels, self.version = self.card.names, self.card.labels, self.card.version
        self.size, self.aspect = self.card.size, self.card.aspect
        entry = self.card.entry(format)
        self._known, self._head = entry["known"], folder / entry["head"]
        self._detector = ood.Detector.load(folder / entry["ood"], "export")
        self.open_model(folder / entry["file"], entry)

    @property
    def has_map(self) -> bool:
        """Whether heat maps come from the map that the network pools, which takes no longer than an answer."""
        return self._map is not None

    def open_model(self, path: Path, entry: dict[str, Any]) -> None:
        """Makes ready what `run` needs.

        Args:
            path: The file, or the folder, that holds the model.
            entry: What model.json says of its format.

        Raises:
            ModelError: It cannot be used, or is not what model.json says.
        """
        self._features, self._map = entry.get("features"), entry.get("map")
        extra = [tensor for tensor in (self._features, self._map) if tensor is not None]
        self._engine = Engine(path, extra)
        length = len(self._detector.mean)
        for tensor, rank in ((self._features, 2), (self._map, 4)):
            if tensor is None:
                continue
            shape = self._engine.shapes[tensor]
            if len(shape) != rank or shape[-1] != length:
                raise ModelError(
                    f"tensor {tensor} of {path} has the shape {shape}; features are {length} numbers", card.EXPORT_AGAIN
                )
        if self._engine.output_length != len(self.labels):
            outputs = f"{self._engine.output_length} outputs for {len(self.labels)} labels"
            raise ModelError(f"{path} has {outputs}", card.EXPORT_AGAIN)
        if self._engine.size != self.size or self._engine.input_dtype != np.uint8:
            raise ModelError(
                f"{path} takes {self._engine.input_dtype} pictures of side {self._engine.size}; "
                f"{card.CARD_FILE} says uint8 and {self.size}",
                card.EXPORT_AGAIN,
            )

    def trained_on(self) -> TrainedOn | None:
        """The pictures that it was trained on; None where nobody can tell.

        Raises:
            ModelError: The file that tells is missing or was altered since it was exported.
        """
        return self.card.trained_on()

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities float32[K] of a picture uint8[S, S, 3], and its features float32[D] where it has any."""
        if self._features is None:
            return self._engine(image), None
        probabilities, features = self._engine.tensors(image, self._features)
        return probabilities, features

    def run_with_map(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities float32[K] of a picture, and the map float32[h, w, D] that is pooled, where there is one."""
        if self._map is None:
            return self._engine(image), None
        probabilities, activations = self._engine.tensors(image, self._map)
        return probabilities, activations

    def predict(self, data: bytes) -> Prediction:
        """Says what is on a picture.

        Args:
            data: The encoded picture, in any format of `images.FORMATS`.

        Raises:
            ImageError: It is not a picture that can be used.
        """
        return self.predict_pixels(self.load(data))

    def load(self, data: bytes) -> np.ndarray:
        """Decodes a picture as the model takes it: uint8[S, S, 3] RGB.

        Raises:
            ImageError: It is not a picture that can be used.
        """
        return images.load(data, self.size, self.aspect)

    def predict_pixels(self, image: np.ndarray) -> Prediction:
        """Says what is on a picture that `load` has decoded: uint8[S, S, 3] RGB."""
        answer, features = self.run(image)
        probabilities = np.asarray(answer, np.float32)
        best = int(probabilities.argmax())
        distance = math.nan if features is None else self._detector.distance(features)
        known = bool(ood.known(probabilities[best], distance, self._known))
        return Prediction(self.labels[best], self.names[best], probabilities, known, distance, self)

    def heatmap(self, image: np.ndarray, class_index: int | None = None) -> np.ndarray:
        """Where the evidence for a class lies: by class activation, or by occlusion where the network pools no map.

        Args:
            image: uint8[S, S, 3] RGB, as `load` gives it; `heatmap.overlay` lays the answer on it.
            class_index: Number of the class; the most probable one where none is given.

        Returns:
            float32[h, w]; positive where a place speaks for the class.
        """
        probabilities, activations = self.run_with_map(image)
        index = int(probabilities.argmax()) if class_index is None else class_index
        if activations is None:
            return heatmap.occlusion(lambda pixels: self.run(pixels)[0], image, index)
        return heatmap.class_activation(activations, self._kernel(), index)

    def _kernel(self) -> np.ndarray:
        """float32[D, K], read when it is first asked for."""
        if not hasattr(self, "_loaded_kernel"):
            (self._loaded_kernel,) = arrays.load(self._head, ("kernel",), "export")
        return self._loaded_kernel


class EstimatorPredictor(Predictor):
    """An exported model of the format skops: a network in TFLite, and a classifier on its features."""

    def open_model(self, path: Path, entry: dict[str, Any]) -> None:
        """See `Predictor`."""
        network = path.with_name(entry["network"])
        self._engine, self._estimator = Engine(network), Estimator.load(path, "export")
        if (self._engine.size, self._estimator.classes) != (self.size, len(self.labels)):
            raise ModelError(
                f"{network} takes pictures of side {self._engine.size} and {path} knows {self._estimator.classes} "
                f"classes; {card.CARD_FILE} says {self.size} and {len(self.labels)}",
                card.EXPORT_AGAIN,
            )
        if not self._engine.output_length == self._estimator.length == len(self._detector.mean):
            raise ModelError(
                f"{network} gives {self._engine.output_length} features, and {path} takes {self._estimator.length}",
                card.EXPORT_AGAIN,
            )

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Predictor`."""
        features = self._engine(image)
        return self._estimator.probabilities(features[np.newaxis])[0], features

    def run_with_map(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Predictor`; no classifier but a linear one can say what a place in a map adds."""
        return self.run(image)[0], None


def of_folder(folder: Path) -> Predictor:
    """The model in a folder that `export` wrote, in the format that answers where none is asked for.

    Raises:
        ModelError: A file is missing, was altered since it was exported, or does not fit the others.
    """
    usual = card.read(folder).usual_format
    return EstimatorPredictor(folder, usual) if usual == "skops" else Predictor(folder, usual)


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
            A DataFrame with the columns `label`, `known`, and one column of probabilities per class label.
        """
        import pandas as pd

        if "image" not in getattr(model_input, "columns", ()):
            raise ModelError("the input has no column `image`", "give a DataFrame of one column `image` of bytes")
        answers = [self._row(number, data) for number, data in enumerate(model_input["image"])]
        return pd.DataFrame(answers, columns=["label", "known", *self._predictor.labels], index=model_input.index)

    def _row(self, number: int, data: bytes) -> Sequence[Any]:
        try:
            prediction = self._predictor.predict(bytes(data))
        except ImageError as fault:
            raise ImageError(f"row {number}: {fault.message}", fault.kind) from None
        return [prediction.label, prediction.known, *map(float, prediction.probabilities)]


def _load_pyfunc(data_path: str) -> _PyFunc:
    """What MLflow calls when this module is a model's `loader_module`; `data_path` is the exported folder."""
    return _PyFunc(of_folder(Path(data_path)))
