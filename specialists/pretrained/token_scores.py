"""Scores of texts from the probabilities of their tokens."""

from __future__ import annotations

import numpy as np

DECIMALS = 4
"""Further digits of a score depend on the other samples of the batch."""


def sentence_score(probabilities: np.ndarray) -> float:
    """Score a sentence: the geometric mean over its tokens, independent of length."""
    if not len(probabilities):
        return 1.0
    return float(np.exp(np.log(probabilities.clip(1e-12)).mean()))


def rounded(score: float) -> float:
    """Round a score to the digits that do not depend on the batch."""
    return round(score, DECIMALS)
