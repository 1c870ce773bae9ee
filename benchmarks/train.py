"""`make bench-train`: how right the default recipe is, and how long it takes, beside a plain probe of the last layer.

The plain probe is what tutorials do: scikit-learn's logistic regression on the backbone's last features, standardised,
with its own C of 1; tuned, its C is the one that is best on validation. The pyramid is the default recipe on features
of two sizes of the picture, `backbone.features: pyramid`. All see the same pictures: every set is cut in 60 % for
training, 20 % for validation and 20 % for test, classes alike, by the seeds 0 to 4; of few-shot sets a class keeps 5,
10 or 20 pictures, a quarter of them for validation. The paper's protocol is that of Deitsch et al. 2019: all 2,624
cells, 25 % for test, a cell being defective where the probability in the labels is above one half.
"""

import io
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
from figures import Figure, show
from PIL import Image
from threadpoolctl import threadpool_limits

from imageloom import images
from imageloom.engine import Engine, cores, map_ordered
from imageloom.recipes import probe
from imageloom.recipes.data import Data
from imageloom.recipes.probe import ProbeParams

SEEDS = range(5)
LAST = 1280  # features of the last layer, which stand first
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 1.0)

# Features of training, validation and test pictures and the classes of the first two, to the classes of the last.
Method = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], np.ndarray]


def main() -> None:
    """Measures and prints."""
    warnings.filterwarnings("ignore", module="sklearn")
    cells, doubts = zip(*solar_cells(), strict=True)
    probability = np.array(doubts)
    sure = np.flatnonzero((probability == 0) | (probability == 1))
    with tempfile.TemporaryDirectory() as folder:
        last, multi, pyramid = (backbone(Path(folder), layers) for layers in ("last", "multi", "pyramid"))
        print("embedding ...", file=sys.stderr)
        seconds = {"plain": timed(last, [cells[place] for place in sure])[1]}
        features, took = timed(multi, cells)
        seconds["default"] = took * len(sure) / len(cells)
        digits = timed(multi, list(digits_as_pictures()))[0]
        two_sizes = timed(pyramid, cells)[0]
    demo, classes = features[sure], (probability[sure] == 1).astype(int)
    found = compare("demo", {**methods(demo), "pyramid": (default, two_sizes[sure])}, classes, (0.2, 0.2))
    shares = {figure.name: figure.value for figure in found}
    gain = shares["demo: default"] - shares["demo: plain"]
    found += [Figure("demo: default - plain", gain, "share", ">= 0.02"), *times(seconds, demo, classes)]
    everything = {**methods(features), "pyramid": (default, two_sizes)}
    bars = {"default": ">= 0.87", "pyramid": ">= 0.87"}
    found += compare("2,624 cells, paper's protocol", everything, (probability > 0.5).astype(int), (0.15, 0.25), bars)
    for name, vectors, labels in (("digits", digits, digit_classes()), ("demo", demo, classes)):
        for shots in (5, 10, 20):
            found += compare(f"{name}, {shots} a class", methods(vectors), labels, (0.2, 0.2), shots=shots)
    show("train", found)


def methods(features: np.ndarray) -> dict[str, tuple[Method, np.ndarray]]:
    """What is compared everywhere: how, and on which features."""
    return {"plain": (plain, features[:, :LAST]), "tuned": (tuned, features[:, :LAST]), "default": (default, features)}


def compare(
    name: str,
    compared: dict[str, tuple[Method, np.ndarray]],
    classes: np.ndarray,
    halves: tuple[float, float],
    bars: dict[str, str] | None = None,
    shots: int = 0,
) -> list[Figure]:
    """Accuracy of each, the mean over the seeds; the default's bar is the better plain probe's where none is given."""
    right: dict[str, list[float]] = {kind: [] for kind in compared}
    for seed in SEEDS:
        rows = sides(classes, halves, seed, shots)
        for kind, (method, features) in compared.items():
            said = method([features[side] for side in rows], [classes[side] for side in rows[:2]])
            right[kind].append(float((said == classes[rows[2]]).mean()))
    means = {kind: float(np.mean(shares)) for kind, shares in right.items()}
    bars = bars or {"default": f">= {max(means['plain'], means['tuned']):.4f}"}
    return [Figure(f"{name}: {kind}", share, "share", bars.get(kind, "")) for kind, share in means.items()]


def times(seconds: dict[str, float], features: np.ndarray, classes: np.ndarray) -> Iterator[Figure]:
    """From pictures to a classifier, embedding included; their ratio has a bar."""
    rows = sides(classes, (0.2, 0.2), 0)
    for kind in list(seconds):
        method, seen = methods(features)[kind]
        vectors = [seen[side] for side in rows]
        method(vectors, [classes[side] for side in rows[:2]])  # imports
        start = time.perf_counter()
        method(vectors, [classes[side] for side in rows[:2]])
        fitting = time.perf_counter() - start
        seconds[kind] += fitting
        yield Figure(f"demo: {kind}, fitting", fitting, "s")
        yield Figure(f"demo: {kind}, embedding and fitting", seconds[kind], "s")
    yield Figure("demo: time of default / plain", seconds["default"] / seconds["plain"], "ratio", "< 2")


def regression(strengths: Sequence[float], features: Sequence[np.ndarray], classes: Sequence[np.ndarray]) -> np.ndarray:
    """With strengths a `Method`: scikit-learn's regression on training pictures, its C the best on validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features[0])
    train, validation, test = map(scaler.transform, features)
    models = [LogisticRegression(C=c, max_iter=1000).fit(train, classes[0]) for c in strengths]
    labels = np.unique(classes[0])
    best = min(models, key=lambda one: log_loss(classes[1], one.predict_proba(validation), labels=labels))
    return np.asarray(best.predict(test))


plain, tuned = (partial(regression, strengths) for strengths in ((1.0,), STRENGTHS))


def default(features: Sequence[np.ndarray], classes: Sequence[np.ndarray]) -> np.ndarray:
    """A `Method`: what the stage `train` does where nothing is set."""
    train, validation = (Data(*side) for side in zip(features[:2], classes, strict=True))
    with threadpool_limits(1):
        head = probe.fit(train, validation, int(classes[0].max()) + 1, ProbeParams()).head
    return head.probabilities(features[2]).argmax(axis=1)


def sides(classes: np.ndarray, halves: tuple[float, float], seed: int, shots: int = 0) -> list[np.ndarray]:
    """Rows of training, validation and test pictures; `halves` are the shares of the last two."""
    from sklearn.model_selection import train_test_split

    rest, test = train_test_split(np.arange(len(classes)), test_size=halves[1], stratify=classes, random_state=seed)
    if shots:
        random = np.random.default_rng(seed)
        each = [random.permutation(rest[classes[rest] == number])[:shots] for number in np.unique(classes)]
        cut = max(1, shots // 4)
        return [np.concatenate([rows[cut:] for rows in each]), np.concatenate([rows[:cut] for rows in each]), test]
    share = halves[0] / (1 - halves[1])
    return [*train_test_split(rest, test_size=share, stratify=classes[rest], random_state=seed), test]


def timed(model: Path, pictures: Sequence[bytes]) -> tuple[np.ndarray, float]:
    """Features float32[N, D] as the stage `embed` makes them, and the seconds that it took."""
    engine = Engine(model)
    start = time.perf_counter()
    vectors = map_ordered(lambda data: engine(images.load(data, engine.size)), pictures, cores())
    return np.stack(list(vectors)), time.perf_counter() - start


def backbone(folder: Path, layers: str) -> Path:
    """The packaged network's TFLite graph, by the stage `backbone`."""
    root = folder / layers
    root.mkdir()
    (root / "params.yaml").write_text(f"backbone: {{features: {layers}}}\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "imageloom.cli", "backbone", "-C", str(root)], check=True)
    return root / "models/backbone/backbone.tflite"


def solar_cells() -> Iterator[tuple[bytes, float]]:
    """The photographs of the package elpv-dataset, and how probably each cell is defective."""
    data = resources.files("elpv_dataset") / "data"
    for line in (data / "labels.csv").read_text(encoding="utf-8").splitlines():
        path, probability, _ = line.split()
        yield (data / path).read_bytes(), round(float(probability), 2)


def digits_as_pictures() -> Iterator[bytes]:
    """scikit-learn's digits, dark on light, as PNG files."""
    from sklearn.datasets import load_digits

    for pixels in load_digits().images:
        file = io.BytesIO()
        grey = Image.fromarray((255 - pixels * 255 / 16).astype(np.uint8))
        grey.resize((64, 64), Image.Resampling.BICUBIC).save(file, "PNG")
        yield file.getvalue()


def digit_classes() -> np.ndarray:
    """int[N], which digit each is."""
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().target)


if __name__ == "__main__":
    main()
