"""Beam search with an encoder-decoder of `transformers`, with the probability of each token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from florilegium.specialists.pretrained.greedy_search import GeneratedTokens, GreedySearch
from florilegium.specialists.pretrained.network import to_numpy

if TYPE_CHECKING:
    from torch import Tensor


class BeamSearch(GreedySearch):
    """A model that keeps several beginnings of an answer at once, and returns the best answer.

    All rows of a batch are computed until the longest has ended.
    """

    def __init__(self, model: Any, tokenizer: Any, beams: int) -> None:
        super().__init__(model, tokenizer)
        self._beams = beams

    def generate(
        self,
        inputs: Mapping[str, Tensor],
        max_new_tokens: int,
        *,
        first_token: int | None = None,
    ) -> list[GeneratedTokens]:
        """Answer a batch of inputs without padding; `first_token` is forced on each answer.

        Raises:
            SampleError: `not_a_number`: the weights overflow in their type.
        """
        found = self._model.generate(
            **inputs,
            do_sample=False,
            num_beams=self._beams,
            max_new_tokens=max_new_tokens,
            output_scores=True,
            return_dict_in_generate=True,
            **({} if first_token is None else {"forced_bos_token_id": first_token}),
        )
        logarithms = self._model.compute_transition_scores(
            found.sequences, found.scores, found.beam_indices
        )
        probabilities = to_numpy(logarithms).astype(np.float64)
        steps = probabilities.shape[1]
        ids = found.sequences[:, -steps:].cpu().numpy()
        rows = zip(ids, np.exp(probabilities), strict=True)
        return [self._until_end(*row) for row in rows]
