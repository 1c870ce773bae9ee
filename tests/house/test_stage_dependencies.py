"""A stage of dvc.yaml lists the code that it runs, no less and no more."""

import pytest
import yaml
from closure import ROOT, closure

from imageloom.cli import OTHER_SECTIONS, STAGES

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

# Crawling again because a line of code changed would ask the web for nothing new.
WITHOUT_CODE = {"scrape"}


def code_of(stage: str) -> set[str]:
    return {dep for dep in DVC[stage].get("deps", []) if isinstance(dep, str) and dep.startswith("src/")}


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in WITHOUT_CODE])
def test_stage_lists_exactly_the_code_that_it_imports(stage):
    expected = {path.relative_to(ROOT).as_posix() for path in closure(STAGES[stage])}
    listed = code_of(stage)
    assert sorted(expected - listed) == [], f"dvc.yaml: {stage} uses these and does not list them"
    assert sorted(listed - expected) == [], f"dvc.yaml: {stage} lists these and does not use them"


def test_scrape_lists_no_code():
    assert not code_of("scrape")


def test_dvc_and_the_command_line_have_the_same_stages_in_the_same_order():
    assert list(DVC) == list(STAGES)
    assert {name: stage["cmd"] for name, stage in DVC.items()} == {name: f"imageloom {name}" for name in STAGES}


@pytest.mark.parametrize("stage", list(STAGES))
def test_stage_lists_its_own_section_of_the_parameters(stage):
    assert stage in DVC[stage]["params"]
    assert set(DVC[stage]["params"]) <= {*STAGES, *OTHER_SECTIONS}


def test_shipped_parameters_have_every_section_that_dvc_asks_for():
    sections = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert {section for stage in DVC.values() for section in stage["params"]} <= set(sections)
