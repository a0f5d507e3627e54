from __future__ import annotations

import numpy as np
import pytest

from florilegium.pipelines.merge.calibration import Interval
from florilegium.pipelines.merge.learning.localisation import edge_weights
from florilegium.pipelines.merge.learning.regression import fit_voter
from florilegium.pipelines.merge.learning.reliability import expected_calibration_error, wilson


def test_wilson_gives_the_published_interval() -> None:
    interval = wilson(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert interval.share == pytest.approx(81 / 263, abs=1e-6)
    assert (interval.right, interval.audited) == (81, 263)


def test_wilson_stays_within_its_limits_where_all_or_none_are_right() -> None:
    assert (wilson(0, 20).low, wilson(20, 20).high) == (0, 1)
    assert 0 < wilson(0, 20).high < 0.2
    # One of one: from 1 / (1 + z squared) on.
    assert (wilson(1, 1).low, wilson(1, 1).high) == (pytest.approx(0.206549, abs=1e-6), 1)
    assert wilson(0, 0) == Interval()


def test_honest_probabilities_have_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(size=20_000)
    is_right = rng.uniform(size=20_000) < probability
    assert expected_calibration_error(probability, is_right) < 0.02
    assert expected_calibration_error(probability**2, is_right) == pytest.approx(1 / 6, abs=0.02)


def test_the_error_of_constant_claims_is_their_distance_from_the_truth() -> None:
    is_right = np.arange(100) < 70
    assert expected_calibration_error(np.full(100, 0.9), is_right, bins=1) == pytest.approx(0.2)
    assert expected_calibration_error(np.zeros(0), np.zeros(0, bool)) is None


def test_the_error_weighs_each_bin_by_its_size_and_bins_by_rank() -> None:
    claimed = np.array([0.9, 0.1, 0.8, 0.3, 0.2])
    is_right = np.array([True, False, False, True, False])
    # Sorted: 0.1 0.2 0.3 | 0.8 0.9 with one right each: (|0.6 - 1| + |1.7 - 1|) / 5.
    assert expected_calibration_error(claimed, is_right, bins=2) == pytest.approx(1.1 / 5)
    # Never more bins than statements: 0.1 + 0.2 + 0.7 + 0.8 + 0.1.
    assert expected_calibration_error(claimed, is_right) == pytest.approx(1.9 / 5)
    # Equals stay in their order.
    place = np.arange(210)
    mixed, is_right = 0.4 + place % 3 / 10, place**2 // 10 % 2 == 0
    order = sorted(range(210), key=lambda row: mixed[row])
    gaps = [sum(mixed[row] - is_right[row] for row in order[at : at + 7]) for at in place[::7]]
    found = expected_calibration_error(mixed, is_right, bins=30)
    assert found == pytest.approx(sum(map(abs, gaps)) / 210)
    # Ten of twenty: two each, claims of one half cancel within a bin and not between bins.
    half = np.full(20, 0.5)
    assert expected_calibration_error(half, np.arange(20) % 2 == 0) == pytest.approx(0)
    assert expected_calibration_error(half, np.arange(20) < 10) == pytest.approx(0.5)


def test_each_voters_exactness_is_found_without_truth() -> None:
    rng = np.random.default_rng(0)
    sigma = np.array([1.0, 1.5, 2.5])
    true = np.array([20.0, 20, 60, 60]) + rng.uniform(0, 30, (400, 1, 1))
    boxes = true + rng.normal(size=(400, 3, 4)) * sigma[:, None]
    voter, thing = np.tile(np.arange(3), 400), np.repeat(np.arange(400), 3)
    weights = edge_weights(boxes.reshape(-1, 4), voter, thing, 3)
    expected = 1 / sigma**2
    assert weights == pytest.approx(expected / expected.mean(), rel=0.25)


def test_without_common_things_all_draw_alike() -> None:
    assert edge_weights(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int), 2).tolist() == [1, 1]


def test_a_score_that_misleads_is_not_used() -> None:
    score = np.linspace(0.05, 0.95, 100)
    voter = fit_voter(score, score < 0.4, prior=0.5)
    assert voter.slope == 0
    assert voter.probability(np.array([0.1, 0.9])) == pytest.approx([0.4, 0.4], abs=0.03)


def test_few_audited_statements_are_drawn_towards_what_is_expected() -> None:
    voter = fit_voter(np.array([0.9]), np.array([True]), prior=0.5)
    assert voter.probability(np.array([0.9]))[0] == pytest.approx(2 / 3, abs=0.01)


def test_statements_without_a_score_have_a_probability_of_their_own() -> None:
    score = np.append(np.linspace(0.05, 0.95, 100), np.full(100, np.nan))
    is_right = np.append(np.linspace(0, 1, 100) > 0.5, np.arange(100) < 20)
    voter = fit_voter(score, is_right, prior=0.5)
    assert voter.probability(np.array([np.nan]))[0] == pytest.approx(0.2, abs=0.02)
    low, high = voter.probability(np.array([0.05, 0.95]))
    assert low < 0.1
    assert high > 0.9
