"""Many small requests to a storage at once: as many as it answers well, and never more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 32
"""Requests that wait for an answer at once, at most."""


def side_by_side(
    function: Callable[[T], R], items: Iterable[T], *, at_once: int = AT_ONCE
) -> Iterator[R]:
    """Yield the result for each item, in the order of the items; at most twice `at_once` results
    are held.

    An error of the function is raised when its item is due, and ends the others.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(at_once, thread_name_prefix="side by side") as threads:
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) == 2 * at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
