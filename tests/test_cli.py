"""The command line itself: which command is meant, what it loads, and what its help tells."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from imageloom.cli import COMMANDS, PURPOSES, STAGES, main
from imageloom.params import ClassSpec
from imageloom.sources import registry


def help_of(capsys: Any, *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    return str(capsys.readouterr().out)


def test_every_stage_has_a_purpose_in_the_help(capsys: Any) -> None:
    assert list(PURPOSES) == list(STAGES)
    said = " ".join(help_of(capsys).split())
    for purpose in [*PURPOSES.values(), *(purpose for _, purpose in COMMANDS.values())]:
        assert purpose in said


@pytest.mark.parametrize("folder", ["split", "train", "x"])
def test_a_folder_may_be_called_like_a_stage(tmp_path: Path, monkeypatch: Any, capsys: Any, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "params.yaml").write_text("split: {sed: 1}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["split", "-C", folder]) == 2
    assert "params.yaml:1: split.sed: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["trian"], "no command 'trian'", "did you mean 'train'?"),
        (["xyzzy"], "no command 'xyzzy'", "known are: backbone, scrape"),
        (["-C", "train", "split"], "-C stands before the command", "imageloom COMMAND -C"),
    ],
)
def test_what_is_no_command_is_refused_with_a_hint(capsys: Any, words: list[str], message: str, hint: str) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert hint in error


def test_words_that_a_stage_does_not_know_are_refused(capsys: Any) -> None:
    assert main(["split", "train"]) == 2
    assert "split takes no 'train'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--prot", "80"], ["--prot=80"]])
def test_an_option_that_is_none_is_refused_with_the_nearest(capsys: Any, words: list[str]) -> None:
    assert main(["serve", *words]) == 2
    assert capsys.readouterr().err == "error: serve has no option --prot\nhint: did you mean '--port'?\n"


def test_nothing_at_all_asks_for_a_command(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"]])
def test_a_command_loads_no_other_ones_modules(words: list[str]) -> None:
    script = (
        "import sys\nfrom imageloom.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        "print(sorted({'pydantic', 'sklearn', 'pyarrow', 'imageloom.train', 'imageloom.scrape'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_keys_of_a_nested_section_are_shown_below_it(capsys: Any) -> None:
    said = help_of(capsys, "train")
    assert "\n  probe: the probe's own parameters\n    c: " in said
    assert "\n    balanced: gives each class the same weight" in said
    assert "ProbeParams" not in said


def test_the_help_of_scrape_lists_every_kind_of_source_and_the_classes(capsys: Any) -> None:
    said = help_of(capsys, "scrape")
    for kind in registry.KINDS:
        model = registry.model_of({"kind": kind})
        assert model is not None
        part = said.split(f"of the kind {kind}:\n")[1].split("\n\n")[0]
        for key, field in model.model_fields.items():
            assert f"  {key}: {field.description}" in part
    assert "  port: Where to serve it. (default: 8780)" in said
    part = said.split("of the section 'classes':\n")[1]
    assert all(f"  {key}: {field.description}" in part for key, field in ClassSpec.model_fields.items())
