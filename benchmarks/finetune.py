"""`make bench-train`, third part: how fast the recipe `finetune` goes through pictures, and how right it is for it.

Fast: pictures a second in an epoch, altered, counted and kept as in every training, beside a bare loop of Keras' Adam
over the same network on batches that are in memory already. Right: the paper's protocol of the first part, all 2,624
cells, by the seeds that are named (`--seeds 0 1 2 3 4`, half an hour each on two cores; 0 if not given).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, show
from train import backbone, sides, solar_cells, timed

from imageloom import backbone_files, graphs, network, quiet
from imageloom.features import FeatureStore
from imageloom.network import Network
from imageloom.recipes import finetune
from imageloom.recipes.data import Data
from imageloom.recipes.finetune import FinetuneParams
from imageloom.recipes.workshop import Trained, Workshop

BATCH = 16
SPEED = 320  # pictures
STEPS = 20


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--epochs", type=int, default=FinetuneParams().epochs)
    arguments = parser.parse_args()
    quiet.start_up()
    cells, doubts = zip(*solar_cells(), strict=True)
    classes = (np.array(doubts) > 0.5).astype(int)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pretrained = Network(backbone(folder, "multi").parent, FeatureStore(folder / "features"))
        files = [folder / f"{number}.png" for number in range(len(cells))]
        for file, cell in zip(files, cells, strict=True):
            file.write_bytes(cell)
        print("embedding ...", file=sys.stderr)
        vectors = timed(pretrained.tflite, cells)[0]
        pictures = Data(vectors, classes, files=tuple(files))
        found = speed(pictures, pretrained, folder)
        for seed in arguments.seeds:
            found += accuracy(pictures, seed, arguments.epochs, pretrained, folder)
    right = [figure.value for figure in found if figure.unit == "share"]
    if right:
        found.append(Figure("2,624 cells, paper's protocol: mean", float(np.mean(right)), "share", ">= 0.902"))
    show("finetune", found)


def speed(pictures: Data, pretrained: Network, folder: Path) -> list[Figure]:
    """Pictures a second, of the recipe and of a bare loop."""
    ends: list[float] = []
    params = FinetuneParams(epochs=3, batch_size=BATCH)
    few, one = part(pictures, range(SPEED)), part(pictures, range(SPEED, SPEED + 2))
    train(few, one, params, pretrained, folder / "speed", ends)
    own = SPEED / float(min(np.diff(ends)))  # the first epoch is traced
    alone = bare(few, pretrained)
    return [
        Figure("fine-tuning, all layers", own, "images/s"),
        Figure("a bare loop", alone, "images/s"),
        Figure("fine-tuning / bare loop", own / alone, "ratio", ">= 0.85"),
    ]


def bare(pictures: Data, pretrained: Network) -> float:
    """Pictures a second of `train_step` alone."""
    tf = graphs.tensorflow()
    import tensorflow_hub as hub
    import tf_keras

    model = tf_keras.Sequential([hub.KerasLayer(str(pretrained.saved_model), trainable=True), tf_keras.layers.Dense(2)])
    optimiser = tf_keras.optimizers.Adam(1e-5)
    size = int(pretrained.about["image_size"])
    looks = np.stack([network.look(file, size, "crop") for file in pictures.files[:BATCH]])
    images, classes = tf.constant(looks, tf.float32) / 255, tf.constant(pictures.classes[:BATCH])
    model(images)

    @tf.function
    def step() -> Any:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits))
        slopes = tape.gradient(loss, model.trainable_variables)
        optimiser.apply_gradients(zip(slopes, model.trainable_variables, strict=True))
        return loss

    step()
    start = time.perf_counter()
    for _ in range(STEPS):
        float(step())
    return STEPS * BATCH / (time.perf_counter() - start)


def accuracy(pictures: Data, seed: int, epochs: int, pretrained: Network, folder: Path) -> list[Figure]:
    """On the test pictures of a seed, with the time that it took."""
    rows = sides(pictures.classes, (0.15, 0.25), seed)
    learning, choosing, test = (part(pictures, side) for side in rows)
    target = folder / f"seed-{seed}"
    start = time.perf_counter()
    params = FinetuneParams.model_validate({"epochs": epochs, "augment": {"flip": "both"}})
    trained = train(learning, choosing, params, pretrained, target, [])
    took = time.perf_counter() - start
    backbone_files.complete(target, trained.about)
    cells = [file.read_bytes() for file in test.files]
    said = trained.head.probabilities(timed(target / "backbone.tflite", cells)[0]).argmax(axis=1)
    return [
        Figure(f"2,624 cells, paper's protocol, seed {seed}", float((said == test.classes).mean()), "share"),
        Figure(f"seed {seed}: fine-tuning", took / 60, "min"),
    ]


def train(
    learning: Data, choosing: Data, params: FinetuneParams, pretrained: Network, target: Path, ends: list[float]
) -> Trained:
    """Runs the recipe; `ends` gets the time at the end of each epoch."""

    def tell(*_: object) -> None:
        ends.append(time.perf_counter())

    kept = target.with_name(f"{target.name}-kept")
    workshop = Workshop(pretrained, "crop", target / "saved_model", kept, tell)
    return finetune.fit(learning, choosing, 2, params, workshop)


def part(pictures: Data, rows: Sequence[int] | np.ndarray) -> Data:
    """Some of the pictures."""
    chosen = np.asarray(rows)
    files = tuple(pictures.files[row] for row in chosen)
    return Data(pictures.features[chosen], pictures.classes[chosen], files=files)


if __name__ == "__main__":
    main()
