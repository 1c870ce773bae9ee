"""The flags of make_image_classifier under their old names, and what they mean now.

A flag that cannot mean anything any more is taken and told of in one line, so that an old script runs as it is.
"""

import argparse
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageloom.backbone.stage import DEFAULT, KERAS, PACKAGED, WEIGHTS
from imageloom.clean.checks import Thresholds
from imageloom.errors import ImageloomError
from imageloom.make import fine_tuning
from imageloom.make.project import default_cache


def number(text: str) -> float:
    """A finite number.

    Raises:
        ValueError: It is none.
    """
    found = float(text)
    if not math.isfinite(found):
        raise ValueError
    return found


# Flags of a training by steps -> parameter of the recipe `head`, type, and the default that they had.
STEPS: dict[str, tuple[str, Callable[[str], Any], float]] = {
    "train_epochs": ("epochs", int, 5),
    "batch_size": ("batch_size", int, 32),
    "learning_rate": ("learning_rate", number, 0.005),
    "momentum": ("momentum", number, 0.9),
    "dropout_rate": ("dropout", number, 0.2),
    "l1_regularizer": ("l1", number, 0.0),
    "l2_regularizer": ("l2", number, 0.0001),
}

_FOR_REVIEW = sorted(Thresholds.model_fields.keys() - {"near_duplicates", "two_classes"})

_SMOOTHING = 0.1  # that label_smoothing had

# How a flag's number is told where its stage refuses it.
_PARAMETERS = {f"train.head.{name}": f"--{flag}" for flag, (name, _, _) in STEPS.items()}
_PARAMETERS |= {f"train.finetune.{name}": flag for name, flag in fine_tuning.FLAGS.items()}
_PARAMETERS |= {
    "train.head.label_smoothing": "--label_smoothing",
    "train.probe.label_smoothing": "--label_smoothing",
    "backbone.image_size": "--image_size",
    "backbone.features": "--features",
    "`features: last`": "`--features last`",
    "backbone.module": "--tfhub_module",
    "backbone.weights": "--weights",
    "split.test": "--validation_split",
    "split.validation": "--validation_split",
}

# Flags about pictures that are altered anew in each epoch -> type.
_AUGMENTATION: dict[str, Callable[[str], Any]] = {
    "rotation_range": int,
    "width_shift_range": number,
    "height_shift_range": number,
    "shear_range": number,
    "zoom_range": number,
}


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Args:
        sections: Of params.yaml.
        notes: Lines that tell how flags were understood, or that they say nothing.
    """

    sections: dict[str, Any]
    notes: list[str]


class _Switch(argparse.Action):
    """A flag that is on or off as absl has them: --x, --nox, --x=true, --x=false."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__([*option_strings, f"--no{dest}"], dest, nargs="?", metavar="true|false", **options)

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        words = {None: True, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        word = values.lower() if isinstance(values, str) else None
        if word not in words:
            parser.error(f"argument {option}: {values!r} is neither true nor false")
        setattr(namespace, self.dest, words[word] != (option == f"--no{self.dest}"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares them all, the old ones by their old names."""
    asked = parser.add_argument_group("what to train on, and with")
    asked.add_argument(
        "--image_dir", type=Path, required=True, metavar="DIR", help="holds a folder of pictures for each class"
    )
    asked.add_argument(
        "--tfhub_module",
        default=DEFAULT,
        metavar="MODULE",
        help="an image feature vector of TF-Hub: an https address, a folder or a .tar.gz; efficientnet_lite0_224, "
        f"which is packaged too; or `{KERAS}` and the name of one of Keras' networks (default: %(default)s)",
    )
    asked.add_argument(
        "--weights",
        metavar="FILE",
        help="of a network of Keras: a file that Keras wrote, `none` for random numbers, or `imagenet`, which is "
        "downloaded once (default: imagenet)",
    )
    asked.add_argument(
        "--image_size",
        type=int,
        metavar="PIXELS",
        help="side of the pictures that it sees (default: the one in its name, or 224; 320 with --features pyramid)",
    )
    asked.add_argument(
        "--features",
        choices=("last", "multi", "pyramid"),
        help="what of the packaged network is trained on: `last`, its last layer; `multi`, earlier ones beside it; "
        "`pyramid`, `multi` of the picture and of the picture at half its size (default: multi)",
    )
    asked.add_argument(
        "--recipe",
        choices=("probe", "head", "finetune"),
        help="`probe`: logistic regression; `head`: a layer trained step by step, as make_image_classifier did; "
        "`finetune`: the network itself, as --do_fine_tuning did "
        "(default: probe, or head where one of its flags is given)",
    )
    asked.add_argument(
        "--validation_split",
        type=number,
        default=0.2,
        metavar="SHARE",
        help="of each class's pictures, held out to measure on; half as many more choose settings "
        "(default: %(default)s)",
    )
    _add_written(parser)
    _add_steps(parser)
    _add_altering(parser)


def _add_written(parser: argparse.ArgumentParser) -> None:
    written = parser.add_argument_group("what is written")
    for name, what in (
        ("saved_model_dir", "the SavedModel, for TensorFlow Serving; other files that are there stay"),
        ("tflite_output_file", "the TFLite file, for phones"),
        ("labels_output_file", "the classes, one a line, in the order of the model's answers"),
        ("export_dir", "all of these and more, as `imageloom predict --model` and `serve --model` take it"),
        ("summaries_dir", "history.csv, what was tried in training; by epochs for TensorBoard, too"),
    ):
        metavar = "FILE" if name.endswith("file") else "DIR"
        written.add_argument(f"--{name}", type=Path, metavar=metavar, help=what)
    written.add_argument(
        "--assert_accuracy_at_least",
        type=number,
        metavar="SHARE",
        help="write nothing and end with code 2 where the share of right answers is lower",
    )
    written.add_argument(
        "--cache_dir",
        default=str(default_cache()),
        metavar="DIR",
        help="where features are kept, so that only new pictures cost something the next time; '' keeps nothing "
        "(default: %(default)s)",
    )


def _add_steps(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_argument_group("of the recipe head, with its defaults; finetune has others")
    for flag, (_, kind, default) in STEPS.items():
        steps.add_argument(f"--{flag}", type=kind, metavar="N", help=f"(default: {default:g})")
    steps.add_argument(
        "--label_smoothing", type=number, metavar="SHARE", help=f"of the probe, too (default: {_SMOOTHING}; 0 of probe)"
    )


def _add_altering(parser: argparse.ArgumentParser) -> None:
    other = parser.add_argument_group("of fine-tuning and of altered pictures; told of where they say nothing")
    for name, what in (
        ("do_fine_tuning", "train the network itself, too: the recipe finetune"),
        ("do_data_augmentation", "train on other looks at each picture, too"),
        ("horizontal_flip", "with --do_data_augmentation: mirrored ones among them (default: true)"),
        ("use_mixed_precision", "of fine-tuning"),
    ):
        other.add_argument(f"--{name}", action=_Switch, help=what)
    for name, kind in _AUGMENTATION.items():
        other.add_argument(f"--{name}", type=kind, metavar="N")
    other.add_argument("--distribution_strategy", choices=("", "mirrored"))


def read(arguments: argparse.Namespace) -> Wish:
    """The parameters that the flags stand for.

    Raises:
        ImageloomError: A flag is out of its range, or two contradict each other.
    """
    if arguments.do_fine_tuning and arguments.recipe not in (None, "finetune"):
        raise ImageloomError(
            f"--do_fine_tuning trains the network itself, and --recipe {arguments.recipe} does not",
            "leave one of them out",
        )
    if not 0 < arguments.validation_split < 0.6:
        raise ImageloomError(
            f"--validation_split must be over 0 and under 0.6, not {arguments.validation_split:g}", "0.2 is usual"
        )
    least = arguments.assert_accuracy_at_least
    if least is not None and not 0 <= least <= 1:
        raise ImageloomError(
            f"--assert_accuracy_at_least must be a share from 0 to 1, not {least:g}", "0.95 is 95 of 100 pictures"
        )
    given = [flag for flag in STEPS if getattr(arguments, flag) is not None]
    recipe = "finetune" if arguments.do_fine_tuning else arguments.recipe or ("head" if given else "probe")
    sections = {
        "backbone": _backbone(arguments),
        "embed": {"views": [] if recipe == "finetune" else _views(arguments)},
        # Near duplicates must be known; the rest is for review, which this command has not.
        "clean": {"min_side": 1, "probes": False, "thresholds": dict.fromkeys(_FOR_REVIEW, 0)},
        "split": {
            "method": "stratified",
            "test": arguments.validation_split,
            "validation": arguments.validation_split / 2,
        },
        "train": {"recipe": recipe, recipe: _recipe(arguments, recipe, given)},
        "export": {"check": 32} | ({} if arguments.export_dir else {"formats": []}),
    }
    notes = fine_tuning.notes(arguments, given) if recipe == "finetune" else _notes(arguments, recipe, given)
    if not any(getattr(arguments, name) for name in ("saved_model_dir", "tflite_output_file", "export_dir")):
        notes.append("no model will be written: name --saved_model_dir, --tflite_output_file or --export_dir")
    return Wish(sections, notes)


def _backbone(arguments: argparse.Namespace) -> dict[str, Any]:
    module = arguments.tfhub_module
    if module not in PACKAGED and "://" not in module and not module.startswith(KERAS):
        module = _absolute(module)
    weights = arguments.weights
    if weights not in (None, *WEIGHTS):
        weights = _absolute(weights)
    asked = {"weights": weights, "image_size": arguments.image_size, "features": arguments.features}
    return {"module": module} | {name: value for name, value in asked.items() if value is not None}


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def _views(arguments: argparse.Namespace) -> list[str]:
    """What augmentation is on features that are kept: other looks at each picture, to train on as well."""
    if not arguments.do_data_augmentation:
        return []
    return ["zoom"] if arguments.horizontal_flip is False else ["mirror", "zoom"]


def _recipe(arguments: argparse.Namespace, recipe: str, given: Sequence[str]) -> dict[str, Any]:
    if recipe == "finetune":
        return fine_tuning.section(arguments, given)
    smoothing = arguments.label_smoothing
    if recipe == "probe":
        return {} if smoothing is None else {"label_smoothing": smoothing}
    found = {name: default for name, _, default in STEPS.values()} | {
        name: getattr(arguments, flag) for flag, (name, _, _) in STEPS.items() if getattr(arguments, flag) is not None
    }
    found["label_smoothing"] = _SMOOTHING if smoothing is None else smoothing
    return found | {"optimiser": "sgd", "schedule": "constant", "balanced": False}


def _notes(arguments: argparse.Namespace, recipe: str, given: Sequence[str]) -> list[str]:
    notes = []
    names = ", ".join(f"--{flag}" for flag in given)
    if given and recipe == "probe":
        notes.append(f"{names}: no meaning to the recipe probe, which takes no steps; --recipe head does")
    elif given and arguments.recipe is None:
        notes.append(
            f"{names}: trained with the recipe head; the default, probe, needs none of it and is mostly better"
        )
    views = _views(arguments)
    if views:
        notes.append(f"--do_data_augmentation: trained on other looks at each picture, too: {', '.join(views)}")
    altered = [flag for flag in _AUGMENTATION if getattr(arguments, flag) is not None]
    if altered:
        flags = ", ".join(f"--{flag}" for flag in altered)
        notes.append(f"{flags}: no meaning any more: looks at a picture are the same in every epoch, and kept")
    if arguments.distribution_strategy or arguments.use_mixed_precision:
        both = ("distribution_strategy", "use_mixed_precision")
        flags = ", ".join(f"--{flag}" for flag in both if getattr(arguments, flag))
        notes.append(f"{flags}: no meaning any more: what is trained takes seconds on one processor")
    return notes


def as_flags(text: str) -> str:
    """What a stage says of parameters, as one who gave flags knows them."""
    text = re.sub(r"params\.yaml:\d+: ", "", text)
    for parameter, flag in sorted(_PARAMETERS.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(parameter, flag)
    return text
