"""Greedy search with any generating model of `transformers`, with the probability of each token.

Probabilities are recorded when tokens are chosen, without a second forward pass and without storing
all logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from florilegium.specialists.pretrained.network import to_numpy

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

    def generate(self, inputs: Mapping[str, Tensor], max_new_tokens: int) -> list[GeneratedTokens]:
        """Answer a batch of inputs without padding."""
        recorder = ProbabilityRecorder()
        self._model.generate(
            **inputs,
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_new_tokens,
            logits_processor=[recorder],
        )
        return [self._until_end(*row) for row in zip(*recorder.recorded(), strict=True)]

    def _until_end(self, ids: np.ndarray, probabilities: np.ndarray) -> GeneratedTokens:
        ends = np.flatnonzero(np.isin(ids, self._ends))
        # The search continues until all rows of the batch have ended.
        stop = ends[0] + 1 if len(ends) else len(ids)
        return GeneratedTokens(
            ids=ids[:stop], probabilities=probabilities[:stop], is_finished=len(ends) > 0
        )


class ProbabilityRecorder:
    """The last logits processor: records the chosen tokens and their probabilities.

    Penalties of the checkpoint, such as on repetitions, are already applied. Two numbers per step
    and row are stored.
    """

    def __init__(self) -> None:
        self._ids: list[Tensor] = []
        self._probabilities: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the logits (rows, vocabulary) unchanged."""
        chosen = scores.argmax(dim=-1, keepdim=True)
        logits = scores.gather(1, chosen) - scores.logsumexp(dim=-1, keepdim=True)
        self._ids.append(chosen)
        self._probabilities.append(logits.exp())
        return scores

    def recorded(self) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens and their probabilities, both (rows, steps).

        Raises:
            SampleError: `not_a_number`: the weights overflow in their type.
        """
        import torch

        ids = torch.cat(self._ids, dim=1).cpu().numpy()
        return ids, to_numpy(torch.cat(self._probabilities, dim=1)).astype(np.float64)


def _end_tokens(model: Any, settings: Any) -> list[int]:
    """Return the tokens that end an answer."""
    if model.config.model_type == "blip":  # it passes this to its decoder in each call
        return [model.config.text_config.sep_token_id]
    ends = settings.eos_token_id
    if ends is None:
        return []
    return [ends] if isinstance(ends, int) else list(ends)
