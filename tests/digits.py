"""Handwritten digits, real and small: those that scikit-learn carries, as pictures."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

DIGITS = (0, 3, 6)
EACH = 50


def pictures(digit: int, number: int = EACH) -> Iterator[bytes]:
    """PNGs of a digit, 8 x 8 tones made large enough for a backbone of 32 pixels."""
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    for tones in images[digits == digit][:number]:
        pixels = np.clip(tones.reshape(8, 8) * 255 / 16, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BOX).convert("RGB").save(file, "PNG")
        yield file.getvalue()
