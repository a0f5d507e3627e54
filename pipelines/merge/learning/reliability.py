"""How far numbers can be believed: an interval for a share, and the calibration error.

Knows no annotation: counts, probabilities and whether they came true.
"""

from __future__ import annotations

import numpy as np

from pipelines.merge.calibration import Interval

BINS = 10
_Z = 1.959964
"""Standard deviations that hold 95% of a normal distribution."""


def wilson(right: int, audited: int) -> Interval:
    """Return a share and its 95% score interval (Wilson 1927), which stays within 0..1."""
    if not audited:
        return Interval()
    share, z2 = right / audited, _Z**2
    centre = (right + z2 / 2) / (audited + z2)
    half = _Z / (audited + z2) * np.sqrt(audited * share * (1 - share) + z2 / 4)
    low, high = np.clip((centre - half, centre + half), 0, 1).tolist()
    return Interval(right=right, audited=audited, share=share, low=low, high=high)


def expected_calibration_error(
    probability: np.ndarray, is_right: np.ndarray, bins: int = BINS
) -> float | None:
    """Return the mean gap between probability and share of right ones, 0..1 (Naeini et al. 2015).

    Bins are of equal mass (as many statements in each), so that none is nearly empty; the gap of
    a bin counts by its size. `None` where there is nothing to compare.

    Args:
        probability: what was claimed, 0..1, shape (n,).
        is_right: what was true, bool, shape (n,).
    """
    if not len(probability):
        return None
    order = np.argsort(probability, kind="stable")
    gaps = [
        abs(float((probability[rows] - is_right[rows]).sum()))
        for rows in np.array_split(order, min(bins, len(order)))
    ]
    return sum(gaps) / len(probability)
