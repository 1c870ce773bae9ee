"""What is asked for goes where it was asked for, and nothing else is touched."""

import argparse
import json
import resource
from contextlib import contextmanager

import pytest

from imageloom.errors import ImageloomError
from imageloom.files import Paths
from imageloom.make.outputs import Targets

NAMES = tuple(Targets.__dataclass_fields__)


def targets(**given) -> Targets:
    return Targets.of(argparse.Namespace(**(dict.fromkeys(NAMES) | given)))


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    return tmp_path / "pictures"


@pytest.fixture
def paths(tmp_path):
    """A project whose export has the files that a real one has, by name."""
    paths = Paths(tmp_path / "project")
    parts = ("saved_model.pb", "variables/variables.index", "assets/labels.txt")
    for name in (*(f"saved_model/{part}" for part in parts), "model.tflite", "model.json"):
        (paths.export / name).parent.mkdir(parents=True, exist_ok=True)
        (paths.export / name).write_text(f"new {name}")
    (paths.export / "model.json").write_text(json.dumps({"files": {"model.tflite": "", "saved_model/x": ""}}))
    paths.classifier.mkdir(parents=True)
    (paths.classifier / "labels.txt").write_text("a\nb\n")
    return paths


def contents(folder) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def no_file_longer_than(length: int):
    """The system writes no more into a file than that, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("name", NAMES)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(name, tmp_path, pictures):
    (tmp_path / "file").write_text("mine")
    wrong = tmp_path / "pictures" if name.endswith("_file") else tmp_path / "file"
    with pytest.raises(ImageloomError, match=f"--{name}: .* is (a|no) folder"):
        targets(**{name: wrong}).require_free(pictures)
    with pytest.raises(ImageloomError, match=f"--{name}: .*file is no folder"):
        targets(**{name: tmp_path / "file" / "new" / "place"}).require_free(pictures)
    targets(**{name: tmp_path / "new" / "place"}).require_free(pictures)


@pytest.mark.parametrize("name", ["saved_model_dir", "export_dir", "summaries_dir"])
def test_a_model_is_not_put_among_the_classes(name, pictures):
    with pytest.raises(ImageloomError, match="is in the folder of the pictures") as raised:
        targets(**{name: pictures / "model"}).require_free(pictures)
    assert "taken for a class" in raised.value.hint


def test_two_things_do_not_go_to_one_place(tmp_path, pictures):
    with pytest.raises(ImageloomError, match="are the same"):
        targets(saved_model_dir=tmp_path / "x", export_dir=tmp_path / "x").require_free(pictures)


def test_what_else_is_in_the_folder_of_the_saved_model_stays(tmp_path, pictures, paths):
    model = tmp_path / "work"
    (model / "data").mkdir(parents=True)
    of_others = ("data/mine.jpg", "variables/mine.csv", "assets/mine.png", "notes.txt")
    of_model = ("saved_model.pb", "variables/variables.index", "variables/variables.data-00001-of-00002")
    for name in (*of_others, *of_model, "keras_metadata.pb"):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text("old")
    wanted = targets(
        saved_model_dir=model, labels_output_file=model / "labels.txt", tflite_output_file=model / "lite" / "m.tflite"
    )
    wanted.require_free(pictures)
    wanted.write(paths)
    assert contents(model) == {
        **dict.fromkeys(of_others, "old"),
        "assets/labels.txt": "new saved_model/assets/labels.txt",
        "variables/variables.index": "new saved_model/variables/variables.index",
        "saved_model.pb": "new saved_model/saved_model.pb",
        "labels.txt": "a\nb\n",
        "lite/m.tflite": "new model.tflite",
    }


@pytest.mark.parametrize("outer", ["export_dir", "tflite_output_file"])
@pytest.mark.parametrize("inner", ["saved_model_dir", "labels_output_file", "summaries_dir"])
def test_nothing_goes_into_what_is_written_whole(outer, inner, tmp_path, pictures):
    wanted = targets(**{outer: tmp_path / "out", inner: tmp_path / "out" / "deep" / "place"})
    with pytest.raises(ImageloomError, match=f"--{inner}: .* is inside --{outer}"):
        wanted.require_free(pictures)


@pytest.mark.parametrize("name", ["assets", "variables"])
def test_pictures_are_not_where_the_saved_model_puts_its_parts(name, tmp_path):
    pictures = tmp_path / "site" / name
    (pictures / "a").mkdir(parents=True)
    with pytest.raises(ImageloomError, match="is in the folder of the pictures"):
        targets(saved_model_dir=tmp_path / "site").require_free(pictures)


@pytest.mark.parametrize("name", ["assets/labels.txt", "variables/variables.index"])
def test_a_file_of_a_saved_model_s_name_is_a_saved_model_s_only_beside_its_graph(name, tmp_path, pictures):
    wanted = targets(saved_model_dir=tmp_path / "site")
    (tmp_path / "site" / name).parent.mkdir(parents=True)
    (tmp_path / "site" / name).write_text("mine")
    with pytest.raises(ImageloomError, match=f"holds {name!r}, which would be lost"):
        wanted.require_free(pictures)
    (tmp_path / "site" / "saved_model.pb").write_text("old")
    wanted.require_free(pictures)


def test_a_folder_that_is_written_whole_loses_nothing_of_its_owner_s(tmp_path, pictures, paths):
    folder = tmp_path / "export"
    wanted = targets(export_dir=folder)
    for _ in range(2):  # an earlier one is replaced
        wanted.require_free(pictures)
        wanted.write(paths)
    assert (folder / "saved_model" / "saved_model.pb").exists()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(ImageloomError, match=r"holds 'thesis\.tex', which would be lost"):
        wanted.require_free(pictures)


@pytest.mark.parametrize("content", ['{"class_name": "Sequential"}', '{"files": ["a"]}', "not JSON"])
def test_an_export_does_not_take_the_place_of_another_programs_model_json(content, tmp_path, pictures):
    folder = tmp_path / "keras"
    folder.mkdir()
    (folder / "model.json").write_text(content)
    with pytest.raises(ImageloomError, match=r"holds 'model\.json', which would be lost") as raised:
        targets(export_dir=folder).require_free(pictures)
    assert "dvc" not in raised.value.hint


@pytest.mark.parametrize(
    ("name", "long"),
    [
        ("saved_model_dir", "saved_model/variables/variables.index"),
        ("export_dir", "saved_model/variables/variables.index"),
        ("tflite_output_file", "model.tflite"),
    ],
)
def test_on_a_full_disk_the_old_one_stays_whole(name, long, tmp_path, paths):
    wanted = targets(**{name: tmp_path / "out" / "it"})
    wanted.write(paths)
    before = contents(tmp_path / "out")
    for file in contents(paths.export):
        (paths.export / file).write_text("newer")
    (paths.export / long).write_text("newer" * 1000)
    with no_file_longer_than(1000), pytest.raises(ImageloomError, match=r"cannot write .*: File too large"):
        wanted.write(paths)
    assert contents(tmp_path / "out") == before
