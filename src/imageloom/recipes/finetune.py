"""Recipe `finetune`: trains the backbone itself, or its last layers, together with the layer that ends it.

It begins where the recipe `probe` ends, since a last layer that knows nothing would spoil what the network has learnt
(Kumar et al. 2022, arXiv:2202.10054). Early layers, which see edges and colours that are the same in all pictures,
learn more slowly than late ones (Howard and Ruder 2018, arXiv:1801.06146), and pictures are altered anew in each epoch.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from imageloom import graphs
from imageloom.backbone_files import About
from imageloom.errors import ModelError
from imageloom.network import Network
from imageloom.recipes import probe
from imageloom.recipes.data import Data, measure
from imageloom.recipes.distribution import Team
from imageloom.recipes.epochs import EpochParams, Net, Training
from imageloom.recipes.probe import ProbeParams
from imageloom.recipes.standard import Standard
from imageloom.recipes.workshop import Trained, Workshop

_LEAST_SCALE = 0.2  # of the median


class FinetuneParams(EpochParams):
    """How the network is trained further."""

    learning_rate: PositiveFloat = Field(default=0.00003, description="the highest, of the last layer")
    layers: PositiveInt | Literal["all"] = Field(
        default="all", description="how many layers learn, from the last; each has its kernel, and what normalises it"
    )
    lowest_rate: PositiveFloat = Field(
        default=0.1, le=1, description="of the first layer that learns, as a share of learning_rate; between, in steps"
    )
    update_statistics: bool = Field(
        default=False,
        description="whether batch normalisation takes means and deviations of these pictures; needs hundreds",
    )
    mixed_precision: bool = Field(
        default=True, description="where there is a processor for graphics, float16 wherever it is good enough"
    )


def fit(train: Data, validation: Data, classes: int, params: FinetuneParams, workshop: Workshop) -> Trained:
    """Trains, and writes the network as it was in the epoch with the lowest loss on validation.

    Args:
        train: With files, and the features that the pretrained network gives.
        validation: What to choose the epoch on.
        classes: K.
        params: See `FinetuneParams`.
        workshop: Where.

    Raises:
        ModelError: The network cannot be trained.
        DataError: The loss has grown beyond all numbers, or a picture cannot be read.
    """
    team, about = Team(params.strategy), workshop.pretrained.about
    standard = Standard.of(train.features)
    steady, start = _steady(standard), _start(train, standard, classes)
    with team.strategy.scope():  # before all else that is done with TensorFlow
        layer = _load(workshop.pretrained)
        net = _net(layer, steady, start, params)
    training, size = Training(net, "finetune", params, team, _mixed(params)), int(about["image_size"])
    begun, first = {"step": 0, "learning_rate": 0.0}, steady.fold(*start)
    for name, side in (("train", train), ("validation", validation)):
        begun |= measure(first.probabilities(side.features), side.classes, name)
    history, key = training.run((train, validation), size, workshop, __file__, [begun])
    graphs.save(layer.resolved_object, workshop.target)
    head = steady.fold(net.kernel.numpy().astype(np.float64), net.bias.numpy().astype(np.float64))
    told = About(about["module"], size, about["layers"], about["licence"], about.get("weights"))
    return Trained(head, told, history, key)


def _load(network: Network) -> Any:
    """The network as a Keras layer whose variables can learn.

    Raises:
        ModelError: It has none.
    """
    graphs.tensorflow()
    import tensorflow_hub as hub

    layer = hub.KerasLayer(str(network.saved_model), trainable=True)
    if not layer.trainable_weights or not callable(layer.resolved_object):
        raise ModelError(
            f"{network.about['module']} has nothing that could be trained further",
            "choose a backbone in TF2 SavedModel format that is fine-tunable, or another recipe",
        )
    return layer


def _steady(standard: Standard) -> Standard:
    """With no deviation far below the others.

    A feature that hardly changes from picture to picture may do so when they are altered, and would drown all others.
    """
    return Standard(standard.mean, np.maximum(standard.scale, _LEAST_SCALE * np.median(standard.scale)))


def _start(train: Data, standard: Standard, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias on standardised features, as a probe has them that has seen training pictures only."""
    nothing = Data(train.features[:0], train.classes[:0], train.groups[:0], tuple(view[:0] for view in train.views))
    head = probe.fit(train, nothing, classes, ProbeParams()).head
    kernel = head.kernel.astype(np.float64) * standard.scale[:, None]
    return kernel.astype(np.float32), (head.bias + standard.mean @ head.kernel).astype(np.float32)


def _net(layer: Any, standard: Standard, start: tuple[np.ndarray, np.ndarray], params: FinetuneParams) -> Net:
    tf = graphs.tensorflow()
    mean, scale = tf.constant(standard.mean, tf.float32), tf.constant(standard.scale, tf.float32)
    learning = by_layer(layer.trainable_weights)
    learning = learning if params.layers == "all" else learning[-params.layers :]
    places = np.arange(len(learning)) / len(learning)

    def features(images: Any, training: bool) -> Any:
        return (layer(images, training=training and params.update_statistics) - mean) / scale

    kernel, bias = (tf.Variable(values) for values in start)
    states = layer.non_trainable_weights if params.update_statistics else ()
    return Net(features, learning, [float(params.lowest_rate ** (1 - place)) for place in places], kernel, bias, states)


def by_layer(variables: Sequence[Any]) -> list[list[Any]]:
    """Variables in the order in which a network makes them, a group for each kernel and what follows it."""
    groups: list[list[Any]] = []
    for variable in variables:
        if not groups or len(variable.shape) > 1:
            groups.append([])
        groups[-1].append(variable)
    return groups


def _mixed(params: FinetuneParams) -> bool:
    """Has TensorFlow calculate in float16 where there is what gains by it; says whether it does."""
    tf = graphs.tensorflow()
    mixed = params.mixed_precision and bool(tf.config.list_physical_devices("GPU"))
    if mixed:
        tf.config.optimizer.set_experimental_options({"auto_mixed_precision": True})
    return mixed
