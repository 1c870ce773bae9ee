import http.server
import json
import threading

import numpy as np
import pytest
from projects import Project

from imageloom import graphs
from imageloom.backbone import keras_applications
from imageloom.engine import Engine
from imageloom.errors import ModelError
from imageloom.tflite_graph import TFLiteGraph

PICTURES = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)


def expected(network, name: str, module: str) -> np.ndarray:
    """What Keras' own way gives: pixels in [0, 255] through the family's function, then the network."""
    keras = graphs.keras()
    prepared = getattr(keras.applications, module).preprocess_input(255 * PICTURES)  # of NumPy, another path
    inner = next(layer for layer in network.layers if layer.name not in ("inputs", name) and hasattr(layer, "layers"))
    return inner(prepared).numpy()


@pytest.mark.parametrize(
    ("name", "module", "length"),
    [
        ("VGG16", "vgg16", 512),  # BGR, less a mean
        ("MobileNet", "mobilenet", 1024),  # [-1, 1]
        ("MobileNetV3Small", "mobilenet_v3", 576),  # in the network
    ],
)
def test_pixels_are_brought_to_what_each_family_was_trained_on(name, module, length):
    network = keras_applications.build(name, 64, "none")
    found = network(PICTURES).numpy()
    assert found.shape == (2, length)
    assert found.std() > 0
    assert np.allclose(found, expected(network, name, module), rtol=1e-3, atol=1e-5 * np.abs(found).max())
    assert not np.allclose(network(PICTURES[..., ::-1]).numpy(), found, rtol=1e-3, atol=0)


def test_random_weights_are_the_same_every_time():
    once, again = (keras_applications.build("MobileNet", 32, "none").get_weights() for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.parametrize(
    ("name", "size", "message", "hint"),
    [
        ("resnet50", 64, "no network keras:resnet50", "ResNet50"),
        ("Сеть", 64, "no network keras:Сеть", "VGG16"),
        ("InceptionV3", 64, "does not take pictures of 64 x 64.*75x75", "made for 299"),
    ],
)
def test_a_name_or_a_size_that_does_not_fit_is_told(name, size, message, hint):
    with pytest.raises(ModelError, match=message) as fault:
        keras_applications.build(name, size, "none")
    assert hint in fault.value.hint


@pytest.mark.parametrize("ending", ["weights.h5", "h5"])
def test_weights_come_from_a_file_that_keras_wrote(ending, tmp_path):
    trained = keras_applications.build("MobileNet", 32, "none").layers[-1]
    moved = [values + 1 for values in trained.get_weights()]
    trained.set_weights(moved)
    path = tmp_path / f"权重 mobilenet.{ending}"
    trained.save_weights(path)
    found = keras_applications.build("MobileNet", 32, path).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(found, moved, strict=True))


def test_a_file_of_other_weights_is_refused(tmp_path):
    keras = graphs.keras()
    other, text, missing = tmp_path / "other.h5", tmp_path / "text.h5", tmp_path / "missing.h5"
    with_top = tmp_path / "top.weights.h5"
    keras.applications.MobileNetV3Small(weights=None, include_top=False, input_shape=(32, 32, 3)).save_weights(other)
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(with_top)
    text.write_text("no weights")
    for path in (other, text, with_top):
        with pytest.raises(ModelError, match=f"{path.name}' do not fit") as fault:
            keras_applications.build("MobileNet", 32, path)
        assert "include_top=False" in fault.value.hint
    with pytest.raises(ModelError, match="no file of weights"):
        keras_applications.build("MobileNet", 32, missing)


@pytest.fixture
def weights_site(tmp_path, monkeypatch):
    """A server in the place of Keras' own, of files in a folder, and a home without Keras' cache."""
    files, asked = tmp_path / "site", []
    files.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(files))

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    graphs.keras()
    from tf_keras.src.applications import mobilenet

    monkeypatch.setattr(mobilenet, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home/.keras").mkdir(parents=True)  # Keras takes a shared folder where there is none
    yield files, asked
    server.shutdown()
    server.server_close()


def test_imagenet_s_weights_are_downloaded_once(weights_site, capfd):
    files, asked = weights_site
    network = keras_applications.build("MobileNet", 224, "none").layers[-1]
    moved = [values + 1 for values in network.get_weights()]
    network.set_weights(moved)
    network.save_weights(files / "mobilenet_1_0_224_tf_no_top.h5")
    for _ in range(2):
        found = keras_applications.build("MobileNet", 224, "imagenet").get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(found, moved, strict=True))
    assert asked == ["/mobilenet_1_0_224_tf_no_top.h5"]
    assert "Downloading" not in capfd.readouterr().out


def test_weights_that_cannot_be_downloaded_are_told(weights_site):
    with pytest.raises(ModelError, match=r"weights of keras:MobileNet: .* 404") as fault:
        keras_applications.build("MobileNet", 224, "imagenet")
    assert "backbone.weights" in fault.value.hint


def test_the_stage_makes_a_backbone_of_it(tmp_path, capsys):
    section = {"module": "keras:MobileNetV3Small", "weights": "none", "image_size": 64}
    project = Project(tmp_path, backbone=section)
    project.run("backbone")
    assert "random" in capsys.readouterr().out
    about = json.loads((project.paths.backbone / "backbone.json").read_text())
    assert about["weights"] == "none"
    assert (about["image_size"], about["features"], about["layers"]) == (64, 576, "last")
    path = project.paths.backbone / "backbone.tflite"
    pixels = (255 * PICTURES[0]).astype(np.uint8)
    wanted = keras_applications.build("MobileNetV3Small", 64, "none")(pixels[np.newaxis] / np.float32(255)).numpy()[0]
    assert np.abs(Engine(path)(pixels) - wanted).max() < 1e-3 * wanted.max()
    graph = TFLiteGraph(path.read_bytes())
    assert graph.shape(graph.pooled_map()) == [1, 2, 2, 576]  # so heat maps are exact


def test_only_networks_of_keras_take_weights(tmp_path):
    project = Project(tmp_path, backbone={"module": "mobilenet_v2_100_224", "weights": "none"})
    with pytest.raises(ModelError, match="brings its own weights"):
        project.run("backbone")
