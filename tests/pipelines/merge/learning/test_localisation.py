"""How exactly voters draw, from boxes whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest

from florilegium.pipelines.merge.learning.localisation import MIN_PAIRS, edge_weights

BOX = np.array([10.0, 20, 50, 30])
"""40 x 10: a side of 20 by area."""
ERRORS = {0: (2.0, 0, 2, 0), 1: (0.0, 1, 0, 1), 2: (0.0, 0, 0, 0), 3: (0.0, 0, 0, 0)}
"""Each moves its box along another axis, or not at all: the squares of two add up."""


def weights(drawn: list[tuple[int, int]], voters: int = 3, scale: float = 1.0) -> np.ndarray:
    """Weigh voters that each drew some things, given as (thing, voter)."""
    thing, voter = (np.array(column) for column in zip(*drawn, strict=True))
    shift = np.array([ERRORS[one] for one in voter.tolist()])
    boxes = BOX + 5 * np.repeat(thing[:, None], 4, axis=1) + shift
    return edge_weights(boxes * scale, voter, thing, voters)


def everybody(things: int, *voters: int) -> list[tuple[int, int]]:
    return [(thing, voter) for thing in range(things) for voter in voters]


@pytest.mark.parametrize("scale", [1.0, 7.0])
def test_weights_are_inverse_variances_whatever_the_size(scale: float) -> None:
    # Mean squares over four edges, by the side: 0: 2/400, 1: 0.5/400, 2: none, so a tenth of 0's.
    found = weights(everybody(9, 2, 0, 1), scale=scale)
    assert found == pytest.approx(np.array([200, 800, 2000]) / 1000)


def test_what_two_did_not_both_draw_often_enough_does_not_count() -> None:
    assert MIN_PAIRS == 8
    assert weights(everybody(8, 0, 1, 2)) == pytest.approx([0.2, 0.8, 2.0])
    assert weights(everybody(7, 0, 1, 2)).tolist() == [1, 1, 1]
    # Voter 1 drew nothing: 0 and 2 share their difference, and 1 counts like the worst.
    assert weights(everybody(8, 0, 2)) == pytest.approx([1, 1, 1])


def test_with_two_voters_both_count_alike() -> None:
    assert weights(everybody(20, 0, 1), voters=2).tolist() == pytest.approx([1, 1])


def test_a_voter_of_which_too_little_is_known_counts_like_the_least_exact() -> None:
    drawn = [*everybody(8, 0, 1, 2), (0, 3), (1, 3)]
    # Three as above, and another 0.2: the mean of 0.2, 0.8, 2.0 and 0.2 is 0.8.
    assert weights(drawn, voters=4) == pytest.approx(np.array([0.2, 0.8, 2.0, 0.2]) / 0.8)


def test_voters_that_never_differ_count_alike() -> None:
    thing, voter = np.repeat(np.arange(9), 3), np.tile(np.arange(3), 9)
    assert edge_weights(np.tile(BOX, (27, 1)), voter, thing, 3).tolist() == [1, 1, 1]
    assert edge_weights(np.zeros((27, 4)), voter, thing, 3).tolist() == [1, 1, 1]


@pytest.mark.parametrize("scale", [1.0, 0.04])
def test_errors_count_by_the_size_of_what_is_drawn_and_outliers_do_not(scale: float) -> None:
    """Two draw small things together, the other pairs large ones: three times all, errors too."""
    boxes, voter, thing = [], [], []
    for pair, size in (((0, 1), 1), ((0, 2), 3), ((1, 2), 3)):
        for _ in range(9):
            number = thing[-1] + 1 if thing else 0
            for one in pair:
                shift = np.array(ERRORS[one]) * (50 if number == 4 else 1)
                boxes.append((BOX + shift) * size * scale)
                voter.append(one)
                thing.append(number)
    found = edge_weights(np.array(boxes), np.array(voter), np.array(thing), 3)
    assert found == pytest.approx(np.array([0.2, 0.8, 2.0]))
