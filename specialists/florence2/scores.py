"""Scores of Florence-2's answers, from the probabilities of their tokens.

The score of a word token is its probability, that of a location token the probability of all bins
near it, as neighbouring bins are equally good. Scores rank answers; they are not calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from florilegium.specialists.florence2.format import BINS
from florilegium.specialists.pretrained.token_scores import sentence_score

NEAR_BINS = 15
"""Bins on either side of the chosen one that are summed: 1.5 % of the image. Chosen by hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedAnswer:
    """The answer to one prompt, the end token included.

    `ids` are the tokens; `probabilities` those of each token given all before it, for a location
    token the sum over `NEAR_BINS` on both sides. Both are arrays (tokens,).
    """

    ids: np.ndarray
    probabilities: np.ndarray


def token_probabilities(chosen: np.ndarray, near: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Return the probability of each token of an answer, float64 (n,).

    `chosen` (n,) are the probabilities of the tokens themselves, `bins` (n,) those of location
    tokens, else `NO_BIN`, and `near` (location tokens, bins) the probabilities of all bins.
    """
    found = chosen.astype(np.float64)
    located = np.flatnonzero(bins >= 0)
    if len(located):
        summed = np.pad(near.cumsum(axis=1, dtype=np.float64), ((0, 0), (1, 0)))
        low = np.maximum(bins[located] - NEAR_BINS, 0)
        high = np.minimum(bins[located] + NEAR_BINS + 1, BINS)
        row = np.arange(len(located))
        found[located] = summed[row, high] - summed[row, low]
    return found.clip(0, 1)


def name_score(probabilities: np.ndarray) -> float:
    """Score a name: the product over its tokens; 1 without a name."""
    return float(probabilities.prod())


def location_score(probabilities: np.ndarray) -> float:
    """Score a box, quad or polygon: the geometric mean over its location tokens."""
    return sentence_score(probabilities)
