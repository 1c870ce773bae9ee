"""Recipe `finetune`: trains the backbone itself, or its last layers, together with the layer that ends it.

It begins where the recipe `probe` ends, since a last layer that knows nothing would spoil what the network has learnt
(Kumar et al. 2022, arXiv:2202.10054). Early layers, which see edges and colours that are the same in all pictures,
learn more slowly than late ones (Howard and Ruder 2018, arXiv:1801.06146), and pictures are altered anew in each epoch.
Batch normalisation takes means and deviations of these pictures: with ImageNet's, a training on pictures that are far
from photographs found nothing better than its start.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from imageloom import graphs
from imageloom.backbone_files import About
from imageloom.errors import ModelError
from imageloom.network import Network
from imageloom.recipes import fields, probe
from imageloom.recipes.data import Data, measure
from imageloom.recipes.distribution import Team
from imageloom.recipes.epochs import EpochParams, Net, Training
from imageloom.recipes.head import Head
from imageloom.recipes.probe import ProbeParams
from imageloom.recipes.standard import Standard
from imageloom.recipes.workshop import Trained, Workshop

_LEAST_SCALE = 0.2  # of the median


class FinetuneParams(EpochParams):
    """How the network is trained further."""

    epochs: fields.Epochs = 12
    learning_rate: PositiveFloat = Field(default=0.0005, description="the highest, of the last layer")
    patience: fields.Patience = 6
    layers: PositiveInt | Literal["all"] = Field(
        default="all", description="how many layers learn, from the last; each has its kernel, and what normalises it"
    )
    lowest_rate: PositiveFloat = Field(
        default=0.3, le=1, description="of the first layer that learns, as a share of learning_rate; between, in steps"
    )
    update_statistics: bool = Field(
        default=True,
        description="whether batch normalisation takes means and deviations of these pictures; needs hundreds; without "
        "it the rate should be a tenth",
    )
    mixed_precision: bool = Field(
        default=True, description="where there is a processor for graphics, float16 wherever it is good enough"
    )

    @model_validator(mode="after")
    def _workers_have_one_statistic(self) -> "FinetuneParams":
        if self.update_statistics and self.strategy == "multi_worker":
            raise ValueError(
                "strategy multi_worker needs update_statistics: false, and then a tenth of the learning_rate: each "
                "worker would have means and deviations of its own"
            )
        return self


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
    with team.strategy.scope():  # before all else that is done with TensorFlow
        layer = _load(workshop.pretrained)
        last = _Last(train, classes, ProbeParams(balanced=params.balanced))
        net = _net(layer, last, params)
    last.begin(train.features)
    training, size = Training(net, "finetune", params, team, _mixed(params)), int(about["image_size"])
    begun, first = {"step": 0, "learning_rate": 0.0}, last.folded()
    for name, side in (("train", train), ("validation", validation)):
        begun |= measure(first.probabilities(side.features), side.classes, name)
    history, key = training.run((train, validation), size, workshop, __file__, [begun])
    graphs.save(layer.resolved_object, workshop.target)
    told = About(about["module"], size, about["layers"], about["licence"], about.get("weights"))
    return Trained(last.folded(), told, history, key)


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


class _Last:
    """The last layer, on features of mean 0 and deviation 1.

    Args:
        train: The training pictures.
        classes: K.
        params: Of the probe that it begins as.
    """

    def __init__(self, train: Data, classes: int, params: ProbeParams) -> None:
        tf = graphs.tensorflow()
        length = train.features.shape[1]
        self._train, self._classes, self._params = train, classes, params
        self.mean, self.scale = (tf.Variable(make(length), trainable=False) for make in (tf.zeros, tf.ones))
        self.kernel, self.bias = tf.Variable(tf.zeros((length, classes))), tf.Variable(tf.zeros(classes))

    def begin(self, features: np.ndarray) -> None:
        """Begins as a probe that has seen the training pictures only.

        Args:
            features: float32[N, D] of these pictures, by the mean and deviation that the layer has.
        """
        features = features * self.scale.numpy() + self.mean.numpy()
        standard = _steady(Standard.of(features))
        seen = Data(standard.apply(features), self._train.classes, self._train.groups, weights=self._train.weights)
        nothing = Data(features[:0], seen.classes[:0], seen.groups[:0])
        head = probe.fit(seen, nothing, self._classes, self._params).head
        begun = (standard.mean, standard.scale, head.kernel, head.bias)
        for variable, values in zip((self.mean, self.scale, self.kernel, self.bias), begun, strict=True):
            variable.assign(values.astype(np.float32))

    def folded(self) -> Head:
        """The same on features as the network gives them."""
        mean, scale, kernel, bias = (
            one.numpy().astype(np.float64) for one in (self.mean, self.scale, self.kernel, self.bias)
        )
        return Standard(mean, scale).fold(kernel, bias)


def _steady(standard: Standard) -> Standard:
    """With no deviation far below the others.

    A feature that hardly changes from picture to picture may do so when they are altered, and would drown all others.
    """
    return Standard(standard.mean, np.maximum(standard.scale, _LEAST_SCALE * np.median(standard.scale)))


def _net(layer: Any, last: _Last, params: FinetuneParams) -> Net:
    learning = by_layer(layer.trainable_weights)
    learning = learning if params.layers == "all" else learning[-params.layers :]
    places = np.arange(len(learning)) / len(learning)
    factors = [float(params.lowest_rate ** (1 - place)) for place in places]

    def features(images: Any, training: bool) -> Any:
        return (layer(images, training=training and params.update_statistics) - last.mean) / last.scale

    if not params.update_statistics:
        return Net(features, learning, factors, last.kernel, last.bias)
    states = [*layer.non_trainable_weights, last.mean, last.scale]
    return Net(features, learning, factors, last.kernel, last.bias, states, last.begin)


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
