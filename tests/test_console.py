"""Tables stand straight in a terminal, in any script and whatever their cells hold."""

from imageloom import console


def test_cells_stand_below_each_other_in_any_script():
    rows = [["class", "host", "new"], ["卡特彼勒", "a.example", "5"], ["e\u0301clair", "b", "1,000"]]
    assert console.table(rows, texts=2) == [
        "class     host         new",
        "卡特彼勒  a.example      5",
        "e\u0301clair    b          1,000",
    ]


def test_numbers_can_have_columns_of_one_width():
    assert console.table([["", "pictures", "A"], ["cat", "7", "1"]], even=True) == [
        "     pictures         A",
        "cat         7         1",
    ]


def test_what_would_move_the_cursor_is_replaced_and_counted_as_it_is_shown():
    assert console.table([["\u202ea\x1b[2J", "1"], ["bcdefgh", "2"]]) == ["\ufffda\ufffd[2J   1", "bcdefgh  2"]
