"""Fits that are checked where they must be best: the slope of the penalised likelihood is 0."""

from __future__ import annotations

import numpy as np
import pytest

from florilegium.pipelines.merge.calibration import Fusion, Voter, logit, sigmoid
from florilegium.pipelines.merge.learning.regression import (
    MIN_SCORES,
    PENALTY,
    fit_fusion,
    fit_voter,
)

SCORE = np.array([0.9, 0.8, 0.3, 0.6, 0.2, 0.7, 0.1, 0.5, 0.4, 0.95, 0.35, np.nan, np.nan, np.nan])
RIGHT = np.array([1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0], dtype=bool)


def test_a_voter_is_fitted_on_the_log_odds_of_its_scores() -> None:
    voter = fit_voter(SCORE, RIGHT, prior=0.5, weight=2.5)
    is_scored = ~np.isnan(SCORE)
    x, y = logit(SCORE[is_scored]), RIGHT[is_scored]
    miss = voter.probability(SCORE[is_scored]) - y
    assert miss.sum() == pytest.approx(0, abs=1e-4)
    assert (miss * x).sum() + PENALTY * voter.slope == pytest.approx(0, abs=1e-4)
    assert voter.slope > 0.3
    assert voter.weight == 2.5
    # One of three without a score, and two more of its own share, 7 of 14.
    assert voter.probability(np.array([np.nan])) == pytest.approx([0.4], abs=1e-6)
    assert (voter.precision.right, voter.precision.audited) == (7, 14)


def test_a_score_that_says_little_counts_little() -> None:
    score = np.tile([0.8, 0.2, 0.8, 0.2, 0.8], 8)
    right = np.tile([True, False, False, True, True], 8)
    voter = fit_voter(score, right, prior=0.5)
    assert 0.1 < voter.slope < 0.6
    miss = voter.probability(score) - right
    assert (miss * logit(score)).sum() + PENALTY * voter.slope == pytest.approx(0, abs=2e-3)


def test_too_few_scores_and_scores_of_one_class_or_one_value_are_not_fitted() -> None:
    score, right = np.linspace(0.1, 0.9, 10), np.arange(10) > 4
    assert MIN_SCORES == 10
    assert fit_voter(score, right, prior=0.5).slope > 0
    flat = (
        (score[1:], right[1:]),
        (score, np.ones(10, bool)),
        (score, np.zeros(10, bool)),
        (np.full(10, 0.7), right),
    )
    for one, is_right in flat:
        voter = fit_voter(one, is_right, prior=0.2)
        expected = (is_right.sum() + 2 * 0.2) / (len(one) + 2)
        assert voter.slope == 0
        assert voter.probability(np.array([0.1, 0.9])) == pytest.approx([expected] * 2, abs=1e-6)


def test_of_a_voter_that_never_spoke_the_prior_is_all_that_is_known() -> None:
    voter = fit_voter(np.zeros(0), np.zeros(0, bool), prior=0.3)
    assert voter.probability(np.array([0.9, np.nan])) == pytest.approx([0.3, 0.3], abs=1e-6)
    assert (voter.precision.share, voter.weight) == (None, 1.0)


COLUMNS = ("size", "name/star", "still", "votes")


def fused() -> tuple[Fusion, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    size = rng.normal(5, 20, 40)
    star = (np.arange(40) % 4 == 0).astype(float)
    features = np.column_stack([size, star, np.full(40, 7.0), rng.integers(0, 2, 40)])
    right = (size + 15 * star + rng.normal(0, 15, 40)) > 5
    return fit_fusion(COLUMNS, features, right, ("star",)), features, right


def test_numbers_are_penalised_by_their_spread_and_names_as_they_are() -> None:
    fusion, features, right = fused()
    assert fusion.names == ("star",)
    assert fusion.weights["still"] == 0, "a column that never changes teaches nothing"
    miss = fusion.probability(COLUMNS, features) - right
    assert miss.sum() == pytest.approx(0, abs=1e-3)
    mean, spread = features.mean(axis=0), features.std(axis=0)
    for place, name in ((0, "size"), (3, "votes")):
        column = (features[:, place] - mean[place]) / spread[place]
        slope = fusion.weights[name] * spread[place]
        assert (miss * column).sum() + PENALTY * slope == pytest.approx(0, abs=1e-3), name
    slope = fusion.weights["name/star"]
    assert (miss * features[:, 1]).sum() + PENALTY * slope == pytest.approx(0, abs=1e-3)
    assert slope > 0.3


def test_a_fusion_goes_by_the_names_of_columns_not_by_their_order() -> None:
    fusion = Fusion(weights={"a": 2.0, "b": -1.0}, intercept=0.5)
    features = np.array([[1.0, 3.0], [0.0, 0.25]])
    assert fusion.probability(["a", "b"], features) == pytest.approx(
        [1 / (1 + np.exp(0.5)), 1 / (1 + np.exp(-0.25))]
    )
    assert fusion.probability(["b", "a"], features[:, ::-1]) == pytest.approx(
        fusion.probability(["a", "b"], features)
    )


def test_log_odds_and_probabilities_are_each_others_inverse_within_their_limits() -> None:
    assert logit(np.array([0.5, 0.75, 0.2])) == pytest.approx([0, np.log(3), -np.log(4)])
    assert logit(np.array([0, 1, 1e-9])) == pytest.approx(
        np.array([-1, 1, -1]) * np.log(0.9999 / 0.0001)
    )
    assert sigmoid(np.log(3)) == pytest.approx(0.75)
    assert sigmoid(np.array([-1e9, 1e9])) == pytest.approx([1 / (1 + np.exp(30)), 1])
    assert sigmoid(-1e9) == 1 / (1 + np.exp(30))


def test_a_voters_score_counts_by_its_slope_and_silence_by_itself() -> None:
    voter = Voter(slope=2, intercept=-1, without_score=np.log(4))
    found = voter.probability(np.array([0.5, 0.75, np.nan]))
    assert found == pytest.approx([1 / (1 + np.e), 9 / (9 + np.e), 0.8], abs=1e-6)
