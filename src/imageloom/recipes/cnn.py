"""Recipe `cnn`: a small convolutional network that has seen no other pictures, for people with no pretrained one.

Blocks of two convolutions and a maximum over 2 x 2, each block with twice the channels of the one before (after VGG,
Simonyan and Zisserman 2015, arXiv:1409.1556). Then either the mean of each channel, which tells on a heat map where the
evidence lies (Lin et al. 2014, arXiv:1312.4400), or a dense layer; then dropout, and the layer that ends it.
"""

from typing import Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from imageloom import graphs
from imageloom.backbone_files import About
from imageloom.errors import DataError
from imageloom.recipes.data import Data
from imageloom.recipes.distribution import Team
from imageloom.recipes.epochs import EpochParams, Net, Training
from imageloom.recipes.fields import Dropout, Epochs, Patience
from imageloom.recipes.flat import GREY
from imageloom.recipes.head import Head
from imageloom.recipes.workshop import Trained, Workshop


class CnnParams(EpochParams):
    """How the network is built and trained."""

    size: int = Field(default=64, ge=8, le=512, description="side that pictures are made smaller to, in pixels")
    grey: bool = Field(default=False, description="whether it sees grey, or else red, green and blue")
    blocks: int = Field(default=3, ge=1, le=6, description="of two convolutions, each halving the picture's side")
    filters: PositiveInt = Field(default=32, description="channels of the first block; each block has twice as many")
    kernel: int = Field(default=3, ge=2, le=7, description="side of what a convolution looks at, in pixels")
    units: int = Field(
        default=0, ge=0, description="of a dense layer on all of the last map; 0 takes the mean of each of its channels"
    )
    normalise: bool = Field(
        default=True, description="batch normalisation, which learns faster from dozens of pictures"
    )
    epochs: Epochs = 30
    learning_rate: PositiveFloat = Field(default=0.002, description="the highest")
    dropout: Dropout = 0.5
    patience: Patience = 0


def fit(train: Data, validation: Data, classes: int, params: CnnParams, workshop: Workshop) -> Trained:
    """Trains, and writes the network as it was in the epoch with the lowest loss on validation.

    Args:
        train: With files.
        validation: What to choose the epoch on.
        classes: K.
        params: See `CnnParams`.
        workshop: Where.

    Raises:
        DataError: Pictures are too small for so many blocks, one cannot be read, or the loss has grown beyond all
            numbers.
    """
    _require_room(params)
    team = Team(params.strategy)
    with team.strategy.scope():
        model = _model(params)
        net = _net(model, classes, params)
    training = Training(net, "cnn", params, team)
    history, key = training.run((train, validation), params.size, workshop, __file__)
    graphs.save(graphs.reusable(model), workshop.target)
    head = Head(net.kernel.numpy(), net.bias.numpy())
    return Trained(head, About("cnn", params.size, "last"), history, key)


def _require_room(params: CnnParams) -> None:
    """After the last block one pixel at least is left.

    Raises:
        DataError: None is.
    """
    left = params.size >> params.blocks
    if left < 1:
        raise DataError(
            f"pictures of {params.size} x {params.size} cannot be halved {params.blocks} times",
            "make train.cnn.size larger, or train.cnn.blocks smaller",
        )


def _model(params: CnnParams) -> Any:
    """float32[N, S, S, 3] in [0, 1] to float32[N, D]; the seed decides where it begins."""
    graphs.tensorflow()
    from tf_keras import Input, Model, initializers, layers

    images = flow = Input((params.size, params.size, 3))
    if params.grey:
        weights = initializers.Constant(GREY.reshape(1, 1, 3, 1))
        flow = layers.Conv2D(1, 1, use_bias=False, kernel_initializer=weights, trainable=False)(flow)
    flow = layers.Rescaling(4.0, -2.0)(flow)  # to deviations of about one
    for number in range(2 * params.blocks):
        begin = initializers.HeNormal(seed=params.seed + number)
        filters = params.filters << (number // 2)
        flow = layers.Conv2D(filters, params.kernel, padding="same", kernel_initializer=begin)(flow)
        flow = layers.BatchNormalization(momentum=0.9)(flow) if params.normalise else flow
        flow = layers.ReLU()(flow)
        flow = layers.MaxPooling2D()(flow) if number % 2 else flow
    if not params.units:
        return Model(images, layers.GlobalAveragePooling2D()(flow))
    begin = initializers.HeNormal(seed=params.seed + 2 * params.blocks)
    return Model(images, layers.Dense(params.units, "relu", kernel_initializer=begin)(layers.Flatten()(flow)))


def _net(model: Any, classes: int, params: CnnParams) -> Net:
    tf = graphs.tensorflow()
    random, length = np.random.default_rng(params.seed), model.output_shape[1]
    kernel = random.normal(0, length**-0.5, (length, classes)).astype(np.float32)
    states = [one for one in model.non_trainable_weights if "moving" in one.name]

    def features(images: Any, training: bool) -> Any:
        return model(images, training=training)

    ends = tf.Variable(kernel), tf.Variable(np.zeros(classes, np.float32))
    return Net(features, [model.trainable_weights], [1.0], *ends, states)
