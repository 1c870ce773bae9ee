"""Writes the classifier as a SavedModel, with TensorFlow's own ways to look at encoded pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from imageloom import graphs
from imageloom.export.check import Answer
from imageloom.images import Aspect
from imageloom.recipes.head import Head

_HEADER = 1 << 16  # bytes in which a camera's orientation stands: a JPEG's APP1 segment is no longer


@dataclass(frozen=True)
class Input:
    """What the classifier looks at.

    Args:
        size: Side of the pictures, in pixels.
        aspect: How a picture becomes square.
    """

    size: int
    aspect: Aspect


class _Prepared(NamedTuple):
    """A classifier whose last layer is zero, and its signatures."""

    module: Any
    signatures: dict[str, Any]
    looks_at: Input
    shape: tuple[int, int]


# What was prepared ahead and not written yet, by the backbone's SavedModel.
_ready: dict[Path, _Prepared] = {}


def prepare(backbone: Path, module: Any, looks_at: Input, shape: tuple[int, int]) -> None:
    """Does ahead what `write` does without knowing the classifier, which is most of it.

    Args:
        backbone: The backbone's SavedModel, which need not be there.
        module: What it holds.
        looks_at: See `Input`.
        shape: Of the classifier's kernel: D features and K classes.
    """
    _ready[backbone] = _prepared(module, looks_at, shape)


def write(target: Path, backbone: Path, head: Head, looks_at: Input, labels: Path) -> None:
    """Writes a SavedModel with three signatures and the labels as an asset.

    `serving_default` takes `images`, uint8[N, S, S, 3] RGB, and gives `probabilities`, float32[N, K]; `features` takes
    the same and gives `features`, float32[N, D], beside them; `serving_bytes` takes `images`, string[N] of encoded
    JPEG, PNG, GIF or BMP, and gives `probabilities`.

    Args:
        target: The folder to make.
        backbone: The backbone's SavedModel.
        head: The classifier.
        looks_at: See `Input`.
        labels: The file `labels.txt`.
    """
    ready = _ready.pop(backbone, None)
    if ready is None or (ready.looks_at, ready.shape) != (looks_at, head.kernel.shape):
        loaded = ready.module.backbone if ready else graphs.tensorflow().saved_model.load(str(backbone))
        ready = _prepared(loaded, looks_at, head.kernel.shape)
    ready.module.kernel.assign(head.kernel)
    ready.module.bias.assign(head.bias)
    ready.module.labels = graphs.tensorflow().saved_model.Asset(str(labels))
    graphs.save(ready.module, target, signatures=ready.signatures)


def _prepared(backbone: Any, looks_at: Input, shape: tuple[int, int]) -> _Prepared:
    tf = graphs.tensorflow()
    module = tf.Module()
    module.backbone = backbone
    module.kernel, module.bias = tf.Variable(tf.zeros(shape)), tf.Variable(tf.zeros(shape[1]))

    def look_inside(images: Any) -> dict[str, Any]:
        features = graphs.feature_vectors(module.backbone, tf.cast(images, tf.float32) / 255.0)
        logits = tf.matmul(features, module.kernel) + module.bias
        return {"features": features, "probabilities": tf.nn.softmax(logits)}

    def classify(images: Any) -> dict[str, Any]:
        return {"probabilities": look_inside(images)["probabilities"]}

    def classify_bytes(images: Any) -> dict[str, Any]:
        shape = (looks_at.size, looks_at.size, 3)

        def look(data: Any) -> Any:
            return decode(data, looks_at)

        return classify(tf.map_fn(look, images, fn_output_signature=tf.TensorSpec(shape, tf.uint8)))

    pixels = tf.TensorSpec((None, looks_at.size, looks_at.size, 3), tf.uint8, name="images")
    encoded = tf.TensorSpec((None,), tf.string, name="images")
    signatures = {
        name: tf.function(function, autograph=False).get_concrete_function(spec)
        for name, function, spec in (
            ("serving_default", classify, pixels),
            ("serving_bytes", classify_bytes, encoded),
            ("features", look_inside, pixels),
        )
    }
    return _Prepared(module, signatures, looks_at, shape)


def decode(data: Any, looks_at: Input) -> Any:
    """An encoded picture as the classifier looks at it, in TensorFlow's operations: uint8[S, S, 3].

    It follows `images.load` step by step: the first frame, transparency on white, the camera's turn, the square, and an
    antialiased bilinear resize. Large JPEGs differ a little: images.py has the decoder shrink them.

    Args:
        data: string[], JPEG, PNG, GIF or BMP.
        looks_at: See `Input`.
    """
    tf = graphs.tensorflow()
    png = tf.equal(tf.strings.substr(data, 0, 8), b"\x89PNG\r\n\x1a\n")
    rgb = tf.cond(png, lambda: _on_white(tf.io.decode_png(data, channels=4)), lambda: _rgb(data))
    upright = _turn(rgb, _orientation(data))
    square = _square(upright, looks_at)
    return tf.ensure_shape(square, (looks_at.size, looks_at.size, 3))


def _rgb(data: Any) -> Any:
    # The slower, exact inverse transform: it is the one that Pillow uses.
    tf = graphs.tensorflow()
    jpeg = tf.equal(tf.strings.substr(data, 0, 2), b"\xff\xd8")
    return tf.cond(
        jpeg,
        lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
    )


def _on_white(rgba: Any) -> Any:
    tf = graphs.tensorflow()
    colours, alpha = tf.cast(rgba[..., :3], tf.float32), tf.cast(rgba[..., 3:], tf.float32) / 255
    return tf.cast(tf.round(colours * alpha + 255 * (1 - alpha)), tf.uint8)


def _orientation(data: Any) -> Any:
    """The number, int32[] from 1 to 8, with which a camera told how it was held (Exif 2.32, tag 0x0112); 1 if none.

    Exif's entry is the tag, its kind (3: a short), how many (1) and the value, in either order of bytes.
    """
    tf = graphs.tensorflow()
    header = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, _HEADER), tf.uint8), tf.int32)
    header = tf.concat([header, tf.zeros(12, tf.int32)], 0)
    places = tf.signal.frame(header, 12, 1)  # [n, 12], every place where an entry may stand
    found = []
    for entry, value in (((1, 18, 0, 3, 0, 0, 0, 1), 9), ((18, 1, 3, 0, 1, 0, 0, 0), 8)):
        matches = tf.reduce_all(tf.equal(places[:, :8], tf.constant(entry)), axis=1)
        values = tf.boolean_mask(places[:, value], matches)
        found.append(tf.concat([values, [1]], 0)[0])
    camera = tf.reduce_max(tf.stack(found))
    return tf.where(camera <= 8, camera, 1)


def _turn(image: Any, orientation: Any) -> Any:
    """Sets a picture upright: Exif's orientations as mirrors along the axes, and a swap of the axes from 5 on."""
    tf = graphs.tensorflow()
    swapped = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    # Of the (where needed, swapped) picture: 2 and 3, 6 and 7 are mirrored left to right; 3 and 4, 7 and 8 upside down.
    across = tf.reduce_any(tf.equal(orientation, [2, 3, 6, 7]))
    down = tf.reduce_any(tf.equal(orientation, [3, 4, 7, 8]))
    swapped = tf.cond(across, lambda: swapped[:, ::-1], lambda: swapped)
    return tf.cond(down, lambda: swapped[::-1], lambda: swapped)


def _square(image: Any, looks_at: Input) -> Any:
    tf = graphs.tensorflow()
    shape = tf.shape(image)
    height, width = shape[0], shape[1]
    size = looks_at.size
    if looks_at.aspect == "crop":
        side = tf.minimum(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
    if looks_at.aspect != "pad":
        return _resize(image, (size, size))
    scale = size / tf.maximum(height, width)
    inner = [tf.maximum(1, tf.cast(tf.round(tf.cast(side, tf.float64) * scale), tf.int32)) for side in (height, width)]
    before = [(size - side) // 2 for side in inner]
    after = [size - side - margin for side, margin in zip(inner, before, strict=True)]
    bars = [[before[0], after[0]], [before[1], after[1]], [0, 0]]
    return tf.pad(_resize(image, inner), bars, constant_values=255)


def _resize(image: Any, size: Any) -> Any:
    tf = graphs.tensorflow()
    numbers = tf.image.resize(tf.cast(image, tf.float32), size, method="bilinear", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(numbers), 0, 255), tf.uint8)


def answer(saved_model: Path) -> Answer:
    """What `features` says, whose probabilities are those of `serving_default`."""
    signature = graphs.tensorflow().saved_model.load(str(saved_model)).signatures["features"]

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        said = signature(images=pixels)
        return said["probabilities"].numpy(), said["features"].numpy()

    return run
