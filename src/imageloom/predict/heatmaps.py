"""Writes pictures as the model sees them, with what speaks for its answer coloured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imageloom import files, heatmap
from imageloom.predict.inputs import Picture
from imageloom.predictor import Prediction, Predictor

SUFFIX = ".heatmap.jpg"

_QUALITY = 90  # of JPEG


def targets(pictures: Sequence[Picture], folder: Path | None) -> list[Path | None]:
    """The file of each picture's heat map, no two the same; None for each without a folder."""
    if folder is None:
        return [None] * len(pictures)
    given: dict[Path, None] = {}
    for picture in pictures:
        place, number = picture.place, 1
        while place in given:
            number += 1
            place = picture.place.with_name(f"{picture.place.stem}-{number}{picture.place.suffix}")
        given[place] = None
    return [folder / place.with_name(place.name + SUFFIX) for place in given]


def write(model: Predictor, pixels: np.ndarray, prediction: Prediction, target: Path) -> None:
    """Writes what speaks for the most probable class.

    Args:
        model: Who answered.
        pixels: uint8[S, S, 3], the picture as it was answered.
        prediction: The answer.
        target: JPEG file.

    Raises:
        ImageloomError: The disk is full, or the folder cannot be written.
    """
    evidence = model.heatmap(pixels, int(prediction.probabilities.argmax()))
    try:
        with files.atomic_file(target) as temporary:
            Image.fromarray(heatmap.overlay(pixels, evidence)).save(temporary, "JPEG", quality=_QUALITY)
    except OSError as fault:  # such as a file where a folder is to be
        raise files.write_fault(target, fault) from fault
