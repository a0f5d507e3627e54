"""Statistics of an audit: the confidence interval of a share, and the calibration error.

They know no annotations, only counts, probabilities and what is right.
"""

from __future__ import annotations

import numpy as np

from florilegium.pipelines.merge.calibration import Interval

BINS = 10
"""Bins of the calibration error."""
Z = 1.959964
"""Standard deviations that hold 95% of a normal distribution."""


def wilson(right: int, audited: int) -> Interval:
    """Return a share and its 95% score interval (Wilson 1927), which stays within 0..1."""
    if not audited:
        return Interval()
    share = right / audited
    low, high = score_interval(share, audited)
    return Interval(right=right, audited=audited, share=share, low=low, high=high)


def score_interval(share: float, audited: float) -> tuple[float, float]:
    """Return the 95% score interval of a share of so many; an effective number may be a fraction.

    Args:
        share: 0..1.
        audited: more than 0.
    """
    right, z2 = share * audited, Z**2
    centre = (right + z2 / 2) / (audited + z2)
    half = Z / (audited + z2) * np.sqrt(audited * share * (1 - share) + z2 / 4)
    low, high = np.clip((centre - half, centre + half), 0, 1).tolist()
    return low, high


def expected_calibration_error(
    probability: np.ndarray, is_right: np.ndarray, bins: int = BINS
) -> float | None:
    """Return the mean gap between probability and share of right ones, 0..1 (Naeini et al. 2015).

    Bins have equal mass (the same number of annotations), so that none is nearly empty; a gap is
    weighted by the size of its bin. `None` without annotations.

    Args:
        probability: that each annotation is right, 0..1, shape (n,).
        is_right: whether it is, bool, shape (n,).
    """
    if not len(probability):
        return None
    order = np.argsort(probability, kind="stable")
    gaps = [
        abs(float((probability[rows] - is_right[rows]).sum()))
        for rows in np.array_split(order, min(bins, len(order)))
    ]
    return sum(gaps) / len(probability)
