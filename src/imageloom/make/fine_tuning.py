"""The flags of make_image_classifier's fine-tuning, as parameters of the recipe `finetune`."""

import argparse
from collections.abc import Sequence
from typing import Any

# Parameter -> flag. Where a flag is not given, the recipe's own default holds: it has another optimiser than they had.
FLAGS = {
    "epochs": "--train_epochs",
    "batch_size": "--batch_size",
    "learning_rate": "--learning_rate",
    "dropout": "--dropout_rate",
    "label_smoothing": "--label_smoothing",
    "augment.rotation": "--rotation_range",
    "augment.zoom": "--zoom_range",
    "augment.crop": "--width_shift_range or --height_shift_range",
}

_OF_AUGMENTATION = ("rotation_range", "width_shift_range", "height_shift_range", "zoom_range")
_WITHOUT_MEANING = ("momentum", "l1_regularizer", "l2_regularizer")
_STILL = {"flip": "none", "crop": 0, "contrast": 0, "brightness": 0, "colour": 0}


def section(arguments: argparse.Namespace, given: Sequence[str]) -> dict[str, Any]:
    """Parameters of the recipe.

    Args:
        arguments: As parsed.
        given: Those of the flags of a training by steps that were given.
    """
    names = {flag.removeprefix("--"): name for name, flag in FLAGS.items()}
    found: dict[str, Any] = {names[flag]: getattr(arguments, flag) for flag in given if flag in names}
    if arguments.label_smoothing is not None:
        found["label_smoothing"] = arguments.label_smoothing
    found["augment"] = _augment(arguments)
    if arguments.distribution_strategy:
        found["strategy"] = arguments.distribution_strategy
    return found | ({"mixed_precision": False} if arguments.use_mixed_precision is False else {})


def _augment(arguments: argparse.Namespace) -> dict[str, Any]:
    if not arguments.do_data_augmentation:
        return dict(_STILL)
    found: dict[str, Any] = {"flip": "none"} if arguments.horizontal_flip is False else {}
    shifts = [one for one in (arguments.width_shift_range, arguments.height_shift_range) if one is not None]
    if shifts:
        found["crop"] = max(shifts)
    asked = {"rotation": arguments.rotation_range, "zoom": arguments.zoom_range}
    return found | {name: value for name, value in asked.items() if value is not None}


def notes(arguments: argparse.Namespace, given: Sequence[str]) -> list[str]:
    """Lines that tell which flags say nothing."""
    found = ["--do_fine_tuning: the network itself is trained; where there is no GPU that takes minutes"]
    of_augmentation = [flag for flag in _OF_AUGMENTATION if getattr(arguments, flag) is not None]
    for silent, why in (
        ([flag for flag in given if flag in _WITHOUT_MEANING], "any more: steps are AdamW's"),
        ([] if arguments.shear_range is None else ["shear_range"], "any more: pictures are not sheared"),
        ([] if arguments.do_data_augmentation else of_augmentation, "without --do_data_augmentation"),
    ):
        if silent:
            found.append(f"{', '.join(f'--{flag}' for flag in silent)}: no meaning {why}")
    return found
