"""Pictures altered by chance, anew each time that they are looked at, so that a network does not learn them by heart.

What chance decides comes from the seed and the number of the batch alone (TensorFlow's stateless random numbers), so
that a training which goes on after it was killed sees what it would have seen.
"""

import math
from typing import Any, Literal

from pydantic import Field

from imageloom import graphs
from imageloom.params import StageParams


class AugmentParams(StageParams):
    """By how much pictures are altered at most; with 0 not at all."""

    flip: Literal["none", "horizontal", "both"] = Field(
        default="horizontal",
        description="`horizontal` swaps left and right in half of them; `both` top and bottom too; not for letters",
    )
    crop: float = Field(
        default=0.1, ge=0, le=0.8, description="share of a side that is cut off at one end, and mirrored at the other"
    )
    rotation: float = Field(default=0, ge=0, le=180, description="degrees, both ways; blurs fine texture, as zoom does")
    zoom: float = Field(default=0, ge=0, le=0.5, description="nearer and farther, as a share of the size")
    contrast: float = Field(default=0.15, ge=0, le=1, description="more and less, as a share of what there is")
    brightness: float = Field(default=0.1, ge=0, le=1, description="more and less, as a share of white")
    colour: float = Field(default=0.05, ge=0, le=1, description="of each of red, green and blue, more and less")


def augmented(pixels: Any, seed: Any, params: AugmentParams) -> Any:
    """A batch of pictures, each altered by chance.

    Turned, mirrored, cut and zoomed in one go, since each resampling blurs, and moved by whole pixels: where pictures
    differ by fine texture, half a pixel is enough for a network to take them for others.

    Args:
        pixels: uint8[B, S, S, 3].
        seed: int64[2], of this batch.
        params: See `AugmentParams`.

    Returns:
        float32[B, S, S, 3] in [0, 1].
    """
    tf = graphs.tensorflow()
    images = tf.cast(pixels, tf.float32) / 255
    count = tf.shape(images)[0]
    random = tf.random.stateless_uniform((11, count), seed, -1, 1)  # in [-1, 1), a row for each thing that varies
    if params.crop or params.rotation or params.zoom:
        images = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=_places(random, int(pixels.shape[1]), params),
            output_shape=tf.shape(images)[1:3],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )
    elif params.flip != "none":
        images = tf.where(random[0, :, None, None, None] < 0, images[:, :, ::-1], images)
        if params.flip == "both":
            images = tf.where(random[1, :, None, None, None] < 0, images[:, ::-1], images)
    if params.contrast or params.brightness or params.colour:
        images = _shaded(images, random[6:], params)
    return images


def _places(random: Any, size: int, params: AugmentParams) -> Any:
    """float32[B, 8]: where in the picture each pixel comes from, as ImageProjectiveTransformV3 has it.

    From the centre, q = s R F p + t, where F mirrors, R turns, s is the scale and t says how far it is moved.
    """
    tf = graphs.tensorflow()
    one = tf.ones_like(random[0])
    mirrored_x = tf.where(random[0] < 0, -one, one) if params.flip != "none" else one
    mirrored_y = tf.where(random[1] < 0, -one, one) if params.flip == "both" else one
    angle = random[2] * (params.rotation * math.pi / 180)
    scale = 1 + params.zoom * random[4]
    right, down = (tf.round(random[place] * params.crop * size) for place in (3, 5))
    centre = (size - 1) / 2
    xx, xy = scale * tf.cos(angle) * mirrored_x, -scale * tf.sin(angle) * mirrored_y
    yx, yy = scale * tf.sin(angle) * mirrored_x, scale * tf.cos(angle) * mirrored_y
    left = centre + right - centre * (xx + xy)
    top = centre + down - centre * (yx + yy)
    none = tf.zeros_like(one)
    return tf.stack([xx, xy, left, yx, yy, top, none, none], axis=1)


def _shaded(images: Any, random: Any, params: AugmentParams) -> Any:
    tf = graphs.tensorflow()
    contrast = (1 + params.contrast * random[0])[:, None, None, None]
    brightness = (params.brightness * random[1])[:, None, None, None]
    colour = (1 + params.colour * tf.transpose(random[2:5]))[:, None, None, :]
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    return tf.clip_by_value((images * contrast + (mean * (1 - contrast) + brightness)) * colour, 0.0, 1.0)
