"""Which pictures are shown, and where the evidence in them lies."""

import base64

import numpy as np
import pytest

from imageloom.evaluate import outcome, pictures


@pytest.fixture
def found(project, put):
    put(project)
    return outcome.read(project.paths)


def test_every_cell_has_as_many_pictures_as_any_other_as_far_as_they_go(found):
    def cells(browse):
        rows = pictures.choose(found, 1, browse).browse
        return [(int(found.actual[row]), int(found.predicted[row])) for row in rows]

    assert len(set(cells(6))) == 6
    assert sorted(cells(8)) == sorted(zip(found.actual.tolist(), found.predicted.tolist(), strict=True))
    assert cells(0) == []


def test_each_picture_is_loaded_once_however_often_it_is_shown(found, project):
    choice = pictures.choose(found, 8, 8)
    assert len(choice.worst) == len(choice.browse) == len(choice.rows) == 8
    loaded = pictures.load(found, choice, project.paths)
    assert [each.row for each in loaded] == choice.rows


def test_evidence_for_red_lies_where_the_picture_is_red(found, project):
    """The head takes mean red for the first class and mean blue for the third; the left half is red, the right blue."""
    choice = pictures.choose(found, 0, 8)
    for each in pictures.load(found, choice, project.paths):
        assert each.evidence.shape == (2, 32, 32)
        for number, evidence in zip(each.classes, each.evidence, strict=True):
            left, right = evidence[:, :15].mean(), evidence[:, 17:].mean()
            assert {0: left > 50 > -50 > right, 1: left < 0 and right < 0, 2: right > 50 > -50 > left}[number]


def test_evidence_is_for_the_answer_and_for_what_it_is_or_else_for_the_next(found, project):
    loaded = pictures.load(found, pictures.choose(found, 8, 0), project.paths)
    for each in loaded:
        answered, other = each.classes
        assert answered == found.predicted[each.row] != other
        assert found.right[each.row] or other == found.actual[each.row]


def test_without_a_map_the_worst_are_explained_by_covering_parts(found, project, colour_tflite):
    (project.paths.backbone / "backbone.tflite").write_bytes(colour_tflite)
    choice = pictures.choose(found, 2, 8)
    loaded = pictures.load(found, choice, project.paths)
    assert [each.row for each in loaded if each.evidence is not None] == choice.worst
    red = next(each for each in loaded if each.evidence is not None and 0 in each.classes)
    evidence = red.evidence[red.classes.index(0)]
    assert evidence.shape == (7, 7)
    assert evidence[:, :3].mean() > 20 > -20 > evidence[:, 4:].mean()


def test_a_picture_that_is_gone_is_grey_and_has_no_evidence(found, project):
    gone = project.paths.raw / found.rows[0]["path"]
    gone.unlink()
    loaded = {each.row: each for each in pictures.load(found, pictures.choose(found, 8, 8), project.paths)}
    assert loaded[0].evidence is None
    assert loaded[1].evidence is not None
    assert "evidence" not in loaded[0].to_dict(found)
    assert next(pictures.thumbnails(found, found.rows[:1], project.paths)).std() == 0


def test_what_the_page_is_given_is_what_is_known_of_the_picture(found, project):
    loaded = {
        each.row: each.to_dict(found) for each in pictures.load(found, pictures.choose(found, 8, 8), project.paths)
    }
    entry = loaded[1]
    assert entry["shares"][0] == [1, pytest.approx(0.4519, abs=1e-4)]
    assert (entry["actual"], entry["known"], entry["author"]) == (0, True, "梵高")
    assert entry["page"] == "https://a.example/1.png"
    values = np.frombuffer(base64.b64decode(entry["evidence"]["values"]), np.int8)
    assert len(values) == 2 * np.prod(entry["evidence"]["shape"])
    assert "page" not in loaded[0]  # its address is a program
