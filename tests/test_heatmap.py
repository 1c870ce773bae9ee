"""The evidence lies where it is, sums to the answer, and is seen on the picture."""

import numpy as np
import pytest

from imageloom import heatmap, images
from imageloom.recipes.head import Head


def test_class_activations_sum_to_the_logit_above_the_mean():
    random = np.random.default_rng(0)
    activations = random.normal(size=(7, 5, 30)).astype(np.float32)
    head = Head(random.normal(size=(30, 4)).astype(np.float32), random.normal(size=4).astype(np.float32))
    logits = np.log(head.probabilities(activations.mean(axis=(0, 1))[np.newaxis])[0])
    for index in range(4):
        evidence = heatmap.class_activation(activations, head.kernel, index)
        assert evidence.shape == (7, 5)
        constant = head.bias[index] - head.bias.mean()
        assert evidence.mean() + constant == pytest.approx(logits[index] - logits.mean(), abs=1e-4)


def test_two_classes_speak_against_each_other_even_where_one_has_no_weights():
    activations = np.random.default_rng(0).normal(size=(7, 7, 9)).astype(np.float32)
    kernel = np.stack([np.zeros(9), np.arange(9) - 4.0], axis=1).astype(np.float32)
    first, second = (heatmap.class_activation(activations, kernel, index) for index in (0, 1))
    assert first == pytest.approx(-second, abs=1e-5)
    assert np.abs(first).max() > 1


def spot(row: int, column: int, size: int = 70) -> np.ndarray:
    """Grey noise, and a bright red square of a tenth of the side."""
    pixels = np.random.default_rng(0).integers(90, 110, (size, size, 3), np.uint8)
    pixels[row : row + size // 10, column : column + size // 10] = (255, 0, 0)
    return pixels


def redness(pixels: np.ndarray) -> np.ndarray:
    """Probabilities of `red` and `not red`, by the share of red pixels."""
    share = (pixels[..., 0].astype(int) - pixels[..., 1] > 100).mean()
    red = 1 / (1 + np.exp(3 - 1000 * share))
    return np.array([red, 1 - red], np.float32)


@pytest.mark.parametrize(("row", "column"), [(2, 2), (2, 62), (31, 42), (62, 12)])
def test_occlusion_finds_the_part_that_decides(row, column):
    evidence = heatmap.occlusion(redness, spot(row, column), 0)
    assert evidence.shape == (7, 7)
    assert np.unravel_index(evidence.argmax(), evidence.shape) == (row // 10, column // 10)
    assert np.unravel_index(heatmap.occlusion(redness, spot(row, column), 1).argmin(), (7, 7)) == (
        row // 10,
        column // 10,
    )


def test_overlay_changes_the_picture_where_the_evidence_is_and_nowhere_else():
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    evidence = np.full((7, 7), -1, np.float32)
    evidence[1, 5] = 2
    shown = heatmap.overlay(pixels, evidence)
    assert (shown.shape, shown.dtype) == (pixels.shape, np.uint8)
    change = np.abs(shown.astype(int) - pixels).sum(axis=2)
    assert change[32:64, 160:192].mean() > 50
    assert change[:, :96].max() == 0
    assert change[128:].max() == 0


def test_evidence_is_weak_or_strong_beside_what_speaks_against():
    pixels = np.full((50, 50, 3), 128, np.uint8)
    evidence = np.zeros((5, 5), np.float32)
    evidence[1, 1] = 1
    strong = heatmap.overlay(pixels, evidence).astype(int)
    evidence[4, 4] = -10
    weak = heatmap.overlay(pixels, evidence).astype(int)
    assert 0 < np.abs(weak - 128).max() < np.abs(strong - 128).max() / 3


def test_a_jpeg_is_the_picture():
    pixels = np.full((40, 60, 3), (200, 40, 30), np.uint8)
    assert np.abs(images.load(heatmap.jpeg(pixels)).astype(int) - pixels).max() < 6


def test_overlay_of_no_evidence_is_the_picture():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    for evidence in (np.zeros((7, 7), np.float32), np.full((3, 3), -5, np.float32)):
        assert np.array_equal(heatmap.overlay(pixels, evidence), pixels)
