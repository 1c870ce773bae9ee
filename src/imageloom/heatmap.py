"""Where on a picture the evidence for a class lies, and how to show it.

For a linear head on a pooled map the answer is exact: class activation mapping (Zhou et al. 2016). For any other model
parts of the picture are covered and what changes is seen (occlusion, Zeiler and Fergus 2014).
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

_STEPS = 7  # patches that are covered, along each side: as fine as MobileNet's map at 224 pixels

# From weak to strong evidence, as light to dark and blue to red are told apart by everyone: colours of `inferno`.
_RAMP = np.array([[87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float64)
_OPACITY = 0.65  # of the strongest

_QUALITY = 90  # of JPEG


def class_activation(activations: np.ndarray, kernel: np.ndarray, class_index: int) -> np.ndarray:
    """What each place of the map adds to a class's logit, measured against the mean logit of all classes.

    With f[h, w, D] and its mean over places as features x[D], the logit above the mean is x (W_k - mean_j W_j) + const,
    so the mean of what is returned is just that without the constant. The mean over classes is taken off since
    softmax does not see it; a head of two classes may hold all of its weights in one of them.

    Args:
        activations: float32[h, w, D], whose mean over the places is what the head gets.
        kernel: float32[D, K].
        class_index: k.

    Returns:
        float32[h, w]; positive where a place speaks for the class.
    """
    weights = kernel[:, class_index] - kernel.mean(axis=1)
    return np.asarray(activations @ weights, np.float32)


def occlusion(answer: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, class_index: int) -> np.ndarray:
    """How far a class's log-odds fall when a part of the picture is covered with the picture's mean colour.

    Args:
        answer: Gives probabilities float32[K] for uint8[S, S, 3].
        pixels: uint8[S, S, 3].
        class_index: The class.

    Returns:
        float32[h, w]; positive where a place speaks for the class.
    """
    whole = _log_odds(answer(pixels), class_index)
    edges = np.linspace(0, len(pixels), _STEPS + 1).round().astype(int)
    mean = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
    fall = np.zeros((_STEPS, _STEPS), np.float32)
    for row in range(_STEPS):
        for column in range(_STEPS):
            covered = pixels.copy()
            covered[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = mean
            fall[row, column] = whole - _log_odds(answer(covered), class_index)
    return fall


def overlay(pixels: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """The picture with the places coloured that speak for the class; the stronger, the brighter.

    Strong is what is strong beside all evidence, for and against: a picture that speaks against the class stays plain.

    Args:
        pixels: uint8[S, S, 3].
        evidence: float32[h, w], as `class_activation` and `occlusion` give it.

    Returns:
        uint8[S, S, 3].
    """
    for_class = np.maximum(evidence, 0).astype(np.float32)
    height, width = pixels.shape[:2]
    smooth = Image.fromarray(for_class).resize((width, height), Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(smooth) / max(float(np.abs(evidence).max()), 1e-12), 0, 1)[..., None]  # [S, S, 1]
    places = np.linspace(0, 1, len(_RAMP))
    colours = np.concatenate([np.interp(strength, places, channel) for channel in _RAMP.T], axis=2)
    opacity = _OPACITY * strength
    return (pixels * (1 - opacity) + colours * opacity + 0.5).astype(np.uint8)


def jpeg(pixels: np.ndarray) -> bytes:
    """The bytes of a picture uint8[H, W, 3] as a JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _log_odds(probabilities: np.ndarray, class_index: int) -> float:
    share = float(np.clip(probabilities[class_index], 1e-6, 1 - 1e-6))
    return float(np.log(share / (1 - share)))
