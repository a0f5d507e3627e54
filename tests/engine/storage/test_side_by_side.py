"""Many small requests at once: in order, bounded, and ended by an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from florilegium.engine.storage.side_by_side import side_by_side


def test_results_come_in_the_order_of_the_items() -> None:
    last = threading.Event()

    def slow_first(number: int) -> int:
        if number == 0:
            last.wait(10)
        if number == 3:
            last.set()
        return number * number

    assert list(side_by_side(slow_first, range(5), at_once=4)) == [0, 1, 4, 9, 16]


def test_no_more_run_at_once_and_no_more_are_taken_than_may_be() -> None:
    lock, running, most, taken = threading.Lock(), 0, 0, 0

    def call(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        return number

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    results = side_by_side(call, items(), at_once=3)
    next(results)
    assert taken == 6
    assert len(list(results)) == 99
    assert most <= 3


def test_an_error_is_raised_where_its_item_is_due() -> None:
    results = side_by_side(lambda number: 1 // (number - 2), range(9), at_once=2)
    assert [next(results), next(results)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
