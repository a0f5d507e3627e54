"""Pairs one to one, and shares of them."""

from __future__ import annotations

import numpy as np

from florilegium.pipelines.shape_world.score.matching import MatchCounts, pairs


def matched(value: list[list[float]], least: float) -> list[tuple[int, int]]:
    values = np.array(value)
    return list(zip(*(side.tolist() for side in pairs(values, values >= least)), strict=True))


def test_more_pairs_are_preferred_to_closer_ones() -> None:
    assert matched([[0.95, 0.4], [0.4, 0.0]], 0.3) == [(0, 1), (1, 0)]


def test_of_equally_many_pairs_the_closest_are_chosen() -> None:
    assert matched([[0.6, 0.7], [0.9, 0.6]], 0.5) == [(0, 1), (1, 0)]
    assert matched([[0.6], [0.8]], 0.5) == [(1, 0)]


def test_forbidden_pairs_are_never_matched() -> None:
    assert matched([[0.4, 0.1], [0.2, 0.3]], 0.5) == []
    assert matched([], 0.5) == []


def test_shares_of_empty_counts() -> None:
    nothing, missed, untrue = MatchCounts(), MatchCounts(true=2), MatchCounts(predicted=2)
    assert (nothing.precision, nothing.recall, nothing.f1) == (None, None, None)
    assert (missed.precision, missed.recall, missed.f1) == (0.0, 0.0, 0.0)
    assert (untrue.precision, untrue.recall, untrue.f1) == (0.0, None, 0.0)


def test_counts_add_up() -> None:
    total = MatchCounts(right=1, predicted=2, true=4) + MatchCounts(
        right=2, predicted=2, true=4, found=1
    )
    assert (total.precision, total.recall) == (0.75, 0.25)
