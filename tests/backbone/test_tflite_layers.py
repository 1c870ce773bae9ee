"""The graph that is written without TensorFlow answers as the network that Keras makes of the same weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn
from projects import Project

from imageloom import files, graphs, images, params
from imageloom.backbone import efficientnet_lite, mobilenet_v2, stage
from imageloom.engine import Engine
from imageloom.errors import ModelError
from imageloom.tflite_editor import Graph
from imageloom.tflite_graph import TFLiteGraph

CHINA = Path(sklearn.__file__).parent / "datasets/images/china.jpg"
NETWORKS = {"mobilenet_v2_100_224": mobilenet_v2.NETWORK, "efficientnet_lite0_224": efficientnet_lite.NETWORK}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network(request):
    return request.param


# 75: sides are odd where they are halved.
@pytest.mark.parametrize(("size", "gives"), [(96, "multi"), (128, "pyramid"), (75, "last"), (96, "names")])
def test_it_answers_as_the_keras_model(network, size, gives, tmp_path):
    (tmp_path / "graph.tflite").write_bytes(network.tflite(size, gives))
    picture = images.load(CHINA.read_bytes(), size, "crop")
    expected = network.keras_model(size, gives)(picture[np.newaxis] / np.float32(255)).numpy()[0]
    answer = Engine(tmp_path / "graph.tflite")(picture)
    assert answer.shape == expected.shape
    assert np.abs(answer - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("gives", ["multi", "pyramid"])
def test_every_tensor_has_a_name_of_its_own_and_the_same_network_the_same_bytes(network, gives):
    content = network.tflite(64, gives)
    assert network.tflite(64, gives) == content
    graph = Graph(content)
    tensors = {index for one in graph.operators for index in (*one.inputs, *one.outputs)}
    assert len({graph.tensor_name(index) for index in tensors}) == len(tensors) > 100


@pytest.mark.parametrize(("size", "gives", "places"), [(96, "multi", 3), (192, "pyramid", 3)])
def test_its_one_map_is_what_is_pooled(network, size, gives, places):
    graph = TFLiteGraph(network.tflite(size, gives), "graph")
    [features] = graph.outputs
    pooled = graph.pooled_map(features)
    assert pooled is not None
    assert graph.shape(pooled) == [1, places, places, graph.shape(features)[-1]]


def test_a_pyramid_is_multi_of_the_halved_picture_and_of_the_picture_by_the_same_weights(network):
    picture = images.load(CHINA.read_bytes(), 128, "crop")[np.newaxis] / np.float32(255)
    halved = picture.reshape(1, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    model = network.keras_model(128, "pyramid")
    expected = [network.keras_model(one.shape[1], "multi")(one).numpy() for one in (halved, picture)]
    lengths = [one.shape[1] for one in expected]
    answer = model(picture).numpy()
    assert answer.shape == (1, sum(lengths))
    assert answer == pytest.approx(np.concatenate(expected, axis=1), abs=1e-4)
    assert model.count_params() == network.keras_model(128, "multi").count_params()
    assert len(network.tflite(128, "pyramid")) < 1.02 * len(network.tflite(128, "multi"))


def test_a_size_whose_layers_do_not_fit_is_refused(network):
    for size, gives, step in ((240, "multi", 32), (224, "pyramid", 64)):
        with pytest.raises(ModelError, match=f"{size} x {size} do not divide") as fault:
            network.tflite(size, gives)
        assert f"multiple of {step}" in fault.value.hint


@pytest.mark.parametrize("module", NETWORKS)
def test_the_graph_alone_takes_no_tensorflow_and_is_what_the_stage_writes(module, tmp_path):
    project = Project(tmp_path, backbone={"module": module, "image_size": 64})
    program = """
import sys
from pathlib import Path
from imageloom import params
from imageloom.backbone import stage
from imageloom.files import Paths

paths = Paths(Path(sys.argv[1]))
stage.write_graph(params.load("backbone", stage.Params, paths.params), paths)
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    folder = project.paths.backbone
    assert {path.name for path in folder.iterdir()} == {"backbone.tflite", "backbone.json"}
    alone = {path.name: path.read_bytes() for path in folder.iterdir()}
    project.run("backbone")
    assert {name: (folder / name).read_bytes() for name in alone} == alone
    assert (folder / "saved_model" / "saved_model.pb").exists()
    assert files.read_json(folder / "backbone.json", "backbone")["licence"] == NETWORKS[module].package.licence


def test_a_graph_that_does_not_answer_as_the_network_is_refused(tmp_path, monkeypatch):
    project = Project(tmp_path, backbone={"image_size": 64})
    habits = mobilenet_v2.NETWORK.habits
    right = type(mobilenet_v2.NETWORK).tflite

    def wrong(network, size, gives):
        object.__setattr__(network, "habits", habits._replace(epsilon=1e-3))
        try:
            return right(network, size, gives)
        finally:
            object.__setattr__(network, "habits", habits)

    monkeypatch.setattr(type(mobilenet_v2.NETWORK), "tflite", wrong)
    with pytest.raises(ModelError, match="the TFLite graph differs from the SavedModel by"):
        project.run("backbone")
    assert not project.paths.backbone.exists()


def test_what_is_loaded_without_a_saved_model_is_what_the_stage_saves(tmp_path):
    project = Project(tmp_path, backbone={"image_size": 64})
    asked = params.load("backbone", stage.Params, project.paths.params)
    picture = images.load(CHINA.read_bytes(), 64, "crop")[np.newaxis] / np.float32(255)
    before = graphs.feature_vectors(stage.load(asked, project.paths), picture).numpy()
    project.run("backbone")
    saved = graphs.tensorflow().saved_model.load(str(project.paths.backbone / "saved_model"))
    assert np.array_equal(before, graphs.feature_vectors(saved, picture).numpy())


@pytest.mark.parametrize(
    ("section", "size", "features"),
    [({}, 224, 2192), ({"features": "last"}, 224, 1280), ({"features": "pyramid"}, 320, 4384)],
)
def test_the_size_of_the_pictures_fits_the_features(tmp_path, section, size, features):
    project = Project(tmp_path, backbone=section)
    stage.write_graph(params.load("backbone", stage.Params, project.paths.params), project.paths)
    told = files.read_json(project.paths.backbone / "backbone.json", "backbone")
    assert (told["image_size"], told["features"]) == (size, features)
