from importlib import metadata
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import sklearn

from imageloom import graphs, images
from imageloom.backbone import efficientnet_lite
from imageloom.backbone.checkpoint import read_state_dict
from imageloom.errors import ModelError

# Numbers of ImageNet's classes in their usual order, and pictures of such things that other packages bring.
PALACE, MILITARY_UNIFORM, EGYPTIAN_CAT, ESPRESSO = 698, 652, 285, 967
CHINA = Path(sklearn.__file__).parent / "datasets/images/china.jpg"
HOPPER = Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"


def sample(name: str) -> Path:
    """One of scikit-image's photographs."""
    return next(Path(str(file.locate())) for file in metadata.files("scikit-image") or [] if file.name == name)


def look(path: Path, size: int = 224) -> np.ndarray:
    return images.load(path.read_bytes(), size, "crop")[np.newaxis] / np.float32(255)


@pytest.fixture(scope="module")
def weights():
    return efficientnet_lite.NETWORK.package.find()


@pytest.fixture(scope="module")
def classifier():
    return efficientnet_lite.NETWORK.keras_model(224, "names")


@pytest.fixture(scope="module")
def pictures():
    found = {CHINA: PALACE, HOPPER: MILITARY_UNIFORM}
    found |= {sample("chelsea.png"): EGYPTIAN_CAT, sample("coffee.png"): ESPRESSO}
    return np.concatenate([look(path) for path in found]), list(found.values())


def test_it_names_well_known_pictures(classifier, pictures):
    pixels, names = pictures
    assert classifier(pixels).numpy().argmax(axis=1).tolist() == names


class Reference:
    """The network in NumPy, by the names and layouts of the checkpoint; nothing of the module's own code."""

    def __init__(self, weights: Path) -> None:
        self.state = read_state_dict(weights)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Logits float64[1000] of float32[S, S, 3] in [0, 1]."""
        maps = (255 * pixels.astype(np.float64).transpose(2, 0, 1) - 127) / 128
        maps = self.relu6(self.norm(self.convolved(maps, "_conv_stem", 2), "_bn0"))
        for number in range(16):
            maps = self.block(maps, f"_blocks.{number}", 2 if number in (1, 3, 5, 11) else 1)
        maps = self.relu6(self.norm(self.convolved(maps, "_conv_head", 1), "_bn1"))
        return self.state["_fc.weight"] @ maps.mean(axis=(1, 2)) + self.state["_fc.bias"]

    def block(self, maps: np.ndarray, name: str, stride: int) -> np.ndarray:
        new = maps
        if f"{name}._expand_conv.weight" in self.state:
            new = self.relu6(self.norm(self.convolved(new, f"{name}._expand_conv", 1), f"{name}._bn0"))
        new = self.relu6(self.norm(self.convolved(new, f"{name}._depthwise_conv", stride), f"{name}._bn1"))
        new = self.norm(self.convolved(new, f"{name}._project_conv", 1), f"{name}._bn2")
        return new + maps if new.shape == maps.shape else new

    def convolved(self, maps: np.ndarray, name: str, stride: int) -> np.ndarray:
        kernel = self.state[f"{name}.weight"].astype(np.float64)
        side = kernel.shape[-1]
        out = -(-maps.shape[1] // stride)
        margin = max((out - 1) * stride + side - maps.shape[1], 0)  # TensorFlow's SAME: what is odd stands behind
        pad = (margin // 2, margin - margin // 2)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(maps, ((0, 0), pad, pad)), (side, side), (1, 2))
        windows = windows[:, ::stride, ::stride]
        if kernel.shape[1] == 1 and len(maps) == len(kernel):
            return np.einsum("chwij,cij->chw", windows, kernel[:, 0])
        return np.tensordot(kernel, windows, axes=([1, 2, 3], [0, 3, 4]))

    def norm(self, maps: np.ndarray, name: str) -> np.ndarray:
        scale, offset, mean, variance = (
            self.state[f"{name}.{part}"].astype(np.float64)[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (maps - mean) / np.sqrt(variance + 1e-3) * scale + offset

    @staticmethod
    def relu6(maps: np.ndarray) -> np.ndarray:
        return np.clip(maps, 0, 6)


@pytest.mark.parametrize("size", [96, 75])  # 75: sides are odd where they are halved
def test_it_says_what_the_checkpoint_says_by_other_means(weights, size):
    picture = look(CHINA, size)
    expected = Reference(weights)(picture[0])
    logits = efficientnet_lite.NETWORK.keras_model(size, "names")(picture).numpy()[0]
    assert np.abs(logits - expected).max() < 1e-3 < expected.std()


def test_multi_has_earlier_layers_behind_the_last():
    keras = graphs.keras()
    picture = look(CHINA, 96)
    last, multi = (efficientnet_lite.NETWORK.keras_model(96, gives) for gives in ("last", "multi"))
    expansions = [multi.get_layer(f"blocks.{block}.bn0.relu").output for block in (11, 5, 3)]
    maps = keras.Model(multi.input, expansions)(picture)
    assert [one.shape[1:] for one in maps] == [(6, 6, 672), (12, 12, 240), (24, 24, 144)]
    expected = np.concatenate([last(picture).numpy(), *(one.numpy().mean(axis=(1, 2)) for one in maps)], axis=1)
    assert multi(picture).shape == (1, 1280 + 672 + 240 + 144)
    assert np.abs(multi(picture).numpy() - expected).max() < 1e-4


def test_multi_refuses_a_size_whose_layers_do_not_fit():
    with pytest.raises(ModelError, match="240 x 240 do not divide") as fault:
        efficientnet_lite.NETWORK.keras_model(240, "multi")
    assert "multiple of 32" in fault.value.hint


def test_it_can_be_fine_tuned_through_tensorflow_hub(tmp_path):
    graphs.tensorflow()
    import tensorflow_hub as hub

    graphs.save(graphs.reusable(efficientnet_lite.NETWORK.keras_model(32)), tmp_path / "module")
    layer = hub.KerasLayer(str(tmp_path / "module"), trainable=True)
    assert len(layer.trainable_variables) == 49 + 2 * 49  # kernels; scale and offset behind each
