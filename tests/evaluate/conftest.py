"""Projects in which the stage `evaluate` can be run, with a real backbone."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from answers import write
from once import made_once, run_python
from projects import Project

# A real backbone with a map: a picture's mean red, green and blue, and the picture itself as the map they are means of.
MEANS_MODEL = """
import sys
import tensorflow as tf

@tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.uint8)])
def means(image):
    return tf.reduce_mean(tf.cast(image, tf.float32) / 255, axis=[1, 2])

converter = tf.lite.TFLiteConverter.from_concrete_functions([means.get_concrete_function()])
open(sys.argv[1], "wb").write(converter.convert())
"""


@pytest.fixture(scope="session")
def means_tflite(request: pytest.FixtureRequest) -> bytes:
    """The bytes of MEANS_MODEL, converted in a process of its own and kept between runs."""
    key = hashlib.sha256(MEANS_MODEL.encode()).hexdigest()[:12]
    path = Path(request.config.cache.mkdir("imageloom")) / f"means-{key}.tflite"
    return made_once(path, partial(run_python, "-c", MEANS_MODEL)).read_bytes()


@pytest.fixture
def put(means_tflite: bytes) -> Callable[..., list[str]]:
    """Writes all that the stage reads; what is given replaces parts of classifier.json. Returns the test ids."""
    return lambda project, **about: write(project, means_tflite, **about)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, evaluate={"bootstrap": 100, "worst": 6, "title": "Ant, bee or cow?"})
