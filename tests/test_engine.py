import random
import threading
import time

import pytest

from imageloom.engine import map_ordered


def test_results_come_in_the_order_of_items_however_long_each_takes():
    random.seed(0)
    pauses = [random.choice((0, 0, 0.001, 0.01)) for _ in range(100)]
    all_at_work = threading.Barrier(4, timeout=60)

    def work(number: int) -> int:
        if number < 4:
            all_at_work.wait()
        time.sleep(pauses[number])
        return number * number

    assert list(map_ordered(work, range(100), 4)) == [number * number for number in range(100)]


def test_no_more_is_taken_ahead_than_a_few_items_for_each_thread():
    taken = []
    results = map_ordered(lambda number: number, (taken.append(n) or n for n in range(1000)), 2)
    assert next(results) == 0
    assert len(taken) <= 16
    results.close()


def test_what_goes_wrong_with_an_item_is_told_in_its_turn():
    results = map_ordered(lambda number: 1 // number, [1, 1, 0, 1], 2)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
