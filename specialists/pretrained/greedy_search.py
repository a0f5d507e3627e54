"""Greedy search with any generating model of `transformers`, and how sure it was of each token.

Each token is heard as it is chosen, so that probabilities cost neither a second pass nor the
memory of all logits. Knows no prompts and no images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from specialists.pretrained.network import finite

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """One answer: its tokens and their probabilities, arrays (tokens,), the end token included.

    `is_finished` tells whether there is one, or the limit was reached.
    """

    ids: np.ndarray
    chances: np.ndarray
    is_finished: bool


class GreedySearch:
    """A model whose own settings are made greedy; those on repetitions stay."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        from transformers import GenerationMixin

        self._model = model
        speakers = [one for one in model.modules() if isinstance(one, GenerationMixin)]
        # In BLIP and BLIP-2, which have a `generate` of their own, a model within them speaks.
        is_outermost = type(model).generate is GenerationMixin.generate
        settings = speakers[0 if is_outermost else -1].generation_config
        self._ends = _end_tokens(model, settings)
        if settings.pad_token_id is None:
            settings.pad_token_id = next(iter(self._ends), tokenizer.pad_token_id)
        for name in ("temperature", "top_k", "top_p", "min_p", "max_length"):
            setattr(settings, name, None)

    def speak(self, inputs: Mapping[str, Tensor], max_new_tokens: int) -> list[Spoken]:
        """Answer a batch of inputs, none of them padded."""
        listener = Listener()
        self._model.generate(
            **inputs,
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_new_tokens,
            logits_processor=[listener],
        )
        return [self._spoken(*row) for row in zip(*listener.heard(), strict=True)]

    def _spoken(self, ids: np.ndarray, chances: np.ndarray) -> Spoken:
        ends = np.flatnonzero(np.isin(ids, self._ends))
        # The search goes on until all rows of the batch have ended.
        stop = ends[0] + 1 if len(ends) else len(ids)
        return Spoken(ids=ids[:stop], chances=chances[:stop], is_finished=len(ends) > 0)


class Listener:
    """The last of the processors of logits: hears which tokens are chosen, and how surely.

    Probabilities are those that the search chose by: a checkpoint's penalty on repetitions has
    been applied. Of each step two numbers a row are kept, not the whole vocabulary.
    """

    def __init__(self) -> None:
        self._ids: list[Tensor] = []
        self._chances: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the logits (rows, vocabulary) as they are."""
        chosen = scores.argmax(dim=-1, keepdim=True)
        logits = scores.gather(1, chosen) - scores.logsumexp(dim=-1, keepdim=True)
        self._ids.append(chosen)
        self._chances.append(logits.exp())
        return scores

    def heard(self) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens and their probabilities, both (rows, steps).

        Raises:
            SampleError: `not_a_number`, when the weights overflow in their type.
        """
        import torch

        ids = torch.cat(self._ids, dim=1).cpu().numpy()
        return ids, finite(torch.cat(self._chances, dim=1)).astype(np.float64)


def _end_tokens(model: Any, settings: Any) -> list[int]:
    """Return the tokens any of which ends an answer."""
    if model.config.model_type == "blip":  # tells its decoder so in each call
        return [model.config.text_config.sep_token_id]
    ends = settings.eos_token_id
    if ends is None:
        return []
    return [ends] if isinstance(ends, int) else list(ends)
