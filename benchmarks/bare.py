"""What the processors can do: one thread for each, decoding, resizing and invoking its own LiteRT interpreter.

`python benchmarks/bare.py MODEL N` prints images a second on N of the demo's pictures; `rate` runs that in a process of
its own.
"""

import importlib.util
import io
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from imageloom.engine import cores


def pictures() -> list[Path]:
    """The demo's pictures."""
    package = importlib.util.find_spec("elpv_dataset")
    if package is None or package.origin is None:
        sys.exit("error: the demo's pictures are not installed\nhint: run `make setup`")
    return sorted((Path(package.origin).parent / "data" / "images").glob("*.png"))


def rate(model: Path, number: int) -> float:
    """Images a second of the bare loop, in a process of its own.

    Args:
        model: A `.tflite` file that takes uint8[1, 224, 224, 3], or float32 in [0, 1].
        number: Of pictures.
    """
    command = [sys.executable, __file__, str(model), str(number)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _loop(model: Path, number: int) -> float:
    files = pictures()[:number]
    ready = threading.Barrier(cores() + 1)

    def work(share: list[Path]) -> None:
        interpreter = Interpreter(str(model), num_threads=1)
        interpreter.allocate_tensors()
        given, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
        ready.wait()
        for path in share:
            image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
            pixels = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))[np.newaxis]
            if given["dtype"] == np.float32:
                pixels = np.asarray(pixels, np.float32) / 255
            interpreter.set_tensor(given["index"], pixels)
            interpreter.invoke()
            interpreter.get_tensor(out)

    threads = [threading.Thread(target=work, args=(files[index :: cores()],)) for index in range(cores())]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return len(files) / (time.perf_counter() - start)


if __name__ == "__main__":
    print(_loop(Path(sys.argv[1]), int(sys.argv[2])))
