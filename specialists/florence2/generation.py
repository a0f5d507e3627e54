"""A loaded Florence-2: images are encoded once, then any number of prompts are answered.

Answers are generated in batches, by greedy or beam search; a second forward pass over each answer
gives the probabilities of its tokens. Knows no annotations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from florilegium.engine.core.errors import ConfigError
from florilegium.specialists.florence2.checkpoint import load_florence2
from florilegium.specialists.florence2.scores import GeneratedAnswer, token_probabilities
from florilegium.specialists.florence2.tokens import Tokens
from florilegium.specialists.pretrained.checkpoint import Checkpoint
from florilegium.specialists.pretrained.greedy_loop import GreedyLoop
from florilegium.specialists.pretrained.network import Network, unbatched
from florilegium.specialists.pretrained.views import Given, View

if TYPE_CHECKING:
    from torch import Tensor

    from florilegium.specialists.florence2.config import Florence2Config

_TAIL = 16
"""Tokens kept at the end of a prompt that is too long: the words of the task."""


@dataclass(frozen=True)
class _Inputs:
    """Preprocesses views by the image processor of a Florence-2."""

    image_processor: Any

    def __call__(self, view: View) -> dict[str, Tensor]:
        features = self.image_processor(
            view.pixels(), return_tensors="pt", input_data_format="channels_last"
        )
        return unbatched(features)


class Florence2Network:
    """Weights, processor and search of one checkpoint. Feeders are shared with a network that it
    is `beside`.

    Raises:
        ConfigError: the checkpoint cannot be used, or not at this image size.
    """

    def __init__(
        self, checkpoint: Checkpoint, config: Florence2Config, *, beside: Network | None = None
    ) -> None:
        self.network = Network(checkpoint, config, load=load_florence2, beside=beside)
        self.processor = self.network.processor
        self._model = self.network.model
        # Else `generate` warns that both its limit and ours are set.
        self._model.generation_config.max_length = None
        text_config = self._model.config.text_config
        self.tokens = Tokens(self.processor.tokenizer, size=text_config.vocab_size)
        self._search = config
        self._positions: int = text_config.max_position_embeddings
        self._check_image_tokens(checkpoint)

    def look(self, views: Sequence[View]) -> Tensor:
        """Return the image tokens of images: (images, tokens, width), for `answer`."""
        import torch

        def encode(batch: dict[str, Tensor], _: object) -> list[Tensor]:
            return list(self._model.get_image_features(batch["pixel_values"]).pooler_output)

        inputs = self.network.prepare(views, _Inputs(self.network.image_processor))
        return torch.stack(self.network.run(inputs, encode))

    def answer(
        self, image_tokens: Tensor, rows: Sequence[int], prompts: Sequence[str], *, repeats: bool
    ) -> list[GeneratedAnswer]:
        """Answer prompts, each about the image in one row of `image_tokens`.

        With `repeats` an answer may repeat n-grams, as aligned boxes do; otherwise the checkpoint's
        ban on repeated n-grams applies.
        """
        import torch

        ids = [self.tokens.prompt(prompt) for prompt in prompts]
        room = self._positions - image_tokens.shape[1]
        ids = [one if len(one) <= room else one[: room - _TAIL] + one[-_TAIL:] for one in ids]
        # Prompts of similar length share a batch, for little padding.
        order = sorted(range(len(ids)), key=lambda number: len(ids[number]))

        def generate(numbers: Sequence[int]) -> tuple[Tensor, ...]:
            own_rows = self.network.to_device(torch.tensor([rows[number] for number in numbers]))
            own_ids = [ids[number] for number in numbers]
            return self._generate(image_tokens[own_rows], own_ids, repeats=repeats)

        generated = self.network.attempt(order, generate, self._answers)
        answers = dict(zip(order, generated, strict=True))
        return [answers[number] for number in range(len(ids))]

    def _generate(
        self, image_tokens: Tensor, prompts: Sequence[Sequence[int]], *, repeats: bool
    ) -> tuple[Tensor, ...]:
        """Return the tokens of answers, (answers, longest), and the probabilities of all their
        tokens, one answer after the other: (tokens,), and (location tokens, bins)."""
        from transformers.modeling_outputs import BaseModelOutput

        encoded, mask = self._encode(image_tokens, prompts)
        sequences = self._model.generate(
            # Beam search changes this object in place, hence a second one below.
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=mask,
            generation_config=self._generation_config(repeats=repeats),
            custom_generate=GreedyLoop() if self._search.beams == 1 else None,
        )
        hidden = self._model.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=mask,
            decoder_input_ids=sequences[:, :-1],
            use_cache=False,
        ).last_hidden_state
        sequences = sequences[:, 1:]
        return (sequences, *self._probabilities(hidden, sequences))

    def _probabilities(self, hidden: Tensor, sequences: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities of the tokens; of one answer at a time, to save memory."""
        import torch

        columns = self.network.to_device(torch.from_numpy(self.tokens.location_ids))
        found = []
        for row, sequence in enumerate(sequences.cpu().numpy()):
            begin, ids = self._begin_and_ids(sequence)
            part = slice(begin, begin + len(ids))
            located = np.flatnonzero(self.tokens.bins(ids) >= 0)
            probabilities = torch.softmax(self._model.lm_head(hidden[row, part]).float(), dim=-1)
            rows, chosen = (self.network.to_device(torch.from_numpy(one)) for one in (located, ids))
            near = probabilities[rows[:, None], columns]
            found.append((probabilities.gather(1, chosen[:, None])[:, 0], near))
        chosen, near = (torch.cat(each) for each in zip(*found, strict=True))
        return chosen, near

    def _answers(self, outputs: tuple[Tensor, ...], _: object) -> Iterator[GeneratedAnswer]:
        """Yield the answers of `_generate`, on the host."""
        sequences, chosen, near = (one.numpy() for one in outputs)
        for sequence in sequences:
            _, ids = self._begin_and_ids(sequence)
            bins = self.tokens.bins(ids)
            located = np.count_nonzero(bins >= 0)
            probabilities = token_probabilities(chosen[: len(ids)], near[:located], bins)
            yield GeneratedAnswer(ids=ids, probabilities=probabilities)
            chosen, near = chosen[len(ids) :], near[located:]

    def _begin_and_ids(self, sequence: np.ndarray) -> tuple[int, np.ndarray]:
        """Return where an answer begins, and its tokens."""
        begin = int(sequence[0] == self.tokens.start)
        return begin, self.tokens.until_end(sequence[begin:])

    def _encode(
        self, image_tokens: Tensor, prompts: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """Concatenate image and prompt tokens; return the encoder's states and attention mask."""
        import torch

        longest = max(map(len, prompts))
        padded = [[*prompt, *[self.tokens.pad] * (longest - len(prompt))] for prompt in prompts]
        lengths = self.network.to_device(torch.tensor([len(prompt) for prompt in prompts]))
        words = self._model.get_input_embeddings()(self.network.to_device(torch.tensor(padded)))
        is_word = torch.arange(longest, device=image_tokens.device) < lengths[:, None]
        mask = torch.cat([is_word.new_ones(image_tokens.shape[:2]), is_word], dim=1).long()
        encoder = self._model.get_encoder()
        states = encoder(inputs_embeds=torch.cat([image_tokens, words], dim=1), attention_mask=mask)
        return states.last_hidden_state, mask

    def _generation_config(self, *, repeats: bool) -> Any:
        """Return the checkpoint's settings with our search: no sampling, a known length."""
        config = deepcopy(self._model.generation_config)
        config.update(
            num_beams=self._search.beams,
            do_sample=False,
            temperature=None,
            top_k=None,
            top_p=None,
            max_new_tokens=min(self._search.max_new_tokens, self._positions - 1),
            # As the released weights are asked: a better answer may still come.
            early_stopping=False,
        )
        if repeats:
            config.no_repeat_ngram_size = 0
        return config

    def _check_image_tokens(self, checkpoint: Checkpoint) -> None:
        """Encode a blank image, to check that size, strides and position embeddings fit
        together."""
        size = self.processor.image_processor.size
        side = int(size["height"] or 0)
        try:
            count = self.look([Given(np.zeros((side, side, 3), np.uint8))]).shape[1]
        except Exception as error:  # torch raises any exception
            raise ConfigError(
                f"model {checkpoint.model!r} cannot take images of {side} px: {error}; "
                "leave `image_size` out or choose a smaller one"
            ) from error
        if count + 2 * _TAIL > self._positions:
            raise ConfigError(
                f"model {checkpoint.model!r}: an image of {side} px is {count} tokens, too many "
                f"for its {self._positions} positions; choose a smaller `image_size`"
            )
