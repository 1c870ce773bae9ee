"""`make bench-export`: how fast, how large and how right each exported format is; the project's own, in models/export/.

Formats take turns, picture by picture, on one thread and on two, and the fastest of many counts: what else runs on the
machine slows some and not others. Accuracy is on all test pictures.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from figures import Figure, show

from imageloom import card, images, tables
from imageloom.engine import Engine, cores, map_ordered
from imageloom.files import Paths
from imageloom.quiet import no_native_stderr

ROOT = Path(__file__).parents[1]
FORMATS = ("float32", "float16", "int8")
REPEATS = 200


def main() -> None:
    """Measures and prints."""
    paths = Paths(ROOT)
    if not (paths.export / card.CARD_FILE).exists():
        sys.exit("error: there is no models/export/model.json\nhint: run `make run` first")
    model = card.read(paths.export)
    entries = {name: model.content["formats"][name] for name in FORMATS if name in model.content["formats"]}
    files = {name: paths.export / entry["file"] for name, entry in entries.items()}
    figures, right = [], accuracies(model, files, paths)
    for threads in (1, 2):
        found = milliseconds(files, threads)
        figures += [Figure(f"{name}, {threads} thread{'s'[: threads - 1]}", ms, "ms") for name, ms in found.items()]
        if threads == 1 and "int8" in found:
            figures.append(Figure("float32 / int8, 1 thread", found["float32"] / found["int8"], "ratio", ">= 1.8"))
    figures += [Figure(f"{name}, size", entry["bytes"] / 1e6, "MB") for name, entry in entries.items()]
    figures += [Figure(f"{name}, accuracy", share, "share") for name, share in right.items()]
    if "int8" in entries:
        figures.append(
            Figure("int8 / float32, size", entries["int8"]["bytes"] / entries["float32"]["bytes"], "ratio", "< 0.3334")
        )
        figures.append(Figure("int8 - float32, accuracy", right["int8"] - right["float32"], "share", ">= -0.01"))
    show("export", figures)


def milliseconds(files: dict[str, Path], threads: int) -> dict[str, float]:
    """How long each takes for a picture."""
    interpreters = {name: interpreter(path, threads) for name, path in files.items()}
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(REPEATS):
        for name, one in interpreters.items():
            start = time.perf_counter()
            one.invoke()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(times) * 1000 for name, times in seconds.items()}


def interpreter(path: Path, threads: int) -> Any:
    """LiteRT's, ready for a picture of noise."""
    from ai_edge_litert.interpreter import Interpreter

    with no_native_stderr():
        made = Interpreter(str(path), num_threads=threads)
        made.allocate_tensors()
    into = made.get_input_details()[0]
    made.set_tensor(into["index"], np.random.default_rng(0).integers(0, 256, into["shape"]).astype(into["dtype"]))
    return made


def accuracies(model: card.Card, files: dict[str, Path], paths: Paths) -> dict[str, float]:
    """Share of the test pictures on which each is right."""
    split = tables.read(paths.split, tables.SPLIT, "split").to_pylist()
    rows = [row for row in split if row["side"] == "test"]
    engines = {name: Engine(path) for name, path in files.items()}

    def look(row: dict[str, Any]) -> list[bool]:
        pixels = images.load((paths.raw / row["path"]).read_bytes(), model.size, model.aspect)
        return [model.names[engine(pixels).argmax()] == row["class"] for engine in engines.values()]

    right = np.array(list(map_ordered(look, rows, cores())))
    return dict(zip(engines, right.mean(axis=0).tolist(), strict=True))


if __name__ == "__main__":
    main()
