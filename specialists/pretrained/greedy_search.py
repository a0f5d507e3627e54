"""Greedy search with any generating model of `transformers`, with the probability of each token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from florilegium.specialists.pretrained.greedy_loop import GreedyLoop

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratedTokens:
    """One answer: its tokens and their probabilities, arrays (tokens,), the end token included.

    `is_finished` is false if the limit was reached before an end token.
    """

    ids: np.ndarray
    probabilities: np.ndarray
    is_finished: bool


class GreedySearch:
    """A model whose generation settings are set to greedy; those on repetitions stay."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        from transformers import GenerationMixin

        self._model = model
        generators = [one for one in model.modules() if isinstance(one, GenerationMixin)]
        # BLIP and BLIP-2 have a `generate` of their own and an inner model that generates.
        is_outermost = type(model).generate is GenerationMixin.generate
        settings = generators[0 if is_outermost else -1].generation_config
        self._ends = _end_tokens(model, settings)
        if settings.pad_token_id is None:
            settings.pad_token_id = next(iter(self._ends), tokenizer.pad_token_id)
        for name in ("temperature", "top_k", "top_p", "min_p", "max_length"):
            setattr(settings, name, None)

    def generate(
        self,
        inputs: Mapping[str, Tensor],
        max_new_tokens: int,
        *,
        first_token: int | None = None,
    ) -> list[GeneratedTokens]:
        """Answer a batch of inputs without padding; `first_token` is forced on each answer, with
        the probability 1.

        Raises:
            SampleError: `not_a_number`: the weights overflow in their type.
        """
        loop = GreedyLoop()
        self._model.generate(
            **inputs,
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_new_tokens,
            custom_generate=loop,
            **({} if first_token is None else {"forced_bos_token_id": first_token}),
        )
        return [self._until_end(*row) for row in loop.answers()]

    def _until_end(self, ids: np.ndarray, probabilities: np.ndarray) -> GeneratedTokens:
        ends = np.flatnonzero(np.isin(ids, self._ends))
        # A row goes on for a while after its end.
        stop = ends[0] + 1 if len(ends) else len(ids)
        return GeneratedTokens(
            ids=ids[:stop], probabilities=probabilities[:stop], is_finished=len(ends) > 0
        )


def _end_tokens(model: Any, settings: Any) -> list[int]:
    """Return the tokens that end an answer."""
    if model.config.model_type == "blip":  # it passes this to its decoder in each call
        return [model.config.text_config.sep_token_id]
    ends = settings.eos_token_id
    if ends is None:
        return []
    return [ends] if isinstance(ends, int) else list(ends)
