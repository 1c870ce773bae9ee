"""Shared fixtures."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

# A real model that names the colour of a picture: its mean red, green and blue -> a dense layer -> softmax.
COLOUR_MODEL = """
import sys
import tensorflow as tf

@tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.uint8)])
def colours(image):
    mean = tf.reduce_mean(tf.cast(image, tf.float32) / 255, axis=[1, 2])
    return tf.nn.softmax(tf.matmul(mean, 6 * tf.eye(3)))

converter = tf.lite.TFLiteConverter.from_concrete_functions([colours.get_concrete_function()])
open(sys.argv[1], "wb").write(converter.convert())
"""

COLOURS = (("red", "红"), ("green", "green"), ("blue", "blue"))


def write_export(folder: Path, tflite: bytes, classes: Sequence[tuple[str, str]]) -> Path:
    """Writes an exported model as the stage `export` does; `classes` are pairs of name and label."""
    folder.mkdir(parents=True)
    labels = "".join(f"{label}\n" for _, label in classes).encode()
    (folder / "model.tflite").write_bytes(tflite)
    (folder / "labels.txt").write_bytes(labels)
    digest = hashlib.sha256(tflite).hexdigest()
    card = {
        "format": 1,
        "version": digest[:12],
        "classes": [{"name": name, "label": label} for name, label in classes],
        "input": {"size": 32, "aspect": "crop"},
        "files": {"model.tflite": digest, "labels.txt": hashlib.sha256(labels).hexdigest()},
        "recipe": "probe",
        "backbone": {"module": "colours"},
    }
    (folder / "model.json").write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def colour_tflite(request: pytest.FixtureRequest) -> bytes:
    """The bytes of COLOUR_MODEL, converted in a process of its own and kept between runs: TensorFlow starts slowly."""
    key = hashlib.sha256(COLOUR_MODEL.encode()).hexdigest()[:12]
    path = Path(request.config.cache.mkdir("imageloom")) / f"colours-{key}.tflite"
    if not path.exists():
        temporary = path.with_suffix(".tmp")
        subprocess.run([sys.executable, "-c", COLOUR_MODEL, str(temporary)], check=True, capture_output=True)
        temporary.replace(path)
    return path.read_bytes()


@pytest.fixture(scope="session")
def exported_model(colour_tflite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of the classes red (labelled 红), green and blue; not to be changed."""
    return write_export(tmp_path_factory.mktemp("exported") / "models" / "export", colour_tflite, COLOURS)


@pytest.fixture
def export_copy(exported_model: Path, tmp_path: Path) -> Path:
    """A copy of `exported_model` that a test may damage."""
    return Path(shutil.copytree(exported_model, tmp_path / "export"))


@pytest.fixture
def export_with_labels(colour_tflite: bytes, tmp_path: Path) -> Callable[[Sequence[str]], Path]:
    """Makes an exported model whose three classes have other labels."""

    def make(labels: Sequence[str]) -> Path:
        names = [name for name, _ in COLOURS]
        return write_export(tmp_path / "labelled", colour_tflite, list(zip(names, labels, strict=True)))

    return make
