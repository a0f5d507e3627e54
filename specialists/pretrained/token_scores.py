"""Scores of texts from the probabilities of their tokens. Knows no model."""

from __future__ import annotations

import numpy as np

DECIMALS = 4
"""Finer digits of a score depend on what else was in the batch."""


def sentence_score(chances: np.ndarray) -> float:
    """Score a sentence: the geometric mean of its tokens, so that length costs nothing."""
    return float(np.exp(np.log(chances.clip(1e-12)).mean())) if len(chances) else 1.0


def rounded(score: float) -> float:
    """Return a score with the digits that do not depend on the batch."""
    return round(score, DECIMALS)
