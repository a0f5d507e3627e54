"""The greedy search of `generate` of `transformers`, without rows whose answers have ended.

Captions of one batch differ in length, and the search of `transformers` computes all rows until the
longest has ended. Here the batch and its caches shrink. Knows no end tokens: the criteria of
`generate` end a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from florilegium.specialists.pretrained.network import to_numpy

if TYPE_CHECKING:
    from torch import Tensor

LEAVING_SHARE = 1 / 8
"""Share of the rows that have ended when these leave; each time, the caches of the others are
copied."""
_POSITIONS = ("position_ids", "decoder_position_ids")
_BY_ROW = (
    *_POSITIONS,
    *("attention_mask", "decoder_attention_mask", "token_type_ids", "mm_token_type_ids"),
    *("encoder_hidden_states", "encoder_attention_mask"),
)
"""Arguments of a model that have a row for each answer."""


@dataclass(kw_only=True)
class _Rows:
    """Rows of a batch: tokens (rows, length), probabilities (rows, steps), `has_ended` (rows,).

    `numbers` are their places in the whole batch.
    """

    numbers: Tensor
    ids: Tensor
    probabilities: Tensor
    has_ended: Tensor

    def choose(self, logits: Tensor) -> None:
        """Append the most probable token of each row, from logits (rows, vocabulary)."""
        import torch

        chosen = logits.argmax(dim=-1, keepdim=True)
        logarithms = logits.gather(1, chosen) - logits.logsumexp(dim=-1, keepdim=True)
        self.ids = torch.cat([self.ids, chosen], dim=1)
        self.probabilities = torch.cat([self.probabilities, logarithms.exp()], dim=1)

    def at(self, indices: Tensor) -> _Rows:
        """Return some of the rows."""
        return _Rows(
            numbers=self.numbers[indices],
            ids=self.ids[indices],
            probabilities=self.probabilities[indices],
            has_ended=self.has_ended[indices],
        )


class GreedyLoop:
    """The decoding method of one call of `generate`, its `custom_generate`.

    It chooses what the greedy search of `transformers` chooses, and records the probabilities,
    after penalties of the checkpoint such as on repetitions.
    """

    def __init__(self) -> None:
        self._left: list[_Rows] = []

    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        synced_gpus: bool = False,
        **model_kwargs: Any,
    ) -> Tensor:
        """Return prompts and answers, (rows, longest).

        After its end, a row has other tokens, then those for padding.
        """
        import torch

        count = len(input_ids)
        rows = _Rows(
            numbers=torch.arange(count, device=input_ids.device),
            ids=input_ids,
            probabilities=input_ids.new_empty((count, 0), dtype=torch.float32),
            has_ended=input_ids.new_zeros(count, dtype=torch.bool),
        )
        outputs = model._prefill(input_ids, generation_config, model_kwargs)
        with model._optimize_model_for_decode():
            while True:
                model_kwargs = model._update_model_kwargs_for_generation(
                    outputs, model_kwargs, is_encoder_decoder=model.config.is_encoder_decoder
                )
                # A copy: a view would keep the logits of the whole prompt.
                logits = outputs.logits[:, -1].float().clone()
                del outputs
                rows.choose(logits_processor(rows.ids, logits))
                rows.has_ended |= stopping_criteria(rows.ids, None)
                staying = self._leave(rows)
                if not staying:
                    return self._whole(generation_config._pad_token_tensor)
                if len(staying) < len(rows.ids):
                    at = torch.tensor(staying, device=input_ids.device)
                    rows, model_kwargs = rows.at(at), _selected(model_kwargs, at)
                inputs = model.prepare_inputs_for_generation(
                    rows.ids,
                    next_sequence_length=1 if model_kwargs["use_cache"] else None,
                    **model_kwargs,
                )
                outputs = model(**inputs, return_dict=True)

    def answers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the tokens of each row after its prompt, and their probabilities.

        They may go on after the end of the answer.

        Raises:
            SampleError: `not_a_number`: the weights overflow in their type.
        """
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for rows in self._left:
            probabilities = to_numpy(rows.probabilities).astype(np.float64)
            ids = rows.ids[:, -probabilities.shape[1] :].cpu().numpy()
            pairs = zip(ids, probabilities, strict=True)
            found.update(zip(rows.numbers.tolist(), pairs, strict=True))
        return [found[number] for number in range(len(found))]

    def _leave(self, rows: _Rows) -> list[int]:
        """Return the indices of the rows that stay; keep the others, if they are enough."""
        import torch

        has_ended = rows.has_ended.tolist()
        indices = range(len(has_ended))
        if sum(has_ended) < LEAVING_SHARE * len(has_ended):
            return list(indices)
        leaving = [index for index in indices if has_ended[index]]
        self._left.append(rows.at(torch.tensor(leaving, device=rows.ids.device)))
        return [index for index in indices if not has_ended[index]]

    def _whole(self, pad: Tensor | None) -> Tensor:
        last = self._left[-1].ids
        count = sum(len(rows.ids) for rows in self._left)
        # A model without end tokens may have none for padding: its rows are equally long.
        whole = last.new_full((count, last.shape[1]), 0 if pad is None else int(pad))
        for rows in self._left:
            whole[rows.numbers, : rows.ids.shape[1]] = rows.ids
        return whole


def _selected(model_kwargs: dict[str, Any], rows: Tensor) -> dict[str, Any]:
    """Return the arguments of a model for some rows of its batch.

    A tensor that is not known to have a row for each answer is left as it is: it is of the first
    step only, such as pixels, or the model raises an error.
    """
    from transformers import Cache
    from transformers.utils.generic import ModelOutput

    selected = dict(model_kwargs)
    for name, one in model_kwargs.items():
        if isinstance(one, Cache):
            # Not `batch_select_indices`: caches of fixed size and states of convolutions lack it.
            one.reorder_cache(rows)  # type: ignore[arg-type]
        elif isinstance(one, ModelOutput):  # of an encoder
            selected[name] = type(one)(**{key: part[rows] for key, part in one.items()})
        elif name in _BY_ROW and one is not None:
            # Qwen-VL's positions have a dimension before that of the rows: time, height, width.
            selected[name] = one.index_select(-2 if name in _POSITIONS else 0, rows)
    return selected
