"""How fast the checks of stage `clean` are, and how much of what is wrong they find; `make bench-clean` runs it.

Speed is measured on 100,000 feature vectors made from the demo's, each size in a process of its own; what is found, on
the demo with flipped labels and planted near duplicates, and on scikit-learn's digits drawn as pictures.
"""

import io
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from figures import Figure, show

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import flips  # noqa: E402
import planted  # noqa: E402

from imageloom import images, tables  # noqa: E402
from imageloom.clean import duplicates, labels, looks, neighbours, outliers  # noqa: E402
from imageloom.clean.checks import NEIGHBOURS, CheckParams  # noqa: E402
from imageloom.engine import Engine, cores, map_ordered  # noqa: E402
from imageloom.features import FeatureStore  # noqa: E402
from imageloom.files import Paths  # noqa: E402

PATHS = Paths(ROOT)
SMALL, LARGE = 10_000, 100_000
LENGTH = 1280  # of the vectors that are made, as of one layer
SEED = 7
PLANTED = 200
ALIKE = 0.995  # cosine from which two of the vectors that are made count as near duplicates; their noise keeps above it


def demo() -> tuple[list[dict], np.ndarray, np.ndarray]:
    """Rows of the demo's used pictures, their features float32[N, D], and their classes int[N]."""
    rows = [row for row in tables.read(PATHS.clean, tables.CLEAN, "clean").to_pylist() if row["kept"]]
    names = sorted({row["class"] for row in rows})
    return (
        rows,
        FeatureStore(PATHS.features).read([row["id"] for row in rows]),
        np.array([names.index(row["class"]) for row in rows]),
    )


def perturbed(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Features made from the demo's: each lies between two of one class, with noise; one in fifty is a near copy."""
    _, features, classes = demo()
    features = features[:, :LENGTH]
    random = np.random.default_rng(SEED)
    order = np.argsort(classes, kind="stable")
    sizes = np.bincount(classes)
    starts = np.cumsum(sizes) - sizes
    given = random.integers(0, len(sizes), number)
    one, other = (order[starts[given] + random.integers(0, sizes[given])] for _ in range(2))
    spread = features.std(axis=0)
    made = np.empty((number, features.shape[1]), np.float32)
    for start in range(0, number, 4096):
        rows = slice(start, min(start + 4096, number))
        share = random.random((rows.stop - rows.start, 1), np.float32)
        noise = random.standard_normal((rows.stop - rows.start, features.shape[1]), np.float32)
        made[rows] = np.maximum(
            share * features[one[rows]] + (1 - share) * features[other[rows]] + 0.3 * spread * noise, 0
        )
    copies = random.choice(number, number // 50, replace=False)
    originals = random.permutation(np.setdiff1d(np.arange(number), copies))[: len(copies)]
    for copied, original in zip(copies, originals, strict=True):
        noise = random.standard_normal(features.shape[1], np.float32)
        made[copied] = np.maximum(made[original] + 0.02 * spread * noise, 0)
        given[copied] = given[original]
    return made, given


def run(number: int) -> dict[str, float]:
    """All checks that go by features, in this process."""
    features, given = perturbed(number)
    started = time.perf_counter()
    low = neighbours.projected(features)
    near = neighbours.nearest(low, NEIGHBOURS)
    searched = time.perf_counter()
    outliers.scores(near, np.arange(number))
    parts = labels.folds([str(row) for row in range(number)])
    labels.out_of_sample(features, given, parts, features[:0], int(given.max()) + 1)
    ended = time.perf_counter()
    figures = {"seconds": ended - started, "search": searched - started, "labels": ended - searched}
    figures["gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    if number <= SMALL:
        figures["recall"] = recall(features, near)
    return figures


def recall(features: np.ndarray, near: neighbours.Neighbours) -> float:
    """Share of the pairs that brute force finds alike which are among the neighbours, of one or the other."""
    vectors = neighbours.of_length_one(features)
    similar = vectors @ vectors.T
    one, other = np.nonzero(np.triu(similar >= ALIKE, 1))
    both = (near.rows[one] == other[:, None]).any(axis=1) | (near.rows[other] == one[:, None]).any(axis=1)
    return float(both.mean())


def speed() -> list[Figure]:
    """Speed, memory, growth and recall, each size in a process of its own."""
    found = {}
    for number in (SMALL, LARGE):
        command = [sys.executable, __file__, "--only", str(number)]
        found[number] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    small, large = found[SMALL], found[LARGE]
    growth = math.log(large["seconds"] / small["seconds"]) / math.log(LARGE / SMALL)
    return [
        Figure(f"checks on {SMALL:,} x {LENGTH:,} features", small["seconds"], "s"),
        Figure(f"checks on {LARGE:,} x {LENGTH:,} features", large["seconds"], "s", "< 60"),
        Figure("of which neighbours", large["search"], "s"),
        Figure("of which label issues", large["labels"], "s"),
        Figure("memory, features included", large["gigabytes"], "GB", "< 3"),
        Figure(f"growth: cost ~ n^x from {SMALL:,} to {LARGE:,}", growth, "", "< 1.3"),
        Figure(f"near-duplicate recall against brute force, {SMALL:,}", small["recall"], "", ">= 0.99"),
    ]


def doubts() -> list[Figure]:
    """How many flipped labels are found, and what a reviewer who corrects them brings back."""
    rows, features, true = demo()
    groups = np.array([row["group"] for row in rows])
    everything = np.arange(len(rows))
    small = np.random.default_rng(SEED).permutation(len(rows))[:200]
    cases = {
        "10 % of the demo's labels": (everything, None, (">= 0.55", ">= 0.75")),
        "10 %, functional cells only": (everything, [1], ("", "")),
        "10 %, defective cells only": (everything, [0], ("", "")),
        "10 % of 200 pictures": (small, None, ("", "")),
    }
    figures = []
    for name, (chosen, among, bars) in cases.items():
        given = flips.flip(true[chosen], 0.1, SEED, among)
        order = flips.queue(features[chosen], given, groups[chosen].tolist())
        shares = flips.found(order, given, true[chosen])
        figures += [
            Figure(f"{name} flipped: in the first {k}", share, "", bar)
            for k, share, bar in zip(("k", "2k"), shares, bars, strict=True)
        ]
        figures += reviewed(name, chosen, among, bars[0] != "")
    digits, number = drawn_digits()
    given = flips.flip(number, 0.05, SEED)
    order = flips.queue(digits, given, [str(row) for row in range(len(number))])
    return [
        *figures,
        Figure("5 % of digits flipped: in the first k", flips.found(order, given, number)[0], "", ">= 0.9"),
    ]


def reviewed(name: str, chosen: np.ndarray, among: list[int] | None, barred: bool) -> list[Figure]:
    """Accuracy on a fifth of the demo, whose labels are left alone, of probes that learn labels of the rest.

    Args:
        name: Of the case.
        chosen: int[N], rows of the demo; those of them that are not in the fifth are learned.
        among: The classes whose labels are flipped; all, if None.
        barred: Whether the labels of which a reviewer corrected the first 2k must be as good as those before the flips.
    """
    rows, features, true = demo()
    groups = np.array([row["group"] for row in rows])
    test = np.flatnonzero(labels.folds(groups.tolist()) == 0)
    learn = np.setdiff1d(chosen, test)
    given = flips.flip(true[learn], 0.1, SEED, among)
    order = flips.queue(features[learn], given, groups[learn].tolist())

    def accuracy(learned: np.ndarray) -> float:
        found = labels.fit_predict(features[learn], learned, features[test], 2)
        return float((found.argmax(axis=1) == true[test]).mean())

    clean = accuracy(true[learn])
    bar = f">= {clean - 0.01:.4f}" if barred else ""
    return [
        Figure(f"{name}: accuracy before the flips", clean, ""),
        Figure(f"{name}: accuracy with them", accuracy(given), ""),
        Figure(f"{name}: the first 2k corrected", accuracy(flips.corrected(order, given, true[learn])), "", bar),
    ]


def drawn_digits() -> tuple[np.ndarray, np.ndarray]:
    """Features of scikit-learn's 1,797 digits, drawn as pictures of 96 pixels, and which digit each is."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    network = Engine(PATHS.backbone / "backbone.tflite")

    def embed(grey: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray((255 - 15.9 * grey).astype(np.uint8)).resize((96, 96), Image.Resampling.BICUBIC).save(
            file, "PNG"
        )
        return network(images.load(file.getvalue(), network.size, "crop"))

    return np.stack(list(map_ordered(embed, found.images, cores()))), found.target


def copies() -> list[Figure]:
    """How many planted near duplicates are grouped with their original, and how many with others."""
    rows, features, _ = demo()
    random = np.random.default_rng(SEED)
    chosen = random.choice(len(rows), PLANTED, replace=False)
    files = [(PATHS.raw / rows[row]["path"]).read_bytes() for row in chosen]
    made = [planted.copy(data, planted.KINDS[n % len(planted.KINDS)], random) for n, data in enumerate(files)]
    network = Engine(PATHS.backbone / "backbone.tflite")
    added = np.stack([network(images.load(data, network.size, "crop")) for data in made])
    known = {row["id"]: row["print"] for row in tables.read(PATHS.looks, tables.LOOKS, "clean").to_pylist()}
    prints = [known[row["id"]] for row in rows] + [looks.measure(data)["print"] for data in made]
    ids = [row["id"] for row in rows] + [f"copy {n}" for n in range(PLANTED)]
    crawls = np.zeros(len(ids), int)
    near = neighbours.nearest(neighbours.projected(np.concatenate([features, added])), NEIGHBOURS)
    links = duplicates.link(prints, near, crawls, 1 - CheckParams().thresholds.near_duplicates)
    roots = duplicates.group(links, crawls, ids).roots
    grouped = roots[len(rows) :] == roots[chosen]
    before = np.array([row["group"] for row in rows])
    merged = [len(set(before[roots[: len(rows)] == root])) > 1 for root in np.unique(roots[len(rows) :])]
    return [
        Figure(f"{PLANTED} planted near duplicates grouped with their original", float(grouped.mean()), "", ">= 0.95"),
        Figure("groups of them that also hold another picture's group", float(np.mean(merged)), "", "< 0.0101"),
        Figure(
            "the demo's own pictures in groups", float((np.unique(before, return_counts=True)[1] > 1).sum()), "groups"
        ),
    ]


def main() -> None:
    """Measures everything, or with `--only N` one size, which it prints as JSON."""
    if sys.argv[1:2] == ["--only"]:
        print(json.dumps(run(int(sys.argv[2]))))
        return
    if not PATHS.looks.exists():
        sys.exit("error: there is no data/clean/looks.parquet\nhint: run `make run` first")
    show("clean", [*speed(), *doubts(), *copies()])


if __name__ == "__main__":
    main()
