import pytest

from imageloom import params
from imageloom.cli import main
from imageloom.errors import ParamsError
from imageloom.scrape import Params as ScrapeParams
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


def test_a_value_of_several_kinds_is_told_all_of_them_and_what_it_is_for(written):
    text = "train:\n  finetune:\n    layers: {}\n"
    fault = refused("train", TrainParams, written(text.format("last")))
    assert "params.yaml:3: train.finetune.layers: input should be a valid integer" in fault.message
    assert fault.message.endswith(", or 'all', not 'last'")
    assert fault.hint.startswith("how many layers learn")
    fault = refused("train", TrainParams, written(text.format("last\n    epochs: 0")))
    assert fault.message.count("more)") == 1
    assert "(and 1 more)" in fault.message  # not what else `layers` may be


@pytest.mark.parametrize(
    ("written_as", "where"),
    [
        ("probe: { c: [0.1, .inf] }", "probe.c.1"),
        ("classical: { method: svm, c: [.inf] }", "classical.c.0"),
        ("head: { l2: .inf }", "head.l2"),
        ("head: { learning_rate: .nan }", "head.learning_rate"),
        ("cnn: { weight_decay: .inf }", "cnn.weight_decay"),
        ("known: { target_precision: .nan }", "known.target_precision"),
        ("classical: { depths: [3, 100000000000000000000] }", "classical.depths.1"),
        ("classical: { leaves: [100000000000000000000] }", "classical.leaves.0"),
        ("classical: { rounds: [100000000000000000000] }", "classical.rounds.0"),
    ],
)
def test_numbers_without_end_are_refused(written, written_as, where):
    fault = refused("train", TrainParams, written(f"train:\n  {written_as}\n"))
    assert fault.message.startswith(f"params.yaml:2: train.{where}: input should be ")


def test_parts_that_leave_nothing_to_train_on_are_refused(written):
    fault = refused("split", SplitParams, written("seed: 1\nsplit: {validation: 0.5, test: 0.5}\n"))
    assert fault.message == "params.yaml:2: split: validation 0.5 + test 0.5 leave nothing to train on"
    assert fault.hint == "make one of them smaller; 0.2 each is usual"


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


def test_on_is_a_word_and_no_truth_value(written):
    from imageloom.train import Params as TrainParams

    path = written("train: { recipe: classical, classical: { method: forest, on: pixels, balanced: off } }\n")
    settings = params.load("train", TrainParams, path).classical
    assert (settings.on, settings.balanced) == ("pixels", False)
    path = written("train: { classical: { on: on } }\n")
    assert "train.classical.on" in refused("train", TrainParams, path).message


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "end ", "tab\there", "x" * 101, "_unlabelled"])
def test_class_names_that_are_no_folder_names_are_refused(written, name):
    import json

    with pytest.raises(ParamsError, match=r"params.yaml:2"):
        params.load_classes(written(f"classes:\n  - {{name: {json.dumps(name)}}}\n  - {{name: b}}\n"))


@pytest.mark.parametrize(
    ("classes", "where", "written_as", "kind"),
    [
        ("[{name: no}, {name: b}]", "0.name", "no", "truth value"),
        ("[{name: a}, {name: Yes}]", "1.name", "Yes", "truth value"),
        ("[{name: 0x10}, {name: b}]", "0.name", "0x10", "number"),
        ("[{name: a, label: 3.50}, {name: b}]", "0.label", "3.50", "number"),
        ("[{name: 2024-01-01}, {name: b}]", "0.name", "2024-01-01", "date"),
    ],
)
def test_text_that_yaml_reads_as_something_else_is_to_be_quoted(written, classes, where, written_as, kind):
    with pytest.raises(ParamsError) as fault:
        params.load_classes(written(f"classes: {classes}\n"))
    reason = f"must be text, and YAML reads {written_as} as a {kind}"
    assert fault.value.message == f"params.yaml:1: classes.{where}: {reason}"
    assert fault.value.hint == f'put it in quotes: "{written_as}"'
    assert params.load_classes(written(f"classes: {classes}\n".replace(written_as, f'"{written_as}"')))


def test_a_key_that_yaml_reads_as_something_else_is_to_be_quoted(written):
    text = "scrape:\n  sources:\n    - {kind: gallery, item: img, start: {KEY: 'https://example.org/'}}\n"
    for key in ("no", "2024", "0x10"):
        fault = refused("scrape", ScrapeParams, written(text.replace("KEY", key)))
        assert fault.message.startswith(f"params.yaml:3: scrape.sources.0.start.{key}: must be text")
        assert fault.hint == f'put it in quotes: "{key}"'
    params.load("scrape", ScrapeParams, written(text.replace("KEY", '"no"')))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("classes: [cat, dog]\n", "classes.0: must be keys with values", "known are: name, label"),
        ("classes: {name: cat}\n", "classes: must be a list", "begin each entry with `- `"),
    ],
)
def test_classes_of_another_shape_are_told_theirs(written, text, message, hint):
    with pytest.raises(ParamsError, match=message) as fault:
        params.load_classes(written(text))
    assert fault.value.hint == hint


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
