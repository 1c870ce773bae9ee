"""reports/clean/index.html in a real browser, without a network, and its markup against the HTML standard."""

from pathlib import Path

import browsers
import pytest
from justhtml import JustHTML
from projects import Project, picture

from imageloom.clean import outcome, pictures, report
from imageloom.clean.checks import CHECKS
from imageloom.clean.effect import Accuracy, Effect
from imageloom.clean.findings import Findings, Score
from imageloom.clean.outcome import Outcome
from imageloom.clean.stage import Params
from imageloom.decisions import Decided, Decision
from imageloom.params import UNLABELLED

CHANGE = Effect(Accuracy(24, 20, 15), Accuracy(20, 20, 18), changed=True)


def cleaned(project: Project, actions: dict[str, str]) -> Outcome:
    """Checks have marked some pictures, and people have decided about some."""
    for name in ("warm 暖", "cold"):
        project.add(name, [picture(name[:4], seed) for seed in range(10)])
    project.add("cold", [picture("cold", 50, 20, 200)])
    project.add(UNLABELLED, [picture("plain", 60)])
    ids = [row["sha256"] for row in project.rows]
    decided = Decided(
        [Decision(ids[0], "drop"), Decision(ids[1], "keep"), Decision(ids[12], "relabel", "cold", "warm 暖")]
    )
    found = pictures.read(project.rows, {ids[19]: "cut short"}, decided, min_side=32)
    (project.paths.raw / project.rows[19]["path"]).write_bytes(b"cut short")
    scores = [Score(ids[number], "label_issues", number / 100, True, "cold") for number in range(1, 8)]
    scores += [Score(ids[number], "blurry", number / 100, number in (2, 4)) for number in range(2, 10)]
    scores += [Score(ids[15], "outliers", 0.2, True, ids[3])]
    groups = {ids[number]: ids[5] for number in (5, 6, 13)}
    return outcome.judge(found, Findings(scores, groups, frozenset({ids[14]})), Params(actions=actions))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def result(project: Project) -> Outcome:
    return cleaned(project, {"blurry": "drop"})


@pytest.fixture(scope="module")
def page(project: Project, result: Outcome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alone 🐜") / "index.html"
    path.write_text(report.render(result, CHANGE, 5, project.paths), encoding="utf-8")
    return path


def test_marks_become_flags_reasons_or_groups_as_the_actions_say_and_decisions_go_before_them(project, result):
    ids = [row["sha256"] for row in project.rows]
    rows = {row["id"]: row for row in result.rows}
    assert {ids.index(name): row["reason"] for name, row in rows.items() if row["reason"]} == {
        0: "dropped",
        2: "blurry",
        4: "blurry",
        14: "bridge",
        19: "undecodable",
        20: "too_small",
        21: "unlabelled",
    }
    assert {ids.index(name): row["flags"] for name, row in rows.items() if row["flags"]} == {
        3: ["label_issues"],
        5: ["label_issues"],
        6: ["label_issues"],
        7: ["label_issues"],
        15: ["outliers"],
    }
    assert rows[ids[13]]["group"] == rows[ids[6]]["group"] == ids[5]
    tallies = {tally.check: tally for tally in result.tallies}
    assert list(tallies) == list(CHECKS)
    label_issues = tallies["label_issues"]
    assert (label_issues.looked, label_issues.flagged, label_issues.settled, label_issues.left_out) == (7, 6, 1, 0)
    assert (tallies["blurry"].flagged, tallies["blurry"].left_out, tallies["blurry"].action) == (2, 2, "drop")
    flagged = {(score["id"], score["check"]) for score in result.scores if score["flagged"]}
    assert (ids[1], "label_issues") not in flagged
    assert (ids[2], "label_issues") in flagged


def test_each_check_shows_its_worst_pictures_and_says_how_many_there_are(page):
    with browsers.chromium() as chromium, browsers.opened(chromium, page.as_uri()) as shown:
        assert shown.locator("#label_issues h2").inner_text() == f"{CHECKS['label_issues'].title} 6"
        assert shown.locator("#label_issues .picture").count() == 5
        assert "more like cold" in shown.locator("#label_issues .picture").first.inner_text()
        assert shown.locator("#outliers .view").count() == 2  # beside the picture that it resembles
        assert shown.locator("#groups .view").count() == 3
        assert ". Nothing was deleted." in shown.locator(".verdict").inner_text()
        assert "5 of them are shown" in shown.locator("#label_issues .note").inner_text()
        assert "15 of 20" in shown.locator("#effect").inner_text()
        assert shown.locator("#left_out_undecodable").inner_text().count("cannot be shown") == 1
        broken = "() => [...document.images].filter((image) => !image.naturalWidth).length"
        assert shown.evaluate(broken) == 0
        for width in (360, 1280):
            shown.set_viewport_size({"width": width, "height": 800})
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
        for theme in ("light", "dark"):
            shown.emulate_media(color_scheme=theme)
            assert browsers.weak_texts(shown) == []
        shown.locator("#theme").click()
        assert shown.evaluate("document.documentElement.dataset.theme") == "light"


def test_the_markup_keeps_to_the_standard(page):
    JustHTML(page.read_text(encoding="utf-8"), strict=True)


def test_where_nothing_is_marked_it_says_so(tmp_path):
    project = Project(tmp_path)
    project.add("warm", [picture("warm", 1)])
    found = outcome.judge(pictures.read(project.rows, {}, Decided(), 32), Findings(), Params())
    text = report.render(found, None, 5, project.paths)
    assert "No check marks anything" in text
    assert "Before and after" not in text
    JustHTML(text, strict=True)
