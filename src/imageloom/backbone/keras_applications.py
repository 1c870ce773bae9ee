"""Networks of Keras Applications by name, such as VGG16, ResNet50, MobileNetV3Small or EfficientNetV2B0.

What each family does with pixels beforehand is part of the graph, so that all take RGB in [0, 1] as TF-Hub's networks
do; what each gives is the mean of its last map, without the layer that named ImageNet's classes.
"""

import difflib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import graphs
from imageloom.errors import ModelError

# Sides of the pictures on which a network was trained, where they are not 224 (keras.io/api/applications).
_SIZES = {"InceptionV3": 299, "InceptionResNetV2": 299, "Xception": 299, "NASNetLarge": 331}
_SIZES |= {f"EfficientNetB{number}": size for number, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))}
_SIZES |= {"EfficientNetV2B1": 240, "EfficientNetV2B2": 260, "EfficientNetV2B3": 300}
_SIZES |= {"EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480}

_SEED = 0  # of random weights
_MOMENTUM = 0.9  # of means and deviations, that a few hundred steps of fine-tuning are enough; some have 0.999


def size_of(name: str) -> int:
    """Side of the pictures that a network was trained on, in pixels."""
    return _SIZES.get(name, 224)


def build(name: str, size: int, weights: str | Path) -> Any:
    """Builds a network without its last layer.

    Args:
        name: As `tf_keras.applications` has it.
        size: Side of the pictures that it takes, in pixels.
        weights: `imagenet`, from Keras' cache or downloaded; `none`, random numbers that are the same every time; or
            a file that Keras wrote for this network without its last layer.

    Returns:
        A `tf_keras.Model` from float32[N, size, size, 3] RGB in [0, 1] to float32[N, D].

    Raises:
        ModelError: There is no such network, it does not take such pictures, or its weights cannot be had.
    """
    keras = graphs.keras()
    application = _application(name, keras)
    keras.utils.set_random_seed(_SEED)
    network = _network(application, size, weights == "imagenet")
    if isinstance(weights, Path):
        _load(network, weights)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _MOMENTUM
    # Each family's way with pixels stands in its module; those that have it in the network change nothing here.
    preprocess = sys.modules[application.__module__].preprocess_input
    inputs = keras.Input((size, size, 3), name="inputs")
    return keras.Model(inputs, network(preprocess(inputs * 255.0)), name=name)


def _application(name: str, keras: Any) -> Callable[..., Any]:
    names = [one for one in dir(keras.applications) if one[0].isupper()]
    if name in names:
        found: Callable[..., Any] = getattr(keras.applications, name)
        return found
    by_lower = {one.lower(): one for one in names}
    near = [by_lower[one] for one in difflib.get_close_matches(name.lower(), by_lower, n=3)]
    raise ModelError(
        f"Keras has no network keras:{name}",
        f"did you mean {', '.join(near or ['VGG16', 'ResNet50', 'MobileNetV3Small'])}?",
    )


def _network(application: Callable[..., Any], size: int, pretrained: bool) -> Any:
    keras, name = graphs.keras(), application.__name__
    talks = keras.utils.is_interactive_logging_enabled()
    keras.utils.disable_interactive_logging()  # its progress bar, of which a log would keep every step
    try:
        return application(
            include_top=False, weights="imagenet" if pretrained else None, input_shape=(size, size, 3), pooling="avg"
        )
    except MemoryError:
        raise
    except Exception as fault:  # urllib, h5py and Keras each raise their own
        reason = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
        if not pretrained or reason.startswith("Input size"):
            raise ModelError(
                f"keras:{name} does not take pictures of {size} x {size}: {reason}",
                f"set backbone.image_size to another side; the network was made for {size_of(name)}",
            ) from fault
        raise ModelError(
            f"cannot get the ImageNet weights of keras:{name}: {reason}",
            "where there is no network, name a file of weights in backbone.weights, or take a packaged backbone",
        ) from fault
    finally:
        if talks:
            keras.utils.enable_interactive_logging()


def _load(network: Any, path: Path) -> None:
    """Gives the network the weights of a file, all of them.

    Raises:
        ModelError: The file is missing, is none, or is not one for this network.
    """
    hint = f"backbone.weights must be a file that Keras wrote for {network.name} with include_top=False"
    if not path.is_file():
        raise ModelError(f"there is no file of weights {str(path)!r}", hint)
    for variable in network.variables:
        if variable.dtype.is_floating:
            variable.assign(np.full(variable.shape, np.nan, np.float32))
    try:
        network.load_weights(str(path))
    except MemoryError:
        raise
    except Exception as fault:  # h5py and Keras each raise their own
        reason = next(iter(str(fault).strip().splitlines()), type(fault).__name__)
        raise ModelError(f"the weights in {str(path)!r} do not fit {network.name}: {reason}", hint) from fault
    left = [variable.name for variable in network.variables if not np.isfinite(variable.numpy()).all()]
    if left:
        raise ModelError(f"the weights in {str(path)!r} do not fit {network.name}: it has none for {left[0]}", hint)
