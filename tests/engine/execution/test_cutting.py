"""How many samples the calls of a shard have."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from florilegium.engine.execution.cutting import CHUNK, tapered, whole_batches


@pytest.mark.parametrize(
    ("batch", "count", "width", "lengths"),
    [
        (8, 250, 2, [CHUNK] * 7 + [26]),
        (12, 100, 2, [36, 36, 28]),  # the first whole batches that reach a share of 25
        (12, 20, 4, [12, 8]),
        (1, 16, 4, [2] * 8),  # two calls for each worker of the pool
        (1, 17, 4, [3] * 5 + [2]),
        (50, 100, 2, [50, 50]),  # a batch larger than a call is not cut
        (8, 0, 2, []),
    ],
)
def test_calls_are_of_whole_batches(batch: int, count: int, width: int, lengths: list[int]) -> None:
    assert [*whole_batches(count, width=width, batch=batch)] == lengths


@pytest.mark.parametrize(
    ("batch", "count", "width", "lengths"),
    [
        (8, 44, 2, [8, 8, 7, 6, 4, 3, 2, 2, 2, 2]),  # a quarter of what is left, or whole batches
        (8, 8, 2, [2, 2, 2, 2]),  # all workers have something to do
        (8, 256, 2, [32, 32, 32, 32, 32, 24, 16, 8, 8, 8, 8, 6, 5, 4, 3, 2, 2, 2]),
        (1, 5, 2, [2, 1, 1, 1]),
        (256, 44, 2, [11, 9, 8, 8, 8]),  # a large batch is no reason for one call
        (8, 1, 2, [1]),
        (8, 0, 2, []),
    ],
)
def test_the_last_calls_are_shorter_and_shorter(
    batch: int, count: int, width: int, lengths: list[int]
) -> None:
    assert [*tapered(count, width=width, batch=batch)] == lengths


@pytest.mark.parametrize("count", [*range(1, 70), 1000])
@pytest.mark.parametrize("cut", [whole_batches, tapered])
def test_every_sample_is_in_one_call(cut: Callable[..., Iterator[int]], count: int) -> None:
    for width, batch in ((2, 8), (3, 1), (64, 256)):
        lengths = [*cut(count, width=width, batch=batch)]
        assert sum(lengths) == count
        assert min(lengths) > 0
