"""Shared fixtures."""

import hashlib
import importlib.metadata
import json
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from once import made_once, run_python

import imageloom
from imageloom import arrays, files
from imageloom.ood import Detector
from imageloom.tflite_graph import TFLiteGraph
from imageloom.trained_on import TrainedOn

SLOWEST = "test_schedule.py"


def pytest_configure() -> None:
    """Lets Ctrl-C reach the processes that tests start, where the tests themselves were started to ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with slow tests first, and the slowest before all: no process is to end long after the other.

    While the slowest makes the demo, others have work that does not wait for it.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    demo = {item.path for item in items if "demo" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path.name != SLOWEST, item.path not in slow, item.path in demo))


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


def _write_export(
    folder: Path, tflite: bytes, classes: Sequence[tuple[str, str]], trained_on: Sequence[str] = ()
) -> Path:
    """Writes an exported model as the stage `export` does; `classes` are pairs of name and label.

    It knows colours as bright and pure as a traffic light's; grey and yellow are far from them.
    """
    folder.mkdir(parents=True)
    graph = TFLiteGraph(tflite)
    features = graph.features()
    (folder / "model.tflite").write_bytes(tflite)
    (folder / "labels.txt").write_bytes("".join(f"{label}\n" for _, label in classes).encode())
    arrays.save(folder / "head.npz", kernel=6 * np.eye(3, dtype=np.float32), bias=np.zeros(3, np.float32))
    colours = np.abs(np.repeat(np.eye(3), 40, axis=0) + np.random.default_rng(0).normal(0, 0.05, (120, 3)))
    Detector.fit(colours.astype(np.float32)).save(folder / "ood.npz")
    TrainedOn.of(trained_on).save(folder / "trained_on.npz")
    digests = {path.name: files.sha256(path) for path in sorted(folder.iterdir())}
    card = {
        "format": 2,
        "version": digests["model.tflite"][:12],
        "recipe": "probe",
        "classes": [{"name": name, "label": label} for name, label in classes],
        "input": {"size": 32, "aspect": "crop"},
        "temperature": 1.0,
        "formats": {
            "float32": {
                "file": "model.tflite",
                "head": "head.npz",
                "ood": "ood.npz",
                "features": features,
                "map": graph.pooled_map(features),
                "known": {"min_confidence": 0.5, "max_distance": 3.0},
                "temperature": 1.0,
            }
        },
        "trained_on": "trained_on.npz",
        "files": digests,
        "backbone": {"module": "colours"},
    }
    (folder / "model.json").write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def colour_tflite(request: pytest.FixtureRequest) -> bytes:
    """The bytes of COLOUR_MODEL, converted in a process of its own and kept between runs: TensorFlow starts slowly."""
    key = hashlib.sha256(COLOUR_MODEL.encode()).hexdigest()[:12]
    path = Path(request.config.cache.mkdir("imageloom")) / f"colours-{key}.tflite"
    return made_once(path, partial(run_python, "-c", COLOUR_MODEL)).read_bytes()


@pytest.fixture(scope="session")
def exported_model(colour_tflite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of the classes red (labelled 红), green and blue; not to be changed."""
    return _write_export(tmp_path_factory.mktemp("exported") / "models" / "export", colour_tflite, COLOURS)


@pytest.fixture
def write_export() -> Callable[..., Path]:
    """Writes an exported model from a TFLite graph, pairs of name and label, and ids of what it was trained on."""
    return _write_export


@pytest.fixture
def export_copy(exported_model: Path, tmp_path: Path) -> Path:
    """A copy of `exported_model` that a test may damage."""
    return Path(shutil.copytree(exported_model, tmp_path / "export"))


@pytest.fixture
def export_with_labels(colour_tflite: bytes, tmp_path: Path) -> Callable[[Sequence[str]], Path]:
    """Makes an exported model whose three classes have other labels."""

    def make(labels: Sequence[str]) -> Path:
        names = [name for name, _ in COLOURS]
        return _write_export(tmp_path / "labelled", colour_tflite, list(zip(names, labels, strict=True)))

    return make


# A real backbone of 48 features: the mean colours of a picture's 4 x 4 tiles.
TILES_MODULE = """
import sys
import tensorflow as tf

class Tiles(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32)])
    def __call__(self, images):
        return tf.reshape(tf.nn.avg_pool2d(images, 8, 8, "VALID"), (-1, 48))

tf.saved_model.save(Tiles(), sys.argv[1])
"""


@pytest.fixture(scope="session")
def tiles_module(request: pytest.FixtureRequest) -> Path:
    """A TF-Hub image feature vector in a folder, made in a process of its own and kept between runs."""
    key = hashlib.sha256(TILES_MODULE.encode()).hexdigest()[:12]
    path = Path(request.config.cache.mkdir("imageloom")) / f"tiles-{key}"
    return made_once(path, partial(run_python, "-c", TILES_MODULE))


@pytest.fixture(scope="session")
def tiles_backbone(tiles_module: Path, request: pytest.FixtureRequest) -> Path:
    """models/backbone/ made from `tiles_module` by the stage, in a process of its own; kept while its code stays."""
    package = Path(imageloom.__file__).parent
    ground = ("backbone_files", "engine", "files", "graphs", "tflite_editor")
    code = [package / f"{name}.py" for name in ground] + sorted(package.glob("backbone/*.py"))
    key = hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()[:12]

    def make(root: Path) -> None:
        root.mkdir()
        section = json.dumps({"backbone": {"module": str(tiles_module), "image_size": 32}})
        (root / "params.yaml").write_text(section, encoding="utf-8")
        run_python("-m", "imageloom.cli", "backbone", "-C", root)

    root = Path(request.config.cache.mkdir("imageloom")) / f"{tiles_module.name}-backbone-{key}"
    return made_once(root, make) / "models" / "backbone"


MLFLOW_STORE = """
import sys
import mlflow
mlflow.MlflowClient(f"sqlite:///{sys.argv[1]}").search_experiments()
"""


@pytest.fixture(scope="session")
def empty_mlflow(request: pytest.FixtureRequest) -> Path:
    """MLflow's store before anything is logged, to be copied; kept between runs: making its tables takes seconds."""
    name = f"mlflow-{importlib.metadata.version('mlflow')}.db"
    return made_once(Path(request.config.cache.mkdir("imageloom")) / name, partial(run_python, "-c", MLFLOW_STORE))


class Site:
    """A web site on loopback whose answers a test writes into `routes` and changes as it likes.

    A route is bytes (an answer 200), a tuple of status, headers and body, or a function of the request's handler that
    gives one of these, or None when it wrote the answer itself. `asked` lists the paths in the order of the requests;
    robots.txt, which every client asks for first, is 404 and not listed unless it has a route.
    """

    def __init__(self) -> None:
        self.routes: dict[str, Any] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/robots.txt" and self.path not in site.routes:
                    self.send_response(404)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                site.asked.append(self.path)
                site.headers.append({name.lower(): value for name, value in self.headers.items()})
                route = site.routes.get(self.path, (404, {}, b"<html>not here</html>"))
                answer = route(self) if callable(route) else route
                if answer is None:
                    return
                status, headers, body = answer if isinstance(answer, tuple) else (200, {}, answer)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128  # of the usual 5, a busy machine drops some: each comes again after 1 s, 3 s, 7 s

            def handle_error(self, *_: object) -> None:
                """Clients that hang up are part of the tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def count(self, path: str) -> int:
        return self.asked.count(path)


@pytest.fixture
def site() -> Iterator[Site]:
    """A web site on loopback, served while the test runs."""
    site = Site()
    thread = Thread(target=site.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield site
    site.server.shutdown()
    site.server.server_close()
    thread.join()
