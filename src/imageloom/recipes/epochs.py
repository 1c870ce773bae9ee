"""Trains a network and the layer on it epoch by epoch: AdamW with a rate for each layer, early stopping, checkpoints.

Adam with decoupled decay of the weights (Loshchilov and Hutter 2019, arXiv:1711.05101) is written out here, since rates
that differ by layer and momentum that goes against the rate are no part of Keras' own, and since its whole state is
then a list of arrays, from which a training that was killed goes on as if nothing had been.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveFloat

from imageloom import console, graphs
from imageloom.errors import DataError
from imageloom.params import StageParams
from imageloom.recipes import augment, fields, pixels, schedules, standard
from imageloom.recipes.augment import AugmentParams
from imageloom.recipes.checkpoints import Checkpoints, digest
from imageloom.recipes.data import Data, best_row, measure, with_choice
from imageloom.recipes.distribution import Strategy, Team
from imageloom.recipes.head import Head
from imageloom.recipes.pixels import Batches, decoded
from imageloom.recipes.schedules import momenta, rates
from imageloom.recipes.standard import picture_weights, smoothed
from imageloom.recipes.workshop import Workshop

_SQUARES_DECAY, _EPSILON = 0.999, 1e-7  # of Adam
_PREDICTED_TOGETHER = 32  # pictures, at most
_LOSS_SCALE = 256.0  # with float16, where small gradients would be lost
_LOOKS = 50  # batches, at least, after which means that follow by a tenth are those of the training pictures

# What a training that goes on must not have changed.
_CODE = (augment.__file__, pixels.__file__, schedules.__file__, standard.__file__, __file__)


class EpochParams(StageParams):
    """How a network is trained, whatever it is."""

    epochs: fields.Epochs = 8
    batch_size: fields.BatchSize = 16
    learning_rate: PositiveFloat = Field(default=0.0002, description="the highest, of the last layer")
    schedule: fields.RateSchedule = "one_cycle"
    momentum: fields.Momentum = 0.9
    weight_decay: NonNegativeFloat = Field(
        default=0.01, description="share of the weights, times the rate, lost a step"
    )
    dropout: fields.Dropout = 0.2
    label_smoothing: fields.LabelSmoothing = 0.1
    balanced: fields.Balanced = True
    patience: fields.Patience = 4
    strategy: Strategy = Field(
        default="none",
        description="`mirrored`: on all processors for graphics; `multi_worker`: on the machines that TF_CONFIG names",
    )
    augment: AugmentParams = Field(default=AugmentParams(), description="how pictures are altered in each epoch")
    seed: int = Field(default=7, ge=0, description="of the order of the pictures, of dropout and of what is altered")


@dataclass(frozen=True, eq=False)
class Net:
    """What is trained.

    Args:
        features: From float32[N, S, S, 3] in [0, 1], and whether in training, to float32[N, D], about standardised.
        layers: The variables of each layer that learns, from the first to the last.
        factors: By what each of these layers' rates is lower than the highest.
        kernel: Variable float32[D, K], of the layer that ends it.
        bias: Variable float32[K].
        states: Variables that change without learning, such as means of batches.
        begin: Fits kernel and bias to features float32[N, D] of the training pictures, once `states` are of these;
            with None it is trained from those that it has.
    """

    features: Callable[[Any, bool], Any]
    layers: Sequence[Sequence[Any]]
    factors: Sequence[float]
    kernel: Any
    bias: Any
    states: Sequence[Any] = ()
    begin: Callable[[np.ndarray], None] | None = None

    @property
    def learning(self) -> list[tuple[Any, float]]:
        """Every variable that learns, with its rate's factor."""
        pairs = zip(self.layers, self.factors, strict=True)
        return [(one, factor) for layer, factor in pairs for one in layer] + [(self.kernel, 1.0), (self.bias, 1.0)]


@dataclass(frozen=True, eq=False)
class _Held:
    """The validation pictures.

    Args:
        pixels: uint8[N, S, S, 3].
        classes: int[N].
    """

    pixels: np.ndarray
    classes: np.ndarray


class Training:
    """A network at its training.

    Args:
        net: See `Net`; its variables are changed.
        name: Of the recipe, for messages.
        params: See `EpochParams`.
        team: Who trains together.
        scaled: Whether gradients are scaled up on their way back, as float16 needs it.
    """

    def __init__(self, net: Net, name: str, params: EpochParams, team: Team, scaled: bool = False) -> None:
        tf = graphs.tensorflow()
        self._net, self._name, self._params, self._team = net, name, params, team
        self._scale = _LOSS_SCALE if scaled else 1.0
        self._variables = [one for one, _ in net.learning]
        with team.strategy.scope():
            self._moments = [
                [tf.Variable(tf.zeros(one.shape), trainable=False) for one in self._variables] for _ in range(2)
            ]
        self._state = [*self._variables, *net.states, *self._moments[0], *self._moments[1]]
        self._take_step = tf.function(self._step, autograph=False, reduce_retracing=True)
        self._look = tf.function(self._features, autograph=False, reduce_retracing=True)

    def run(
        self, sides: tuple[Data, Data], size: int, workshop: Workshop, recipe: str, begun: Sequence[dict[str, Any]] = ()
    ) -> tuple[list[dict[str, Any]], str]:
        """Trains, and leaves the network as it was after the epoch with the lowest loss on validation.

        Args:
            sides: Training and validation pictures, with files.
            size: Side of the pictures that the network takes, in pixels.
            workshop: Where.
            recipe: The recipe's own code, a file that a training which goes on must find unchanged.
            begun: Of a network that can answer already the row of step 0, what it says before the first epoch; it stays
                as it is where no epoch makes it better.

        Returns:
            A row for each epoch, as `data.Fitted` has them, and the digest by which the training is known.

        Raises:
            DataError: A picture cannot be read, or the loss has grown beyond all numbers.
            ImageloomError: The disk is full.
        """
        (train, validation), params, team = sides, self._params, self._team
        key = digest(sides, params, workshop, (*_CODE, recipe))
        checkpoints = Checkpoints(workshop.kept, key, team.is_chief)
        spill = checkpoints.folder / f"pixels-{team.number}.npy"
        shown = decoded([*train.files, *validation.files], size, workshop.aspect, spill)
        classes, count = int(self._net.bias.shape[0]), len(train.classes)
        weights = picture_weights(train.classes, train.weights, classes, params.balanced).astype(np.float32)
        batches = Batches(shown[:count], train.classes, weights, params.batch_size, params.seed)
        held = _Held(shown[count:], validation.classes)
        kept, history = checkpoints.read()
        if kept:
            self._restore(kept)
            console.say(f"train: goes on after epoch {history[-1]['step']}, from {checkpoints.folder.name}")
        told = partial(self._note, checkpoints, partial(workshop.tell, key))
        for row in () if kept else begun:
            told(history, row)
        if self._net.begin and not any(row["step"] for row in history):
            self._follow(batches)
            self._net.begin(self._seen(batches.pixels))
        self._learn(batches, held, history, told)
        if team.is_chief:
            self._restore(checkpoints.best())
        return with_choice(history), key

    def _learn(self, batches: Batches, held: _Held, history: list[dict[str, Any]], told: Callable[..., None]) -> None:
        """Trains epoch by epoch, on from the last one in the history; `told` adds the row of each to it."""
        params, path = self._params, _Path.of(self._params, batches)
        done = history[-1]["step"] if history else 0
        feed = iter(self._distributed(batches, range(done * path.each, params.epochs * path.each)))
        with console.progress(f"train: {self._name}", params.epochs * len(batches.classes)) as bar:
            for epoch in range(done, params.epochs):
                if _has_stopped([row for row in history if row["step"]], params.patience):
                    break
                row = self._epoch(epoch, feed, path, bar)
                row |= measure(self.probabilities(held.pixels), held.classes, "validation")
                self._require_number(row["validation_loss"], epoch)  # before it is kept as what was good
                told(history, row)

    def _note(
        self,
        checkpoints: Checkpoints,
        tell: Callable[[dict[str, Any]], None],
        history: list[dict[str, Any]],
        row: dict[str, Any],
    ) -> None:
        """Adds a row to the history, keeps the state that it is of, and tells of it."""
        history.append(row)
        state = [one.numpy() for one in self._state]
        if best_row(history) == len(history) - 1:
            checkpoints.write_best(state)
        checkpoints.write(state, history)
        _say(self._name, row, self._params.epochs)
        if self._team.is_chief:
            tell(row)

    def _follow(self, batches: Batches) -> None:
        """Has the network's means and deviations be those of the training pictures."""
        for step in range(max(_LOOKS, batches.each)):
            self._team.strategy.run(self._look, args=(batches.pixels[batches.rows(step)], True))

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """What the network says of pictures uint8[N, S, S, 3]: float32[N, K]."""
        return Head(self._net.kernel.numpy(), self._net.bias.numpy()).probabilities(self._seen(pixels))

    def _seen(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32[N, D] of pictures uint8[N, S, S, 3]."""
        together = min(_PREDICTED_TOGETHER, self._params.batch_size)
        parts = range(0, len(pixels), together)
        return np.concatenate([self._look(pixels[start : start + together], False) for start in parts])

    def _epoch(self, epoch: int, feed: Iterator[Any], path: "_Path", bar: console.Bar) -> dict[str, Any]:
        """Takes the steps of an epoch; gives the training's part of its row."""
        sums, done = np.zeros(3), epoch * len(path.classes)
        for step in range(epoch * path.each, (epoch + 1) * path.each):
            told = np.array([float(one) for one in self._take_step(next(feed), path.at(step))])
            self._require_number(told, epoch)
            sums += told[1:]
            bar.update(done + int(sums[2]), note=f"loss {sums[0] / sums[2]:.3f}")
        return {
            "step": epoch + 1,
            "learning_rate": float(path.rates[(epoch + 1) * path.each - 1]),
            "train_loss": sums[0] / sums[2],
            "train_accuracy": sums[1] / sums[2],
        }

    def _require_number(self, loss: Any, epoch: int) -> None:
        if not np.isfinite(loss).all():
            raise DataError(
                f"the loss is no longer a number in epoch {epoch + 1}; the classifier that was there stays",
                f"lower train.{self._name}.learning_rate, which is {self._params.learning_rate:g}; with another rate "
                "the training begins anew",
            )

    def _step(self, part: Any, pace: Any) -> tuple[Any, ...]:
        """Takes a step.

        Args:
            part: Of each replica, what `Batches.dataset` gives.
            pace: float32[4]: rate, momentum, and what of the two moments is not zeros that they began with.

        Returns:
            The loss that is made less, and sums over the pictures: of log-losses, of right answers, of ones.
        """
        tf, strategy = graphs.tensorflow(), self._team.strategy
        slopes, *told = strategy.run(self._slopes, args=part)
        total = tf.distribute.ReduceOp.SUM
        slopes = strategy.extended.batch_reduce_to(total, list(zip(slopes, self._variables, strict=True)))
        told = [strategy.reduce(total, one, axis=None) for one in told]
        for (one, factor), mean, square, slope in zip(self._net.learning, *self._moments, slopes, strict=True):
            decay = self._params.weight_decay if len(one.shape) > 1 else 0.0
            strategy.extended.update(one, _adam, args=(mean, square, slope, pace, (factor, decay)))
        return tuple(told)

    def _slopes(self, images: Any, classes: Any, weights: Any, whole: Any, number: Any) -> tuple[Any, ...]:
        """Gradients on a replica's part of a step, and what `_step` tells of it."""
        tf, net, params = graphs.tensorflow(), self._net, self._params
        targets = tf.gather(smoothed(int(net.bias.shape[0]), params.label_smoothing), classes)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._variables)
            features = net.features(images, True)
            if params.dropout:
                chance = tf.random.stateless_uniform(tf.shape(features), tf.stack([params.seed, number]))
                features = tf.where(chance < params.dropout, 0.0, features / (1 - params.dropout))
            logits = tf.matmul(features, net.kernel) + net.bias
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_sum(losses * weights) / tf.cast(whole, tf.float32)
            scaled = loss * self._scale
        zero = tf.UnconnectedGradients.ZERO
        slopes = [slope / self._scale for slope in tape.gradient(scaled, self._variables, unconnected_gradients=zero)]
        plain = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
        right = tf.cast(tf.argmax(logits, axis=1) == classes, tf.float32)
        return slopes, loss, tf.reduce_sum(plain), tf.reduce_sum(right), tf.reduce_sum(tf.ones_like(plain))

    def _features(self, pixels: Any, training: bool) -> Any:
        return self._net.features(graphs.tensorflow().cast(pixels, "float32") / 255, training)

    def _distributed(self, batches: Batches, steps: range) -> Any:
        strategy = self._team.strategy
        everyone = int(strategy.num_replicas_in_sync)

        def feed(_: Any) -> Any:
            return batches.dataset(steps, self._team.replicas, everyone, self._params.augment)

        return strategy.distribute_datasets_from_function(feed)

    def _restore(self, state: Sequence[np.ndarray]) -> None:
        for variable, values in zip(self._state, state, strict=True):
            variable.assign(values)


@dataclass(frozen=True, eq=False)
class _Path:
    """How fast is gone, at each step of a training.

    Args:
        rates: float64[S], the highest of the layers' rates.
        pushes: float64[S], momenta.
        each: Steps of an epoch.
        classes: int[N], of the training pictures.
    """

    rates: np.ndarray
    pushes: np.ndarray
    each: int
    classes: np.ndarray

    @classmethod
    def of(cls, params: EpochParams, batches: Batches) -> "_Path":
        steps = params.epochs * batches.each
        path = rates(params.schedule, steps, params.learning_rate)
        return cls(path, momenta(params.schedule, steps, params.momentum), batches.each, batches.classes)

    @cached_property
    def left(self) -> np.ndarray:
        """float64[S, 2], the share of both moments of Adam that is not the zeros at the start."""
        squares = _SQUARES_DECAY ** np.arange(1, len(self.rates) + 1)
        return 1 - np.stack([np.cumprod(self.pushes), squares], axis=1)

    def at(self, step: int) -> Any:
        """What `Training._step` needs of a step."""
        tf = graphs.tensorflow()
        return tf.constant([self.rates[step], self.pushes[step], *self.left[step]], tf.float32)


def _adam(variable: Any, mean: Any, square: Any, slope: Any, pace: Any, own: tuple[float, float]) -> None:
    tf = graphs.tensorflow()
    rate, momentum, left_of_mean, left_of_square = tf.unstack(pace)
    factor, decay = own
    new_mean = mean.assign_add((1 - momentum) * (slope - mean))
    new_square = square.assign_add((1 - _SQUARES_DECAY) * (slope * slope - square))
    way = new_mean / left_of_mean / (tf.sqrt(new_square / left_of_square) + _EPSILON)
    variable.assign_sub(rate * factor * (way + decay * variable))


def _has_stopped(history: Sequence[dict[str, Any]], patience: int) -> bool:
    return bool(patience and history) and len(history) - 1 - best_row(history) >= patience


def _say(name: str, row: dict[str, Any], epochs: int) -> None:
    when = f"epoch {row['step']} of {epochs}" if row["step"] else "before the first epoch"
    console.say(
        f"train: {name}, {when}: loss {row['train_loss']:.3f}, {row['train_accuracy']:.1%} "
        f"right; on validation {row['validation_loss']:.3f}, {row['validation_accuracy']:.1%}"
    )
