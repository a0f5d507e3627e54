"""How exact the voters' boxes are, estimated without the true boxes.

The boxes of two voters for the same object differ by the errors of both; with three voters or more
the error of each one follows (Grubbs 1948). With two, both have the same weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

MIN_PAIRS = 8
"""Objects that two voters must both have found before their difference counts."""
_LARGEST_RATIO = 10.0
"""No voter has more than this many times the weight of another: the estimate is noisy."""
_SMALLEST_SIDE_PX = 1e-6
"""Avoids a division by 0 for empty boxes."""


def edge_weights(
    box_xyxy: np.ndarray, voter: np.ndarray, thing: np.ndarray, voters: int
) -> np.ndarray:
    """Return the inverse variance of each voter's edges, mean 1, (voters,).

    Args:
        box_xyxy: right boxes, pixels, (n, 4).
        voter: index of each box's voter, 0..voters-1, (n,).
        thing: number of each box's object, 0 or more, (n,).
    """
    boxes = np.full((thing.max(initial=-1) + 1, voters, 4), np.nan)
    boxes[thing, voter] = box_xyxy
    side = np.sqrt(np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1))
    pairs, squares = [], []
    for one, other in combinations(range(voters), 2):
        shift = boxes[:, one] - boxes[:, other]
        scale = (side[:, one] + side[:, other])[:, None] / 2
        ratio = (shift / np.maximum(scale, _SMALLEST_SIDE_PX))[~np.isnan(scale[:, 0])]
        if len(ratio) >= MIN_PAIRS:
            pairs.append((one, other))
            squares.append(float(np.median((ratio**2).mean(axis=1))))
    return _inverse(_own_variances(pairs, squares, voters))


def _own_variances(
    pairs: Sequence[tuple[int, int]], squares: Sequence[float], voters: int
) -> np.ndarray:
    """Split the variance of each pair between its two voters, NaN without a pair, (voters,)."""
    system = np.zeros((len(pairs), voters))
    for row, pair in enumerate(pairs):
        system[row, list(pair)] = 1
    variance = np.full(voters, np.nan)
    seen = system.any(axis=0)
    if seen.any():
        variance[seen] = np.linalg.lstsq(system[:, seen], np.array(squares), rcond=None)[0]
    return variance


def _inverse(variance: np.ndarray) -> np.ndarray:
    if np.isnan(variance).all() or np.nanmax(variance) <= 0:
        return np.ones(len(variance))
    largest = np.nanmax(variance)
    weight = 1 / np.clip(variance, largest / _LARGEST_RATIO, None)
    weight[np.isnan(weight)] = np.nanmin(weight)
    mean_one: np.ndarray = weight / weight.mean()
    return mean_one
