"""A network that has learnt nothing: the pixels of a picture, one after another, as its features.

Written as the backbone's are, as TFLite and backbone.json, so that all which stands on features stands on pixels too.
"""

from pathlib import Path

import numpy as np

from imageloom import files
from imageloom.tflite_editor import Graph

# Of red, green and blue, how bright each is: ITU-R BT.601, as Pillow and OpenCV have it.
GREY = np.array([[0.299, 0.587, 0.114]], np.float32)


def write(folder: Path, size: int, grey: bool) -> None:
    """Writes `backbone.tflite` and `backbone.json`.

    Args:
        folder: Where to.
        size: Side of the pictures, in pixels.
        grey: Whether a pixel is one number, or else red, green and blue.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, channels = folder / "backbone.tflite", 1 if grey else 3
    length = size * size * channels
    graph = Graph.empty()
    images = graph.add_tensor("images", (1, size, size, 3))
    pixels = images
    if grey:
        pixels = graph.add_tensor("grey", (1, size, size, 1))
        weights = graph.add_constant("weights", GREY)
        graph.put_last(graph.operator("FULLY_CONNECTED", [images, weights, -1], pixels, keepNumDims=True))
    vector = graph.add_tensor("features", (1, length))
    shape = graph.add_constant("shape", np.array([1, length], np.int32))
    graph.put_last(graph.operator("RESHAPE", [pixels, shape], vector))
    graph.set_ends(images, vector)
    target.write_bytes(graph.to_bytes())
    about = {
        "module": f"pixels, {'grey' if grey else 'RGB'}",
        "image_size": size,
        "features": length,
        "layers": "last",
        "licence": None,
        "sha256": files.sha256(target),
    }
    files.write_json(folder / "backbone.json", about)
