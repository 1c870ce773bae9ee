"""How near `imageloom predict` on a folder comes to what the processors can do; `make bench-export` runs it.

The limit is a bare loop, one thread per processor, each decoding, resizing and invoking its own LiteRT interpreter on
its share of the files. The command's rate is what many pictures take longer than few, so that its start does not count.
Both take turns, and every run is a process of its own. The model is the project's, in models/export/.
"""

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from figures import Figure, show

from imageloom.engine import cores

EXPORT = Path(__file__).parents[1] / "models" / "export"

FEW, MANY, ROUNDS = 100, 2_600, 5


def main() -> None:
    """Measures and prints."""
    if len(sys.argv) == 2:
        bare_loop(Path(sys.argv[1]))
        return
    model = EXPORT / "model.tflite"
    if not model.exists():
        sys.exit("error: there is no models/export/model.tflite\nhint: run `make run` first")
    with tempfile.TemporaryDirectory() as scratch:
        one, few, many = (linked(Path(scratch) / str(number), number) for number in (1, FEW, MANY))
        bare, ours, peaks = [bare_rate(model)], [], []
        for _ in range(ROUNDS):
            short, _ = run(few)
            long, peak = run(many)
            ours.append((MANY - FEW) / (long - short))
            peaks.append(peak)
            bare.append(bare_rate(model))
        start = min(run(one)[0] for _ in range(3))
    limit, rate = statistics.median(bare), statistics.median(ours)
    show(
        "predict",
        [
            Figure("bare loop (median)", limit, "images/s"),
            Figure("predict on a folder (median)", rate, "images/s"),
            Figure("predict / bare loop", rate / limit, "ratio", ">= 0.9"),
            Figure("predict, one picture (best of 3)", start, "s", "< 1"),
            Figure(f"peak memory, {MANY:,} images", max(peaks), "MB"),
        ],
    )


def linked(folder: Path, number: int) -> Path:
    """A folder with that many of the demo's pictures."""
    folder.mkdir()
    for index, path in enumerate(sources()[:number]):
        (folder / f"{index:05}.png").symlink_to(path)
    return folder


def sources() -> list[Path]:
    """The demo's pictures."""
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or package.origin is None:
        sys.exit("error: the demo's pictures are not installed\nhint: run `make setup`")
    return sorted((Path(package.origin).parent / "data" / "images").glob("*.png"))


def run(folder: Path) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of the command on a folder."""
    command = [sys.executable, "-m", "imageloom.cli", "predict", str(folder), "--json", "--model", str(EXPORT)]
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit("imageloom predict failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def bare_rate(model: Path) -> float:
    """Images a second of the bare loop, in a process of its own."""
    answer = subprocess.run([sys.executable, __file__, str(model)], capture_output=True, text=True, check=True)
    return float(answer.stdout.split()[-1])


def bare_loop(model: Path) -> None:
    """Decode, resize, invoke: nothing else. Prints images a second."""
    import io

    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from PIL import Image

    files = sources()[: MANY - FEW]
    ready = threading.Barrier(cores() + 1)

    def work(share: list[Path]) -> None:
        interpreter = Interpreter(str(model), num_threads=1)
        interpreter.allocate_tensors()
        into, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        ready.wait()
        for path in share:
            image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
            image = image.resize((224, 224), Image.Resampling.BILINEAR)
            interpreter.set_tensor(into, np.asarray(image)[np.newaxis])
            interpreter.invoke()
            interpreter.get_tensor(out)

    threads = [threading.Thread(target=work, args=(files[index :: cores()],)) for index in range(cores())]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    print(len(files) / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
