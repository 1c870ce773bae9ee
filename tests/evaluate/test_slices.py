import numpy as np
import pytest
from pydantic import ValidationError

from imageloom.evaluate.slices import VALUES, Cut, cut


def values(rows: list[dict], **of: object) -> dict[str, tuple[int, float]]:
    """Each slice's pictures and accuracy; every other picture is answered rightly."""
    right = np.arange(len(rows)) % 2 == 0
    return {each.value: (each.pictures, each.accuracy.value) for each in cut(rows, right, alone(rows), [Cut(**of)])}


def alone(rows: list) -> np.ndarray:
    """Each picture in a group of its own."""
    return np.arange(len(rows))


def test_pictures_are_cut_by_host_the_commonest_first():
    rows = [{"url": f"https://{name}.example:8080/x"} for name in ("b", "b", "a")] + [{"url": "file:data/y.png"}]
    assert values(rows, column="host") == {"b.example": (2, 0.5), "a.example": (1, 1.0), "file": (1, 0.0)}


def test_size_is_the_shorter_side_and_many_sizes_are_put_into_ranges():
    rows = [{"width": 100 + number, "height": 300} for number in range(100)]
    found = values(rows, column="size")
    numbers = {name: number for name, (number, _) in found.items()}
    assert numbers == {"below 125": 25, "from 125 below 150": 25, "from 150 below 174": 24, "from 174": 26}
    few = [{"width": 500, "height": side} for side in (100, 300, 100)]
    assert values(few, column="size") == {"100": (2, 1.0), "300": (1, 0.0)}


def test_where_most_have_the_smallest_size_the_larger_ones_are_the_other_part():
    rows = [{"width": 100 + max(0, number - 94), "height": 300} for number in range(100)]
    assert {name: number for name, (number, _) in values(rows, column="size").items()} == {"100": 95, "above 100": 5}


def test_crawls_are_counted_from_one_and_come_in_their_order():
    rows = [{"crawl": number} for number in (1, 0, 1, 1)]
    assert list(values(rows, column="crawl")) == ["1", "2"]


def test_a_part_of_a_column_is_found_by_a_pattern():
    rows = [{"title": title} for title in ("Cell 1, monocrystalline", "Cell 2, polycrystalline", "no cell", None)]
    found = values(rows, column="title", match="(mono|poly)crystalline")
    assert found == {"mono": (1, 1.0), "poly": (1, 0.0), "not stated": (2, 0.5)}


def test_rare_values_are_put_together_and_none_is_lost():
    rows = [{"author": name} for name in [*"aaabbbccc", *map(str, range(20))]] + [{"author": None}]
    found = values(rows, column="author")
    assert len(found) == VALUES + 2
    assert list(found)[:3] == ["a", "b", "c"]
    assert found["15 others"][0] == 15
    assert sum(number for number, _ in found.values()) == len(rows)


def test_what_is_called_none_is_not_what_is_not_stated():
    names = [*"aabbccddeeffgghh", "None", "nobody"]
    found = values([{"author": name} for name in [*names, None, None, None]], column="author")
    assert {name: number for name, (number, _) in found.items() if len(name) > 1} == {"2 others": 2, "not stated": 3}


def test_slices_have_the_interval_of_their_own_number():
    few, many = (
        cut([{"source": "x"}] * number, np.ones(number, bool), np.arange(number), [Cut(column="source")])[0]
        for number in (3, 300)
    )
    assert few.accuracy.low == pytest.approx(0.4385, abs=1e-4)
    assert many.accuracy.low == pytest.approx(0.9874, abs=1e-4)


COLUMNS = ("source", "author", "licence", "title", "format", "page", "reason")


def verdicts(seed: int, columns: int, bad: float = 0.85) -> list[str | None]:
    """600 pictures cut at random by several columns; those of the first author are right with the chance `bad`."""
    draw, names = np.random.default_rng(seed), [*COLUMNS[:columns]]
    values = draw.integers(0, 6, (600, columns))
    rows = [{name: f"value {value}" for name, value in zip(names, row, strict=True)} for row in values]
    right = draw.random(600) < np.where(values[:, 0] == 0, bad, 0.85)
    cuts = [Cut.model_construct(column=name, match=None, title="") for name in names]
    return [each.verdict for each in cut(rows, right, alone(rows), cuts)]


def test_of_many_slices_that_differ_by_chance_none_is_called_worse_more_often_than_said():
    looked = [verdicts(seed, columns=7) for seed in range(60)]
    assert {len(each) for each in looked} == {42}
    assert sum(any(each) for each in looked) <= 7  # 5 % of 60 are 3, and two standard deviations more


def test_a_slice_that_is_worse_is_called_so():
    assert sum("worse" in verdicts(seed, columns=7, bad=0.6) for seed in range(20)) >= 17
    assert not any("better" in verdicts(seed, columns=7, bad=0.6) for seed in range(3))


def test_one_slice_alone_is_neither_better_nor_worse():
    (only,) = cut([{"source": "x"}] * 9, np.zeros(9, bool), np.arange(9), [Cut(column="source")])
    assert (only.verdict, only.rest, only.p) == (None, None, 1.0)


def test_chance_is_that_of_the_lady_who_tasted_tea():
    rows = [{"source": "milk first" if number < 4 else "tea first"} for number in range(8)]
    right = np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)
    found = cut(rows, right, alone(rows), [Cut(column="source")])
    assert [each.p for each in found] == pytest.approx([34 / 70 * 2] * 2)  # Fisher 1935; two slices double it
    assert [each.rest for each in found] == [0.25, 0.75]


def test_copies_of_one_picture_make_no_slice_worse():
    rows = [{"source": "copied" if number < 30 else "others"} for number in range(330)]
    right = np.where(np.arange(330) < 30, False, np.arange(330) % 10 > 0)
    copied = np.where(np.arange(330) < 30, 0, np.arange(330))
    for groups, verdict in ((alone(rows), "worse"), (copied, None)):
        part = next(each for each in cut(rows, right, groups, [Cut(column="source")]) if each.value == "copied")
        assert part.verdict == verdict
    assert part.accuracy.high == pytest.approx(0.7935, abs=1e-4)  # Wilson's of 0 of 1


def test_a_name_alone_is_a_cut_and_a_wrong_one_is_refused():
    assert Cut.model_validate("licence") == Cut(column="licence")
    with pytest.raises(ValidationError, match="must be one of host, size"):
        Cut.model_validate("colour")
    with pytest.raises(ValidationError, match="regular expression"):
        Cut(column="title", match="(mono")
