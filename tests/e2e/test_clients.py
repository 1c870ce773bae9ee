"""The demo's exported models, as other people's programs run them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clones import Clone
from tools import beside, python_with

from imageloom import card, images, tables
from imageloom.engine import Engine, cores, map_ordered

pytestmark = pytest.mark.slow

LEAST = 0.995  # of first answers that must be ours

# One line of JSON: for each picture the index of the first class, its probability, and its label.
MEDIAPIPE = """
import json, sys
import mediapipe, numpy
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions
options = ImageClassifierOptions(base_options=BaseOptions(model_asset_path=sys.argv[1]))
found = []
with ImageClassifier.create_from_options(options) as classifier:
    for pixels in numpy.load(sys.argv[2]):
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=numpy.ascontiguousarray(pixels))
        first = classifier.classify(picture).classifications[0].categories[0]
        found.append([first.index, first.score, first.category_name])
print(json.dumps(found))
"""

ONNXRUNTIME = """
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
pixels = numpy.load(sys.argv[2])
found = [session.run(["probabilities"], {"images": pixels[at : at + 32]})[0] for at in range(0, len(pixels), 32)]
print(json.dumps([[int(row.argmax()), float(row.max()), ""] for row in numpy.concatenate(found)]))
"""

# Label, known and probabilities of some pictures, as `imageloom predict --model` and as the server would say.
OPENED = """
import json, sys
from pathlib import Path
from imageloom.predictor import Predictor
from imageloom.runtimes import open_model
folder = Path(sys.argv[1])
for path in sys.argv[2:]:
    data = Path(path).read_bytes()
    found = [one.predict(data) for one in (open_model(str(folder / "model.onnx")), Predictor(folder))]
    print(json.dumps([[one.label, one.known, [float(share) for share in one.probabilities]] for one in found]))
"""

TENSORFLOW = """
import json, sys
import numpy, tensorflow
model = tensorflow.saved_model.load(sys.argv[1])
pixels = numpy.load(sys.argv[2])
found = [model.signatures["serving_default"](images=pixels[at : at + 32]) for at in range(0, len(pixels), 32)]
rows = numpy.concatenate([part["probabilities"].numpy() for part in found])
print(json.dumps([[int(row.argmax()), float(row.max()), ""] for row in rows]))
"""


class Examined:
    """The demo's test pictures as arrays, and our own answers."""

    def __init__(self, demo: Clone, folder: Path) -> None:
        self.export = demo.root / "models" / "export"
        self.card = card.read(self.export)
        split = tables.read(demo.root / "data/split/split.parquet", tables.SPLIT, "split").to_pylist()
        rows = [row for row in split if row["side"] == "test"]
        read = [(demo.root / "data/raw" / row["path"]).read_bytes() for row in rows]
        self.pixels = np.stack([images.load(data, self.card.size, self.card.aspect) for data in read])
        self.classes = np.array([self.card.names.index(row["class"]) for row in rows])
        self._ours: dict[str, np.ndarray] = {}
        self.path = folder / "pixels.npy"
        np.save(self.path, self.pixels)

    def ours(self, name: str) -> np.ndarray:
        """float32[N, K]."""
        if name not in self._ours:
            engine = Engine(self.export / self.card.content["formats"][name]["file"])
            self._ours[name] = np.stack(list(map_ordered(engine, self.pixels, cores())))
        return self._ours[name]

    def theirs(self, python: Path | str, program: str, model: Path, **env: str) -> list[list]:
        """What another program says."""
        surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | env
        command = [str(python), "-c", program, str(model), str(self.path)]
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def tested(demo, tmp_path_factory) -> Examined:
    return Examined(demo, tmp_path_factory.mktemp("clients"))


def agreement(theirs: list[list], ours: np.ndarray) -> float:
    assert len(theirs) == len(ours)
    return float(np.mean([index == row.argmax() for (index, _, _), row in zip(theirs, ours, strict=True)]))


@pytest.mark.parametrize("name", ["float32", "float16", "int8"])
def test_mediapipe_opens_the_files_and_answers_the_same(tested, name):
    python = python_with("mediapipe", "mediapipe==1.2.2")
    theirs = tested.theirs(python, MEDIAPIPE, tested.export / tested.card.content["formats"][name]["file"])
    ours = tested.ours(name)
    assert agreement(theirs, ours) >= LEAST
    assert [score for _, score, _ in theirs] == pytest.approx(ours.max(axis=1), abs=1e-3)
    assert {label for _, _, label in theirs} <= set(tested.card.labels)
    assert all(label == tested.card.labels[index] for index, _, label in theirs)


def test_another_model_would_not_pass_for_the_same(tested):
    assert agreement([[1 - int(row.argmax()), 0, ""] for row in tested.ours("float32")], tested.ours("float32")) < LEAST


def test_tensorflow_alone_answers_the_same(tested):
    theirs = tested.theirs(sys.executable, TENSORFLOW, tested.export / "saved_model", TF_CPP_MIN_LOG_LEVEL="3")
    ours = tested.ours("float32")
    assert agreement(theirs, ours) >= LEAST
    assert [score for _, score, _ in theirs] == pytest.approx(ours.max(axis=1), abs=1e-3)


def test_onnxruntime_answers_the_same(tested, demo, tmp_path):
    packages = beside("onnx", "tf2onnx==1.17.0", "onnx==1.23.2", "onnxruntime==1.31.1")
    clone = demo.copy(tmp_path / "clone")
    clone.configure(export={"formats": ["onnx"]})
    path = os.pathsep.join([clone.env["PYTHONPATH"], str(packages)])
    said = clone.run("imageloom", "export", env={"PYTHONPATH": path})
    assert "export: ONNX" in said
    model = clone.root / "models" / "export" / "model.onnx"
    theirs = tested.theirs(sys.executable, ONNXRUNTIME, model, PYTHONPATH=str(packages))
    assert agreement(theirs, tested.ours("float32")) >= LEAST
    pictures = [str(path) for path in sorted((clone.root / "data/raw/defective").iterdir())[:4]]
    opened = clone.run(sys.executable, "-c", OPENED, str(model.parent), *pictures, env={"PYTHONPATH": path})
    for (label, known, shares), (our_label, our_known, our_shares) in map(json.loads, opened.splitlines()[-4:]):
        assert (label, known) == (our_label, our_known)
        assert shares == pytest.approx(our_shares, abs=1e-3)
    once = model.read_bytes()
    clone.run("imageloom", "export", env={"PYTHONPATH": path})
    assert model.read_bytes() == once


def test_int8_is_as_right_and_a_third_as_large(tested):
    right = {name: (tested.ours(name).argmax(axis=1) == tested.classes).mean() for name in ("float32", "int8")}
    assert right["int8"] >= right["float32"] - 0.01
    formats = tested.card.content["formats"]
    assert formats["int8"]["bytes"] <= formats["float32"]["bytes"] / 3
    assert formats["float16"]["bytes"] <= formats["float32"]["bytes"] * 0.55


def test_the_table_of_formats_is_kept_by_dvc(demo):
    rows = (demo.root / "reports" / "export.csv").read_text().splitlines()
    assert rows[0] == "format,file,bytes,pictures,accuracy,agreement,known_agreement,known,feature_error"
    assert [row.split(",")[0] for row in rows[1:]] == ["float32", "float16", "int8", "saved_model"]
    assert "export: reports/export.csv" in demo.outs()
