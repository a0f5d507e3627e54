"""Scores of Florence-2's answers, from the probabilities of their tokens.

The score of a word token is its probability, that of a location token the probability of all bins
near it, as neighbouring bins are equally good. Scores rank answers; they are not calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from florilegium.specialists.florence2.format import BINS
from florilegium.specialists.florence2.tokens import Tokens
from florilegium.specialists.pretrained.token_scores import sentence_score

if TYPE_CHECKING:
    from torch import Tensor

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


def token_probabilities(logits: Tensor, ids: np.ndarray, tokens: Tokens) -> np.ndarray:
    """Return the probability of each chosen token, float64 (n,), from logits (n, vocabulary)."""
    import torch

    probabilities = torch.softmax(logits.float(), dim=-1)
    chosen = torch.from_numpy(ids).to(logits.device)[:, None]
    found: np.ndarray = probabilities.gather(1, chosen)[:, 0].double().cpu().numpy()
    bins = tokens.bins(ids)
    located = np.flatnonzero(bins >= 0)
    if len(located):
        columns = torch.from_numpy(tokens.location_ids).to(logits.device)
        rows = torch.from_numpy(located).to(logits.device)
        near = probabilities[rows[:, None], columns].double().cpu().numpy()
        summed = np.pad(near.cumsum(axis=1), ((0, 0), (1, 0)))
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
