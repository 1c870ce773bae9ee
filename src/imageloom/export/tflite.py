"""Puts TFLite models together on their flatbuffer: pixels in front of a backbone, a classifier behind it.

The classifier's file holds the very graph that made the features on which it was trained and measured, and no second
conversion can make it another.
"""

import numpy as np

from imageloom.recipes.head import Head
from imageloom.tflite_editor import Graph


def take_pixels(graph: Graph) -> int:
    """Has a graph that takes float32[1, S, S, 3] in [0, 1] take uint8[1, S, S, 3]; gives the index of that input."""
    pixels = graph.add_tensor("images", graph.tensor(graph.input).shape, np.uint8)
    scale = graph.schema.QuantizationParametersT()
    # The same float32 by which `engine.py` multiplies, so that the features are those that were trained on.
    scale.scale, scale.zeroPoint = np.array([1 / 255], np.float32), np.array([0], np.int64)
    graph.tensor(pixels).quantization = scale
    graph.put_first(graph.operator("DEQUANTIZE", [pixels], graph.input))
    return pixels


def add_head(graph: Graph, head: Head) -> int:
    """Puts the classifier behind a graph whose output is float32[1, D]; gives the index of its float32[1, K]."""
    count = len(head.bias)
    kernel = graph.add_constant("kernel", np.ascontiguousarray(head.kernel.T, np.float32))
    bias = graph.add_constant("bias", head.bias.astype(np.float32))
    logits, probabilities = (graph.add_tensor(name, (1, count)) for name in ("logits", "probabilities"))
    graph.put_last(
        graph.operator("FULLY_CONNECTED", [graph.output, kernel, bias], logits),
        graph.operator("SOFTMAX", [logits], probabilities, beta=1.0),
    )
    return probabilities


def classifier(backbone: bytes, head: Head) -> Graph:
    """The classifier of a backbone: uint8[1, S, S, 3] pixels to float32[1, K] probabilities.

    Args:
        backbone: A TFLite model from float32[1, S, S, 3] in [0, 1] to float32[1, D].
        head: What was trained on its features.
    """
    graph = Graph(backbone)
    graph.set_ends(take_pixels(graph), add_head(graph, head))
    return graph
