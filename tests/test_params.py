import pytest

from imageloom import params
from imageloom.cli import main
from imageloom.errors import ParamsError
from imageloom.split import Params as SplitParams
from imageloom.train import Params as TrainParams


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "params.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(section, model, path) -> ParamsError:
    with pytest.raises(ParamsError) as fault:
        params.load(section, model, path)
    return fault.value


def test_absent_section_is_read_as_its_defaults(written):
    assert params.load("split", SplitParams, written("train: {}\n")) == SplitParams()


def test_unknown_key_names_its_line_and_the_nearest_known_key(written):
    fault = refused("split", SplitParams, written("# a comment\nsplit:\n  method: hash\n  validatoin: 0.2\n"))
    assert "params.yaml:4: split.validatoin: unknown key" in fault.message
    assert "'validation'" in fault.hint


def test_unknown_key_of_a_nested_section_is_compared_with_its_own_neighbours(written):
    fault = refused("train", TrainParams, written("train:\n  probe:\n    balancd: true\n"))
    assert "params.yaml:3: train.probe.balancd" in fault.message
    assert "'balanced'" in fault.hint


def test_wrong_value_names_line_and_value(written):
    fault = refused("split", SplitParams, written("split:\n  seed: 1\n  test: 1.5\n"))
    assert "params.yaml:3: split.test" in fault.message
    assert "1.5" in fault.message


def test_parts_that_leave_nothing_to_train_on_are_refused(written):
    assert (
        "nothing to train on" in refused("split", SplitParams, written("split: {validation: 0.5, test: 0.5}\n")).message
    )


def test_unknown_choice_lists_the_choices(written):
    fault = refused("split", SplitParams, written("split: {method: magic}\n"))
    assert "hash" in fault.message
    assert "stratified" in fault.message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("split: [\n", "not valid YAML"),
        ("just words\n", "must be sections"),
        ("split: {seed: 1}\nsplit: {seed: 2}\n", "params.yaml:2: 'split' is there twice"),
        ("split: {seed: 1, seed: 2}\n", "params.yaml:1: 'seed' is there twice"),
        ("split: &a\n  more: *a\n", "an alias holds itself"),
        ("split: false\n", "params.yaml:1: split"),
        ("split: []\n", "params.yaml:1: split"),
    ],
)
def test_broken_file_is_told_in_one_line(written, text, part):
    fault = refused("split", SplitParams, written(text))
    assert part in fault.message
    assert "\n" not in fault.message


def test_unknown_section_is_refused_with_the_nearest(written):
    with pytest.raises(ParamsError) as fault:
        params.check_sections(["split", "train"], written("train: {}\nsplti: {}\n"))
    assert "params.yaml:2" in fault.value.message
    assert "'split'" in fault.value.hint


def test_classes_have_names_and_labels_in_any_script(written):
    classes = params.load_classes(written("classes:\n  - {name: caterpillar, label: 卡特彼勒}\n  - {name: 三一重工}\n"))
    assert [(spec.name, spec.label) for spec in classes] == [("caterpillar", "卡特彼勒"), ("三一重工", "三一重工")]


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "end ", "tab\there", "x" * 101, "_unlabelled"])
def test_class_names_that_are_no_folder_names_are_refused(written, name):
    import json

    with pytest.raises(ParamsError, match=r"params.yaml:2"):
        params.load_classes(written(f"classes:\n  - {{name: {json.dumps(name)}}}\n  - {{name: b}}\n"))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("classes: [{name: a}, {name: A}]\n", "twice"),
        ("classes: [{name: a, label: x}, {name: b, label: x}]\n", "twice"),
        ("classes: [{name: a}]\n", "one class only"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(written, text, part):
    with pytest.raises(ParamsError, match=part):
        params.load_classes(written(text))


def test_command_line_says_error_and_hint_and_exits_with_2(written, capsys):
    path = written("split:\n  sed: 3\n")
    assert main(["split", "--project", str(path.parent)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["error: params.yaml:2: split.sed: unknown key", "hint: did you mean 'seed'?"]


def test_missing_parameters_say_where_to_stand(tmp_path, capsys):
    assert main(["split", "-C", str(tmp_path)]) == 2
    assert "hint: run this in the project's folder" in capsys.readouterr().err
