"""Pictures in memory as a network is shown them, and batches of them in an order that the seed decides."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from imageloom import console, files, graphs, network
from imageloom.engine import cores, map_ordered
from imageloom.images import Aspect
from imageloom.recipes.augment import AugmentParams, augmented

_IN_MEMORY = 1 << 30  # bytes; more are kept in a file, of which the system holds in memory what there is room for
_READ_AHEAD = 2  # batches


def decoded(pictures: Sequence[Path], size: int, aspect: Aspect, spill: Path) -> np.ndarray:
    """Decodes pictures on all processors.

    Args:
        pictures: Files of N pictures.
        size: Side that the network takes, in pixels.
        aspect: How they become square.
        spill: The file to write them to where they are too many for the memory.

    Returns:
        uint8[N, size, size, 3].

    Raises:
        DataError: One cannot be read.
        ImageloomError: The disk has no room for the file, or it cannot be written.
    """
    shape = (len(pictures), size, size, 3)
    pixels = np.empty(shape, np.uint8) if math.prod(shape) <= _IN_MEMORY else _in_file(spill, shape)
    with console.progress("train: decode", len(pictures)) as bar:
        found = map_ordered(lambda path: network.look(path, size, aspect), pictures, cores())
        for row, picture in enumerate(found):
            pixels[row] = picture
            bar.update(row + 1)
    return pixels


def _in_file(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """uint8 of a shape, in a file whose room on the disk is taken at once: later the system would end the process."""
    path.unlink(missing_ok=True)  # what a training that was killed left
    with files.atomic_file(path) as temporary:
        pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
    return pixels


@dataclass(frozen=True, eq=False)
class Batches:
    """Training pictures, epoch after epoch, each in an order of its own.

    Args:
        pixels: uint8[N, S, S, 3].
        classes: int[N].
        weights: float32[N], how much each picture counts.
        size: Pictures of a step, of all replicas together.
        seed: Of the order, and of what is altered.
    """

    pixels: np.ndarray
    classes: np.ndarray
    weights: np.ndarray
    size: int
    seed: int

    @property
    def each(self) -> int:
        """Steps of an epoch."""
        return math.ceil(len(self.classes) / self.size)

    def rows(self, step: int) -> np.ndarray:
        """The pictures of a step, counted from 0 through all epochs; the steps of an epoch are about of one size."""
        epoch, place = divmod(step, self.each)
        return np.array_split(_order(len(self.classes), self.seed, epoch), self.each)[place]

    def dataset(self, steps: range, replicas: range, of: int, params: AugmentParams) -> Any:
        """A tf.data pipeline that gives, of each step, a part to each replica.

        Args:
            steps: Which.
            replicas: Those to give to, in this process.
            of: How many replicas there are in all.
            params: How pictures are altered.

        Returns:
            Of images float32[B, S, S, 3] in [0, 1], classes int64[B], weights float32[B], the number of pictures of the
            whole step, int64[], and the part's own number through all steps, int64[].
        """
        tf = graphs.tensorflow()
        side = self.pixels.shape[1]

        def read(part: np.ndarray) -> tuple[Any, ...]:
            step, replica = divmod(int(part), of)
            whole = self.rows(step)
            rows = whole[replica::of]
            return self.pixels[rows], self.classes[rows].astype(np.int64), self.weights[rows], np.int64(len(whole))

        @tf.autograph.experimental.do_not_convert  # it could not, and would warn of it
        def look(part: Any) -> tuple[Any, ...]:
            kinds = (tf.uint8, tf.int64, tf.float32, tf.int64)
            pixels, classes, weights, whole = tf.numpy_function(read, [part], kinds, stateful=False)
            for tensor, shape in ((pixels, (None, side, side, 3)), (classes, (None,)), (weights, (None,)), (whole, ())):
                tensor.set_shape(shape)
            seed = tf.stack([tf.constant(self.seed, tf.int64), part])
            return augmented(pixels, seed, params), classes, weights, whole, part

        parts = np.array([step * of + replica for step in steps for replica in replicas], np.int64)
        dataset = tf.data.Dataset.from_tensor_slices(parts)
        return dataset.map(look, num_parallel_calls=cores(), deterministic=True).prefetch(_READ_AHEAD)


@lru_cache(maxsize=4)
def _order(number: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(number)
