"""Scores of what Florence-2 says, from the probabilities of its own tokens.

The model knows how sure it is of each token and its processor throws that away. Here it is
kept: words by their probability, places by the probability that lies near them, for the
neighbour of a bin is as good as the bin. A score orders answers; it is no probability of being
right until something calibrates it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from specialists.florence2.format import BINS
from specialists.florence2.tokens import Tokens
from specialists.pretrained.token_scores import sentence_score

if TYPE_CHECKING:
    from torch import Tensor

NEAR_BINS = 15
"""Bins on either side of the chosen one that count as the same place: 1.5 % of the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """What the model said to one prompt, token by token, the end token included.

    `ids` are the tokens; `chances` their probabilities given all before them, for a location
    token that of any location within `NEAR_BINS`. All are arrays (tokens,).
    """

    ids: np.ndarray
    chances: np.ndarray


def chances(logits: Tensor, ids: np.ndarray, tokens: Tokens) -> np.ndarray:
    """Return the probability of each chosen token, float64 (n,), from logits (n, vocabulary)."""
    import torch

    probabilities = torch.softmax(logits.float(), dim=-1)
    chosen = torch.from_numpy(ids).to(logits.device)[:, None]
    found: np.ndarray = probabilities.gather(1, chosen)[:, 0].double().cpu().numpy()
    bins = tokens.bins(ids)
    places = np.flatnonzero(bins >= 0)
    if len(places):
        columns = torch.from_numpy(tokens.location_ids).to(logits.device)
        rows = torch.from_numpy(places).to(logits.device)
        near = probabilities[rows[:, None], columns].double().cpu().numpy()
        summed = np.pad(near.cumsum(axis=1), ((0, 0), (1, 0)))
        low = np.maximum(bins[places] - NEAR_BINS, 0)
        high = np.minimum(bins[places] + NEAR_BINS + 1, BINS)
        row = np.arange(len(places))
        found[places] = summed[row, high] - summed[row, low]
    return found.clip(0, 1)


def name_score(chances: np.ndarray) -> float:
    """Score a name: the probability of all its tokens; 1 where there is no name."""
    return float(chances.prod())


def place_score(chances: np.ndarray) -> float:
    """Score a box, quad or polygon: the geometric mean over its location tokens."""
    return sentence_score(chances)
