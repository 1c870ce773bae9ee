"""Opens a model in any format that the stage `export` writes, and classifiers that others made.

What is opened answers as a `Predictor` does. TensorFlow, onnxruntime and MLflow are imported only for what needs them.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imageloom import card, heatmap, images, tflite_metadata
from imageloom.engine import Engine
from imageloom.errors import ModelError
from imageloom.estimator import Estimator
from imageloom.predictor import EstimatorPredictor, Prediction, Predictor
from imageloom.tflite_metadata import Metadata
from imageloom.trained_on import TrainedOn

# How MLflow writes the address of a registered model, and how we do.
_REGISTERED = ("mlflow:models/", "models:/")

# A picture whose sides differ more is cropped rather than squashed, where a model does not say what it was trained on;
# so did TensorFlow's label_image.
SQUASHED_UP_TO = 1.5

# What holds a classifier that is no network.
_SKOPS = Path(Estimator.FILE).suffix

# TF-Hub's common image signature: pixels go in as 0 to 1.
COMMON_MEAN, COMMON_STD = 0.0, 255.0


class Network(Protocol):
    """What runs a model.

    Attributes:
        size: Side of the pictures that it takes, in pixels.
        output_length: How many numbers it answers.
    """

    size: int
    output_length: int

    def answer(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """What it answers, float32[K], to a picture uint8[S, S, 3]; and the features float32[D] where it gives any."""


def open_model(
    where: str,
    aspect: images.Aspect | None = None,
    labels: Path | None = None,
    input_mean: float | None = None,
    input_std: float | None = None,
) -> Predictor:
    """Opens a model, whatever its format.

    Args:
        where: An exported folder; a `.tflite` or `.onnx` file or a SavedModel's folder, exported or made by others;
            or `mlflow:models/NAME@alias` or `mlflow:models/NAME/VERSION`.
        aspect: How pictures become square; as the model was trained where it is None. Where nobody says, a picture is
            squashed, or cropped when one side is more than `SQUASHED_UP_TO` times the other.
        labels: File with the labels of a model that others made, one a line, where the model does not hold them.
        input_mean: What is subtracted from the pixels (0 to 255) for a model that others made and that takes floating
            point numbers; what its metadata say, or else 0, where it is None.
        input_std: What they are then divided by; what its metadata say, or else 255, where it is None.

    Raises:
        ModelError: There is no such model, or it cannot be used.
    """
    path = _fetched(where)
    found = _exported(path)
    if found is None:
        listed = None if labels is None else _listed(labels)
        return _Foreign(path, Metadata(listed, input_mean, input_std), aspect)
    if (labels, input_mean, input_std) != (None, None, None):
        raise ModelError(
            f"{path} says itself what its labels are and what it takes",
            "labels, mean and standard deviation are for models without a model.json",
        )
    folder, name = found
    model = _RUN_BY.get(name, Predictor)(folder, name)
    model.aspect = aspect or model.aspect
    return model


def _fetched(where: str) -> Path:
    """Where a model stands, fetched from MLflow's store if it is there."""
    for prefix in _REGISTERED:
        if where.startswith(prefix):
            from imageloom import mlflow_store

            return mlflow_store.exported_folder(where.removeprefix(prefix), Path.cwd())
    return Path(where)


def _exported(path: Path) -> tuple[Path, str] | None:
    """The folder and the format of a model that `export` wrote; None for one that others made."""
    if path.suffix.lower() not in (*_NETWORKS, _SKOPS) and not (path / "saved_model.pb").is_file():
        if path.is_file():
            raise ModelError(
                f"{path} is no model", "name a folder that `export` wrote, a .tflite, a .onnx or a SavedModel"
            )
        return path, card.read(path).usual_format
    resolved = path.resolve()
    if card.is_ours(resolved.parent):
        formats = card.read(resolved.parent).content["formats"]
        for name, entry in formats.items():
            if entry["file"] == resolved.name:
                return path.parent if path.name == resolved.name else resolved.parent, name
    if path.suffix.lower() == _SKOPS:
        raise ModelError(f"{path} alone does not say what it takes", "name the folder that `export` wrote it to")
    return None


_NUMPY_OF: dict[str, np.dtype] = {"tensor(uint8)": np.dtype(np.uint8), "tensor(float16)": np.dtype(np.float16)}


class _Scale:
    """Pixels uint8 as a network takes them: as they are, or as floating point numbers (pixel - mean) / std."""

    def __init__(self, dtype: np.dtype, mean: float, std: float) -> None:
        self._dtype, self._mean, self._std = dtype, np.float32(mean), np.float32(std)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if self._dtype == np.uint8:
            return image
        return ((image.astype(np.float32) - self._mean) / self._std).astype(self._dtype)


class _SavedModel:
    """A SavedModel, run by TensorFlow through `serving_default`, or `features` where that gives the answer as well."""

    def __init__(self, folder: Path, mean: float = COMMON_MEAN, std: float = COMMON_STD) -> None:
        from imageloom import graphs

        try:
            self._tf = graphs.tensorflow()
            self._module = self._tf.saved_model.load(str(folder))  # which its signatures do not keep alive
            signatures = self._module.signatures
            inner = "features" in signatures and "probabilities" in signatures["features"].structured_outputs
            self._has_features = inner
            self._classify = signatures["features" if inner else "serving_default"]
            (self._name, given), *others = self._classify.structured_input_signature[1].items()
            shape, self._dtype = tuple(given.shape.as_list()), given.dtype.as_numpy_dtype
            outputs = self._classify.structured_outputs
        except ModelError:
            raise
        except Exception as fault:  # what TensorFlow raises for a folder that is none, or damaged, is not one kind
            raise _unusable(folder, "SavedModel", fault) from None
        self._output = "probabilities" if "probabilities" in outputs else sorted(outputs)[0]
        if others or len(shape) != 4 or shape[1] is None or shape[1] != shape[2] or shape[3] != 3:
            raise _wrong_input(folder, shape)
        self._scale = _Scale(np.dtype(self._dtype), mean, std)
        self.size, self.output_length = shape[1], int(outputs[self._output].shape[-1] or 0)

    def answer(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Network`."""
        answer = self._classify(**{self._name: self._tf.constant(self._scale(image)[np.newaxis])})
        return answer[self._output].numpy()[0], answer["features"].numpy()[0] if self._has_features else None


class _Onnx:
    """An ONNX model, run by onnxruntime."""

    def __init__(self, path: Path, mean: float = COMMON_MEAN, std: float = COMMON_STD) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ModelError(
                f"onnxruntime, which runs {path.name}, is not installed", "uv pip install onnxruntime"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as fault:  # onnxruntime has a class of fault for each of its codes, without a common one
            raise _unusable(path, "ONNX model", fault) from None
        given, *others = self._session.get_inputs()
        shape = tuple(given.shape)
        self._channels_first = len(shape) == 4 and shape[1] == 3
        side = shape[2:] if self._channels_first else shape[1:3]
        if (
            others
            or len(shape) != 4
            or 3 not in (shape[1], shape[3])
            or not isinstance(side[0], int)
            or len({*side}) > 1
        ):
            raise _wrong_input(path, shape)
        outputs = {output.name: output for output in self._session.get_outputs()}
        answer = "probabilities" if "probabilities" in outputs else next(iter(outputs))
        self._wanted = [answer, "features"] if "features" in outputs else [answer]
        self._name, self._scale = given.name, _Scale(_NUMPY_OF.get(given.type, np.dtype(np.float32)), mean, std)
        self.size, self.output_length = side[0], int(outputs[answer].shape[-1])

    def answer(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Network`."""
        scaled = self._scale(image)
        batch = (scaled.transpose(2, 0, 1) if self._channels_first else scaled)[np.newaxis]
        vector, *features = self._session.run(self._wanted, {self._name: batch})
        return vector[0], features[0][0] if features else None


class _TFLite:
    """A TFLite model without a model.json."""

    def __init__(self, path: Path, mean: float = COMMON_MEAN, std: float = COMMON_STD) -> None:
        self._engine = Engine(path, mean=mean, std=std)
        self.size, self.output_length = self._engine.size, self._engine.output_length

    def answer(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Network`."""
        return self._engine(image), None


class _Exported(Predictor):
    """An exported model in a format that LiteRT does not run."""

    network: type[_SavedModel] | type[_Onnx]

    def open_model(self, path: Path, entry: dict[str, Any]) -> None:
        """See `Predictor`."""
        self._network = self.network(path)
        if (self._network.size, self._network.output_length) != (self.size, len(self.labels)):
            raise ModelError(
                f"{path} takes pictures of side {self._network.size} and has {self._network.output_length} outputs; "
                f"{card.CARD_FILE} says {self.size} and {len(self.labels)}",
                card.EXPORT_AGAIN,
            )

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Predictor`."""
        return self._network.answer(image)

    def run_with_map(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Predictor`; these formats give no map."""
        return self.run(image)[0], None


class _ExportedSavedModel(_Exported):
    network = _SavedModel


class _ExportedOnnx(_Exported):
    network = _Onnx


_RUN_BY: dict[str, type[Predictor]] = {
    "saved_model": _ExportedSavedModel,
    "onnx": _ExportedOnnx,
    "skops": EstimatorPredictor,
}


class _Foreign(Predictor):
    """A classifier that others made: it cannot say what it knows, and its heat maps come from covering parts.

    Args:
        path: The file, or the SavedModel's folder.
        given: What the user says of it, which goes before what it says itself.
        aspect: How pictures become square; None where each picture's own shape decides.
    """

    def __init__(self, path: Path, given: Metadata, aspect: images.Aspect | None) -> None:
        told = replace(_told(path), **{name: value for name, value in vars(given).items() if value is not None})
        mean, std = told.mean or COMMON_MEAN, COMMON_STD if told.std is None else told.std
        if not np.isfinite([mean, std]).all() or std == 0:
            raise ModelError(
                f"pixels cannot become (pixel - {mean:g}) / {std:g}", "name what the model was trained with"
            )
        self._network: Network = _NETWORKS.get(path.suffix.lower(), _SavedModel)(path, mean, std)
        if told.labels is None:
            raise ModelError(
                f"{path} does not hold its labels", "`imageloom predict --labels FILE` takes them, one a line"
            )
        if len(told.labels) != self._network.output_length:
            raise ModelError(
                f"{path} has {self._network.output_length} outputs, and there are {len(told.labels)} labels",
                "`imageloom predict --labels FILE` takes the file of labels that was made with the model",
            )
        self.size, self.names, self.labels = self._network.size, told.labels, told.labels
        self.version = _version(path)
        self.aspect, self._squashes = aspect or "stretch", aspect is None

    def trained_on(self) -> TrainedOn | None:
        """See `Predictor`; nobody says."""
        return None

    def load(self, data: bytes) -> np.ndarray:
        """See `Predictor`."""
        cropped = self._squashes and images.proportion(data) > SQUASHED_UP_TO
        return images.load(data, self.size, "crop" if cropped else self.aspect)

    def run(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Predictor`; logits become probabilities, and what lies between 0 and 1 stays as it is.

        Raises:
            ModelError: An output is infinite or no number.
        """
        values = np.asarray(self._network.answer(image)[0], np.float32).reshape(-1)
        if not np.isfinite(values).all():
            raise ModelError(
                "the model's outputs are infinite or no numbers", "name the mean and deviation that it was trained with"
            )
        if values.min() < 0 or values.max() > 1 + 1e-3:
            values = np.exp(values - values.max())
            values /= values.sum()
        return values, None

    def predict_pixels(self, image: np.ndarray) -> Prediction:
        """See `Predictor`."""
        probabilities, _ = self.run(image)
        best = int(probabilities.argmax())
        return Prediction(self.labels[best], self.names[best], probabilities, None, float("nan"), self)

    def heatmap(self, image: np.ndarray, class_index: int | None = None) -> np.ndarray:
        """See `Predictor`."""
        index = int(self.run(image)[0].argmax()) if class_index is None else class_index
        return heatmap.occlusion(lambda pixels: self.run(pixels)[0], image, index)


_NETWORKS: dict[str, type[_TFLite] | type[_Onnx]] = {".tflite": _TFLite, ".onnx": _Onnx}


def _told(path: Path) -> Metadata:
    """What a model says of itself."""
    if path.suffix.lower() == ".tflite":
        return tflite_metadata.read(_content(path))
    inside = path / "assets" / card.LABELS_FILE
    return Metadata(_listed(inside)) if inside.is_file() else Metadata()


def _listed(path: Path) -> tuple[str, ...]:
    """The labels in a file that has one on each line."""
    try:
        return tflite_metadata.lines(_content(path))
    except UnicodeDecodeError:
        raise ModelError(f"{path} is not UTF-8 text", "save it as UTF-8, one label a line") from None


def _version(path: Path) -> str:
    """12 digits of the SHA-256 of the model's file."""
    return hashlib.sha256(_content(path / "saved_model.pb" if path.is_dir() else path)).hexdigest()[:12]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise ModelError(f"cannot read {path}: {fault.strerror}", "check its name") from None


def _unusable(path: Path, kind: str, fault: Exception) -> ModelError:
    reason = (str(fault).strip() or type(fault).__name__).splitlines()[0]
    return ModelError(f"{path} is no usable {kind}: {reason[:200]}", "get or export it again")


def _wrong_input(path: Path, shape: tuple[Any, ...]) -> ModelError:
    sides = ", ".join("any" if side is None else str(side) for side in shape)
    return ModelError(
        f"{path} takes an input of shape [{sides}]; one picture [N, S, S, 3] of a fixed side is needed",
        "choose a model that classifies pictures",
    )
