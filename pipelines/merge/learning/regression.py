"""Logistic regression with an L2 penalty, for few audited annotations.

It knows no annotations, only columns of numbers and what is right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from florilegium.pipelines.merge.calibration import Fusion, Voter, logit
from florilegium.pipelines.merge.learning.reliability import wilson

PENALTY = 1.0
"""Strength of the L2 penalty: weights are expected within about 1 of 0 (log-odds)."""

MIN_SCORES = 10
"""Number of audited scores below which they are not fitted."""
SOLVER = "newton-cholesky"
"""Exact to the digits that are stored, and fast with many rows and few columns."""
_CONSTANT = 1e-9
"""Standard deviation below which a column is constant."""


def fit_voter(score: np.ndarray, is_right: np.ndarray, prior: float, weight: float = 1.0) -> Voter:
    """Fit P(right) of one voter by Platt scaling on the log-odds of its score (Platt 1999).

    If the scores cannot be fitted, and for annotations without a score, P(right) is the voter's
    precision, shrunk towards `prior` by two pseudo-observations.

    Args:
        score: of its annotations, 0..1, NaN for none, (n,).
        is_right: whether they are right, bool, (n,).
        prior: precision of a voter without audited annotations, 0..1.
        weight: of its boxes, relative to other voters.
    """
    precision = wilson(int(is_right.sum()), len(is_right))
    is_scored = ~np.isnan(score)
    slope, intercept = _platt(score[is_scored], is_right[is_scored], prior)
    expected = prior if precision.share is None else precision.share
    return Voter(
        slope=slope,
        intercept=intercept,
        without_score=_constant(is_right[~is_scored], expected),
        weight=weight,
        precision=precision,
    )


def _platt(score: np.ndarray, is_right: np.ndarray, prior: float) -> tuple[float, float]:
    """Return slope and intercept; slope 0 if the scores cannot be fitted."""
    is_varied = len(score) >= MIN_SCORES and is_right.any() and not is_right.all()
    if is_varied and np.ptp(score) > 0:
        (slope,), intercept = _regression(logit(score)[:, None], is_right)
        # A score that is lower for right annotations is not reliable.
        if slope > 0:
            return slope, intercept
    return 0.0, _constant(is_right, prior)


def _constant(is_right: np.ndarray, expected: float) -> float:
    """Return the log-odds of the share of right annotations, with two pseudo-observations."""
    return float(logit((is_right.sum() + 2 * expected) / (len(is_right) + 2)))


def fit_fusion(
    columns: Sequence[str], features: np.ndarray, is_right: np.ndarray, names: Sequence[str]
) -> Fusion:
    """Fit P(right) on the features of hypotheses, (n, len(columns)), with an L2 penalty.

    Numbers are scaled to unit variance. Columns of labels stay 0 or 1, so that the penalty keeps
    the weight of a rare label near 0.
    """
    is_number = np.array([not column.startswith("name/") for column in columns])
    mean = np.where(is_number, features.mean(axis=0), 0.0)
    spread = np.where(is_number, features.std(axis=0), 1.0)
    spread[spread < _CONSTANT] = np.inf  # so that the weight of a constant column is 0
    scaled, intercept = _regression((features - mean) / spread, is_right)
    weights = np.array(scaled) / spread
    return Fusion(
        weights=dict(zip(columns, weights.tolist(), strict=True)),
        intercept=intercept - float((weights * mean).sum()),
        names=tuple(names),
    )


def _regression(columns: np.ndarray, is_right: np.ndarray) -> tuple[list[float], float]:
    """Return the weights of the columns, (n, k), and the intercept."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    # So little work is slower on many threads, and its last digits depend on their number.
    with threadpool_limits(1):
        model = LogisticRegression(C=1 / PENALTY, solver=SOLVER).fit(columns, is_right)
    return model.coef_[0].tolist(), float(model.intercept_[0])
