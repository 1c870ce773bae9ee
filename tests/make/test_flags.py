"""What the flags of make_image_classifier come to."""

import argparse
import json
from pathlib import Path

import pytest

from imageloom import train
from imageloom.backbone.stage import DEFAULT
from imageloom.clean.checks import CheckParams
from imageloom.cli import STAGES
from imageloom.errors import ImageloomError, ParamsError
from imageloom.make import flags
from imageloom.make.command import add_arguments, run_stage
from imageloom.make.flags import Wish
from imageloom.recipes.finetune import FinetuneParams


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["--image_dir", "pictures", *words])


def read(*words: str) -> Wish:
    return flags.read(parsed("--saved_model_dir", "model", *words))


def test_the_default_is_the_pipeline_s_own_recipe_on_the_packaged_network():
    wish = read()
    assert wish.notes == []
    assert wish.sections["backbone"] == {"module": DEFAULT}
    assert wish.sections["train"] == {"recipe": "probe", "probe": {}}
    assert wish.sections["split"] == {"method": "stratified", "test": 0.2, "validation": 0.1}
    assert set(wish.sections) <= set(STAGES)


def test_a_network_of_keras_and_its_weights_are_taken_as_they_are_and_paths_from_where_one_stands():
    assert read("--tfhub_module", "keras:VGG16").sections["backbone"] == {"module": "keras:VGG16"}
    assert read("--tfhub_module", "efficientnet_lite0_224").sections["backbone"] == {"module": "efficientnet_lite0_224"}
    section = read("--tfhub_module", "keras:VGG16", "--weights", "none").sections["backbone"]
    assert section == {"module": "keras:VGG16", "weights": "none"}
    section = read("--tfhub_module", "modules/鸟", "--weights", "vgg16.h5").sections["backbone"]
    assert section == {"module": str(Path.cwd() / "modules/鸟"), "weights": str(Path.cwd() / "vgg16.h5")}


def test_a_flag_of_training_by_steps_is_obeyed_with_the_others_old_defaults_and_told_of():
    wish = read("--train_epochs=15", "--l2_regularizer", "0")
    assert wish.sections["train"]["recipe"] == "head"
    assert wish.sections["train"]["head"] == {
        "epochs": 15,
        "batch_size": 32,
        "learning_rate": 0.005,
        "momentum": 0.9,
        "dropout": 0.2,
        "l1": 0.0,
        "l2": 0.0,
        "label_smoothing": 0.1,
        "optimiser": "sgd",
        "schedule": "constant",
        "balanced": False,
    }
    assert [note.split(":")[0] for note in wish.notes] == ["--train_epochs, --l2_regularizer"]


def test_a_recipe_that_is_named_wins_and_says_what_it_has_no_use_for():
    wish = read("--recipe", "probe", "--batch_size", "8", "--label_smoothing", "0.05")
    assert wish.sections["train"] == {"recipe": "probe", "probe": {"label_smoothing": 0.05}}
    assert len(wish.notes) == 1
    assert wish.notes[0].startswith("--batch_size: no meaning")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--rotation_range", "40", "--zoom_range=0.2"], "--rotation_range, --zoom_range"),
        (["--distribution_strategy", "mirrored"], "--distribution_strategy"),
        (["--use_mixed_precision=true"], "--use_mixed_precision"),
    ],
)
def test_a_flag_without_meaning_says_so_in_one_line(words, named):
    wish = read(*words)
    assert [note.split(": ")[:1] for note in wish.notes] == [[named]]
    assert "no meaning any more" in wish.notes[0]
    assert wish.sections == read().sections


def test_augmentation_is_other_looks_at_each_picture():
    assert read().sections["embed"] == read("--horizontal_flip").sections["embed"] == {"views": []}
    wish = read("--do_data_augmentation")
    assert wish.sections["embed"] == {"views": ["mirror", "zoom"]}
    assert wish.notes[0].startswith("--do_data_augmentation: trained on other looks")
    assert read("--do_data_augmentation", "--nohorizontal_flip").sections["embed"] == {"views": ["zoom"]}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--do_data_augmentation", True),
        ("--nodo_data_augmentation", False),
        ("--do_data_augmentation=false", False),
        ("--do_data_augmentation=True", True),
    ],
)
def test_switches_are_written_as_they_were(word, expected, capsys):
    assert parsed(word).do_data_augmentation is expected
    with pytest.raises(SystemExit):
        parsed("--do_data_augmentation=maybe")
    assert "neither true nor false" in capsys.readouterr().err


def test_fine_tuning_is_the_recipe_of_that_name():
    words = [
        "--do_fine_tuning",
        "--train_epochs=3",
        "--do_data_augmentation",
        "--nohorizontal_flip",
        "--rotation_range=40",
    ]
    section = read(*words, "--momentum=0.5", "--distribution_strategy=mirrored").sections["train"]
    assert section["recipe"] == "finetune"
    found = train.Params(**section).finetune
    assert (found.epochs, found.strategy, found.augment.flip, found.augment.rotation) == (3, "mirrored", "none", 40)
    assert (found.batch_size, found.augment.crop) == (FinetuneParams().batch_size, FinetuneParams().augment.crop)
    assert any("--momentum: no meaning" in note for note in read(*words, "--momentum=0.5").notes)
    still = train.Params(**read("--recipe=finetune").sections["train"]).finetune.augment
    assert (still.flip, still.crop, still.contrast, still.brightness, still.colour) == ("none", 0, 0, 0, 0)
    assert read("--nodo_fine_tuning").sections == read().sections
    with pytest.raises(ImageloomError, match="--recipe probe does not"):
        read("--do_fine_tuning", "--recipe=probe")


def test_what_alters_pictures_says_so_where_fine_tuning_alters_none():
    words = ["--do_fine_tuning", "--rotation_range=30", "--height_shift_range=0.2", "--zoom_range=0.2"]
    told = "--rotation_range, --height_shift_range, --zoom_range: no meaning without --do_data_augmentation"
    assert read(*words).notes[1:] == [told]
    assert read(*words).sections == read("--do_fine_tuning").sections
    assert read(*words, "--do_data_augmentation").notes == read("--do_fine_tuning").notes


@pytest.mark.parametrize(
    ("words", "crop"),
    [
        (["--width_shift_range=0.3"], 0.3),
        (["--height_shift_range=0.3"], 0.3),
        (["--width_shift_range=0.2", "--height_shift_range=0.3"], 0.3),
        (["--width_shift_range=0.3", "--height_shift_range=0.2"], 0.3),
        (["--width_shift_range=0", "--height_shift_range=0"], 0),
    ],
)
def test_pictures_are_moved_by_the_larger_of_both_shifts(words, crop):
    section = read("--do_fine_tuning", "--do_data_augmentation", *words).sections["train"]
    assert train.Params(**section).finetune.augment.crop == crop


@pytest.mark.parametrize(
    ("words", "mixed"), [([], True), (["--use_mixed_precision"], True), (["--nouse_mixed_precision"], False)]
)
def test_mixed_precision_is_fine_tuning_s_unless_it_is_not_wanted(words, mixed):
    section = read("--do_fine_tuning", *words).sections["train"]
    assert train.Params(**section).finetune.mixed_precision is mixed


@pytest.mark.parametrize("share", ["0", "0.6", "-1"])
def test_a_split_that_leaves_nothing_is_refused(share):
    with pytest.raises(ImageloomError, match="--validation_split must be over 0"):
        read(f"--validation_split={share}")


@pytest.mark.parametrize("share", ["95", "-0.1", "1.01"])
def test_an_accuracy_to_assert_is_a_share(share):
    with pytest.raises(ImageloomError, match="--assert_accuracy_at_least must be a share from 0 to 1"):
        read(f"--assert_accuracy_at_least={share}")


@pytest.mark.parametrize("flag", ["learning_rate", "validation_split", "zoom_range", "assert_accuracy_at_least"])
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "much"])
def test_a_number_is_finite(flag, text, capsys):
    with pytest.raises(SystemExit):
        read(f"--{flag}={text}")
    assert f"argument --{flag}: invalid number value: '{text}'" in capsys.readouterr().err


def test_it_says_when_no_model_will_be_written():
    wish = flags.read(parsed("--labels_output_file", "labels.txt"))
    assert [note for note in wish.notes if note.startswith("no model will be written")]


@pytest.mark.parametrize(
    ("words", "stage", "told"),
    [
        (["--train_epochs=0"], "train", "--train_epochs: input should be greater than or equal to 1, not 0"),
        (["--recipe=head", "--label_smoothing=2"], "train", "--label_smoothing: input should be less than 1"),
        (
            ["--do_fine_tuning", "--do_data_augmentation", "--height_shift_range=0.9"],
            "train",
            "--width_shift_range or --height_shift_range: input should be less than or equal to 0.8, not 0.9",
        ),
        (["--image_size=8"], "backbone", "--image_size: input should be greater than or equal to 32, not 8"),
    ],
)
def test_a_number_that_a_stage_refuses_is_told_by_its_flag(words, stage, told, tmp_path):
    (tmp_path / "params.yaml").write_text(json.dumps(read(*words).sections))
    with pytest.raises(ParamsError) as raised:
        run_stage(stage, tmp_path)
    assert flags.as_flags(raised.value.message).startswith(told)
    assert told not in raised.value.message


def test_of_the_checks_only_those_for_duplicates_are_asked_for():
    section = read().sections["clean"]
    asked = CheckParams(**{name: value for name, value in section.items() if name != "min_side"})
    assert not asked.probes
    marking = {name for name, threshold in asked.thresholds.model_dump().items() if threshold}
    assert marking == {"near_duplicates", "two_classes"}
