"""The stage `evaluate` on a classifier whose answers are known: the features are the logits."""

import csv
import dataclasses
import json
import re
from collections import Counter

import numpy as np
import pytest
from answers import ABOUT, ANSWERS, NAMES

from imageloom import tables, wilson
from imageloom.errors import DataError, ImageloomError
from imageloom.evaluate import cards, figures, metrics, report, slices
from imageloom.evaluate.measures import measure
from imageloom.evaluate.outcome import read as read_outcome
from imageloom.evaluate.pictures import Choice
from imageloom.features import FeatureStore

MATRIX = [[1, 2, 1], [0, 2, 0], [0, 1, 1]]
BY_LOSS = [2, 6, 3, 1, 4, 7, 0, 5]


def table(project, name):
    with (project.paths.reports / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def metrics_of(project):
    return json.loads((project.paths.reports / "metrics.json").read_text(encoding="utf-8"))


def page_of(project):
    return (project.paths.reports / "index.html").read_text(encoding="utf-8")


def shown(page):
    """What the page's script is given."""
    return json.loads(re.search(r'<script type="application/json" id="pictures">(.*?)</script>', page, re.DOTALL)[1])


def softmax_of(sure, temperature=1.0):
    """Probability of the answer: one logit of `sure`, two of 0."""
    return np.exp(sure / temperature) / (np.exp(sure / temperature) + 2)


def test_the_page_and_the_tables_name_rows_and_columns_rightly(project, put):
    put(project)
    project.run("evaluate")
    matrix = page_of(project).partition('<table class="confusion">')[2].partition("</table>")[0]
    assert re.findall('<th scope="col"><span>(.*?)</span>', matrix) == ["ANT", "BEE", "COW"]
    assert re.findall('<th scope="row">(.*?)</th>', matrix) == ["ANT", "BEE", "COW"]
    counts = re.findall(r'(\d+)<small>(\d+)|class="none">(0)<', matrix)
    assert [int(count or none) for count, _, none in counts] == np.ravel(MATRIX).tolist()
    assert [int(share) for _, share, none in counts if not none] == [25, 50, 25, 100, 50, 50]
    places = re.findall(r'data-actual="(\d)" data-predicted="(\d)" data-count="(\d)"', matrix)
    assert {(int(a), int(p)): int(n) for a, p, n in places} == {
        (a, p): MATRIX[a][p] for a in range(3) for p in range(3) if MATRIX[a][p]
    }
    pairs = Counter((row["actual"], row["predicted"]) for row in table(project, "confusion"))
    assert pairs == Counter((shows, answer) for shows, answer, _ in ANSWERS)


def test_metrics_are_those_of_the_answers(project, put):
    put(project)
    project.run("evaluate")
    found = metrics_of(project)
    assert found["accuracy"] == found["micro_f1"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx((0.25 + 1 + 0.5) / 3, abs=1e-4)
    assert found["classes"]["bee"]["support"] == 2
    assert found["classes"]["bee"]["recall"] == 1
    assert found["pictures"]["train"] == {"ant": 1, "bee": 1, "cow": 1}
    low, high = found["accuracy_interval"]
    assert low < 0.25
    assert high > 0.75
    wrong = [(1 - softmax_of(sure)) / 2 for shows, answer, sure in ANSWERS if shows != answer]
    right = [softmax_of(sure) for shows, answer, sure in ANSWERS if shows == answer]
    assert found["log_loss"] == pytest.approx(-np.log(wrong + right).mean(), abs=1e-4)
    # Seven of eight are surer than 0.4.
    assert found["share_known"] == 0.875
    assert found["accuracy_of_known"] == pytest.approx(3 / 7, abs=1e-4)


def test_the_temperature_is_applied_to_all_but_what_is_called_uncalibrated(project, put):
    put(project)
    project.run("evaluate")
    plain = metrics_of(project)
    put(project, calibration={"temperature": 4.0})
    project.run("evaluate")
    soft = metrics_of(project)
    assert soft["log_loss_uncalibrated"] == plain["log_loss"]
    assert soft["ece_uncalibrated"] == plain["ece"]
    assert soft["log_loss"] < plain["log_loss"]
    assert soft["accuracy"] == plain["accuracy"]
    picture = shown(page_of(project))["pictures"][0]
    assert picture["shares"][0][1] == pytest.approx(softmax_of(3.0, 4.0), abs=1e-4)


@pytest.mark.parametrize(
    ("bounds", "unknown"), [({"min_confidence": 0.5}, {1, 4}), ({"max_distance": -1.0}, set(range(8)))]
)
def test_what_is_unsure_or_far_is_told_as_unknown(project, put, bounds, unknown):
    ids = put(project, known=ABOUT["known"] | bounds)
    project.run("evaluate")
    rows = table(project, "predictions")
    assert {ids.index(row["id"]) for row in rows if row["known"] == "no"} == unknown
    pictures = shown(page_of(project))["pictures"]
    assert {ids.index(each["id"]) for each in pictures if not each["known"]} == unknown
    assert ("accuracy_of_known" in metrics_of(project)) == (len(unknown) < 8)


def test_the_worst_pictures_come_in_the_order_of_loss_and_those_of_a_cell_by_how_sure_they_are(project, put):
    ids = put(project)
    project.run("evaluate")
    page = page_of(project)
    pictures = shown(page)["pictures"]
    worst = re.search(r'<ul class="pairs" data-pictures="([\d ]+)"', page)[1].split()
    assert [pictures[int(number)]["id"] for number in worst] == [ids[number] for number in BY_LOSS[:6]]
    cell = [each["shares"][0][1] for each in pictures if each["actual"] == 0 and each["shares"][0][0] == 1]
    assert cell == sorted(cell, reverse=True)
    assert len(pictures) == len(ids)


def test_few_pictures_are_shared_out_among_the_cells(project, put):
    put(project)
    project.configure(evaluate={"bootstrap": 100, "worst": 1, "browse": 6})
    project.run("evaluate")
    pictures = shown(page_of(project))["pictures"]
    assert len({(each["actual"], each["shares"][0][0]) for each in pictures}) == 6  # every cell that is not empty


def test_curves_bins_and_slices_are_written_as_tables(project, put):
    put(project)
    pattern = {"column": "title", "match": "(mono|poly)", "title": "kind"}
    project.configure(evaluate={"bootstrap": 100, "slices": ["host", "crawl", pattern]})
    project.run("evaluate")
    assert {row["class"] for row in table(project, "roc")} == set(NAMES)
    assert {row["class"] for row in table(project, "precision_recall")} == set(NAMES)
    assert {row["calibration"] for row in table(project, "calibration")} == {"before", "after"}
    found = {
        (row["slice"], row["value"]): (int(row["pictures"]), float(row["accuracy"])) for row in table(project, "slices")
    }
    assert found[("host", "a.example")] == (4, 0.25)
    assert found[("host", "b.example")] == (4, 0.75)
    assert found[("crawl", "2")] == (2, 0.5)
    assert sum(number for (name, _), (number, _) in found.items() if name == "kind") == 8


def test_the_cards_tell_sources_licences_authors_and_what_to_beware_of(project, put):
    put(project)
    project.configure(
        evaluate={"bootstrap": 100, "purpose": "To tell ants 🐜 apart.", "cautions": ["Never asked of <wasps>."]}
    )
    project.run("evaluate")
    page = page_of(project)
    data = page.partition('<section id="data">')[2].partition("</section>")[0]
    for words in ("梵高", "CC BY-NC 4.0", "name the author, not for commercial use", "a.example", "1 too small"):
        assert words in data
    assert "2 exact copies" in data
    model = page.partition('<section id="model">')[2].partition("</section>")[0]
    for words in (
        "To tell ants 🐜 apart.",
        "Never asked of &lt;wasps&gt;.",
        "not for commercial use; ask",
        "Learned from few training pictures: ANT (1), BEE (1), COW (1).",
    ):
        assert words in model


def test_the_same_inputs_give_the_same_bytes_and_no_picture_is_needed_for_them(project, put):
    ids = put(project)
    project.run("evaluate")
    first = {path: path.read_bytes() for path in project.paths.reports.rglob("*") if path.is_file()}
    project.run("evaluate")
    assert {path: path.read_bytes() for path in first} == first
    for path in project.paths.raw.rglob("*.png"):
        path.unlink()
    project.run("evaluate")
    assert metrics_of(project) == json.loads(first[project.paths.reports / "metrics.json"])
    assert len(shown(page_of(project))["pictures"]) == len(ids)


def test_a_class_that_came_after_the_classifier_is_told_of(project, put):
    put(project, classes=ABOUT["classes"][:2])
    with pytest.raises(DataError, match="does not know the class cow") as told:
        project.run("evaluate")
    assert told.value.hint == "run `dvc repro train`"


def test_the_baseline_is_the_commonest_class_of_the_training_side(project, put):
    put(project)
    split = tables.read(project.paths.split, tables.SPLIT, "split").to_pylist()
    extra = [row | {"id": f"{number:064x}"} for number in range(3) for row in split if row["class"] == "cow"][:2]
    tables.write(project.paths.split, [*split, *(row | {"side": "train"} for row in extra)], tables.SPLIT)
    project.run("evaluate")
    assert metrics_of(project)["majority_baseline"] == 0.25  # two of eight are cows


def test_the_interval_of_precision_is_of_the_answers_and_that_of_recall_of_the_pictures(project, put):
    put(project)
    project.run("evaluate")
    outcome = read_outcome(project.paths)
    bee = report._classes(outcome, measure(outcome, 10, 5, []))[1]
    assert (bee["support"], bee["named"]) == (2, 5)
    assert (bee["precision"].low, bee["precision"].high) == pytest.approx(wilson.interval(0.4, 5))
    assert (bee["recall"].low, bee["recall"].high) == pytest.approx(wilson.interval(1.0, 2))


def test_near_duplicates_widen_every_interval(project, put):
    put(project)
    project.run("evaluate")
    alone = metrics_of(project)
    split = tables.read(project.paths.split, tables.SPLIT, "split").to_pylist()
    first = split[0]["id"]
    tables.write(project.paths.split, [row | {"group": first} for row in split], tables.SPLIT)
    project.run("evaluate")
    together = metrics_of(project)
    assert together["accuracy"] == alone["accuracy"] == 0.5
    assert together["accuracy_interval"] == pytest.approx(wilson.interval(0.5, 1), abs=1e-4)
    assert alone["accuracy_interval"][0] > together["accuracy_interval"][0]
    outcome = read_outcome(project.paths)
    assert outcome.groups.tolist() == [0] * 8
    measured = measure(outcome, 10, 5, [slices.Cut(column="host")])
    bee = report._classes(outcome, measured)[1]
    assert (bee["precision"].low, bee["precision"].high) == pytest.approx(wilson.interval(0.4, 1))
    first = measured.slices[0].accuracy
    assert (first.low, first.high) == pytest.approx(wilson.interval(first.value, 1))


def test_one_test_picture_gives_numbers_and_a_page(project, put):
    ids = put(project)
    split = tables.read(project.paths.split, tables.SPLIT, "split").to_pylist()
    tables.write(project.paths.split, [row for row in split if row["id"] not in ids[1:]], tables.SPLIT)
    project.run("evaluate")
    text = (project.paths.reports / "metrics.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["accuracy"] == 1
    assert found["accuracy_interval"] == pytest.approx(wilson.interval(1, 1), abs=1e-4)
    assert {"log_loss", "brier"} < found.keys()
    assert not {"log_loss_interval", "brier_interval"} & found.keys()
    assert not re.search(r"\bnan\b", page_of(project), re.IGNORECASE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_an_error_and_no_metrics(project, put, value):
    put(project)
    store = FeatureStore(project.paths.features)
    ids = store.ids()
    vectors = store.read(ids)
    vectors[0, 1] = value
    store.keep_only(set())
    store.append(zip(ids, vectors, strict=True), 3)
    with pytest.raises(DataError, match="are infinite or no numbers"):
        project.run("evaluate")
    assert not (project.paths.reports / "metrics.json").exists()


def test_a_slice_that_is_worse_is_told_and_one_that_may_be_so_by_chance_is_not(project, put):
    put(project)
    project.configure(evaluate={"bootstrap": 100, "slices": ["host"]})
    project.run("evaluate")
    model = page_of(project).partition('<section id="model">')[2]
    assert "does worse" not in model  # a quarter of four, and three quarters of four
    assert 'class="tag' not in page_of(project).partition('<section id="slices">')[2].partition("</section>")[0]
    outcome = read_outcome(project.paths)
    assert {row["p"] for row in table(project, "slices")} == {f"{34 / 70 * 2:.4f}"}  # Fisher's, twice
    part = slices.Slice("host", "a.example", 4, metrics.Interval(0.25, 0.05, 0.4), rest=0.75, p=0.01)
    parts = [part, dataclasses.replace(part, value="chance", p=0.06)]
    measured = dataclasses.replace(measure(outcome, 10, 5, []), slices=parts)
    nothing = report.Shown(Choice([], [], []), [])
    page = report.render(outcome, measured, nothing, report.Words("", "", []), project.paths)
    assert re.findall(r'<td class="words">(\S+) <span class="tag bad">worse</span>', page) == ["a.example"]
    assert page.count('class="tag') == 1
    said = list(cards._cautions(outcome, parts))
    assert [line for line in said if "worse" in line] == [
        "It does worse on pictures with host: a.example (25.0% right, 75.0% of the others)."
    ]


def test_a_classifier_of_an_older_imageloom_is_told_of(project, put):
    put(project, calibration=None)
    path = project.paths.classifier / "classifier.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    del about["calibration"]
    path.write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(DataError, match="older imageloom"):
        project.run("evaluate")


@pytest.mark.parametrize(
    ("section", "told"),
    [({"slices": ["colour"]}, "colour"), ({"slices": [{"column": "title", "match": "("}]}, "regular expression")],
)
def test_a_wrong_slice_is_told_with_its_line(project, section, told):
    project.configure(evaluate=section)
    with pytest.raises(ImageloomError, match=r"params\.yaml:\d") as fault:
        project.run("evaluate")
    assert told in fault.value.message


def test_the_figure_has_a_row_for_what_is_shown_and_a_column_for_what_is_answered(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_save", lambda figure, target: drawn.append(figure))
    figures.confusion(np.array(MATRIX), NAMES, tmp_path / "confusion.png")
    axes = drawn[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "actual")
    counts = {text.get_position(): int(text.get_text().partition("\n")[0]) for text in axes.texts}
    assert counts == {(column, row): MATRIX[row][column] for row in range(3) for column in range(3)}
    assert axes.images[0].get_array().tolist() == [[0.25, 0.5, 0.25], [0, 1, 0], [0, 0.5, 0.5]]


def test_curves_of_both_sides_and_the_pictures_that_were_trained_on_are_drawn(project, put, monkeypatch):
    put(project)
    header = "step,train_loss,train_accuracy,validation_loss,validation_accuracy,chosen\n"
    (project.paths.reports).mkdir()
    history = project.paths.reports / "history.csv"
    history.write_text(f"{header}1,0.9,0.5,1.0,0.4,False\n2,0.3,0.9,0.6,0.8,True\n", encoding="utf-8")
    drawn = {}
    monkeypatch.setattr(figures, "_save", lambda figure, target: drawn.setdefault(target.name, figure))
    project.run("evaluate")
    loss, accuracy = drawn["history.png"].axes
    lines = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
    assert (lines["train"], lines["validation"]) == ([0.9, 0.3], [1.0, 0.6])
    assert list(next(line for line in accuracy.lines if line.get_label() == "chosen").get_xdata()) == [2, 2]
    assert [list(line.get_ydata()) for line in accuracy.lines[:2]] == [[0.5, 0.9], [0.4, 0.8]]
    captions = [text.get_text() for text in drawn["training.png"].axes[0].texts]
    assert sorted(captions) == ["ANT", "BEE", "COW"]
    history.write_text("step,inertia,chosen\n1,5.0,True\n", encoding="utf-8")
    drawn.clear()
    project.run("evaluate")
    assert "history.png" not in drawn
    assert "training.png" in drawn


def test_of_many_classes_the_figure_shows_those_that_are_mistaken_most(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_save", lambda figure, target: drawn.append(figure))
    matrix = np.diag(np.full(400, 9))
    matrix[50, 50] = 99  # often, and never for another
    matrix[300:, 7] = 1  # these are taken for the eighth, the last of them most often
    matrix[399, 7] = 3
    figures.confusion(matrix, [f"class {number}" for number in range(400)], tmp_path / "confusion.png")
    axes = drawn[0].axes[0]
    shown = [tick.get_text() for tick in axes.get_yticklabels()]
    assert shown == ["class 7", *(f"class {number}" for number in range(300, 328)), "class 399"]
    assert max(drawn[0].get_size_inches()) < 25
    assert axes.images[0].get_array()[29].tolist() == [0.25, *[0] * 28, 0.75]
