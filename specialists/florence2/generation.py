"""A loaded Florence-2: it looks at images once, then answers any number of prompts about them.

Images pass the vision tower once for all prompts. Answers are generated in batches and heard
once more by the model, all tokens at a time, for the probability of each token; that holds for
greedy search and beams alike. Knows no annotations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.core.errors import ConfigError
from specialists.florence2.checkpoint import load_florence2
from specialists.florence2.scores import Utterance, chances
from specialists.florence2.tokens import Tokens
from specialists.pretrained.checkpoint import Checkpoint
from specialists.pretrained.network import Network, unbatched

if TYPE_CHECKING:
    from torch import Tensor

    from specialists.florence2.config import Florence2Config

_TAIL = 16
"""Tokens at the end of a prompt that is too long which are kept: the question's own words."""


class Florence2Network:
    """Weights, processor and search of one checkpoint.

    Raises:
        ConfigError: the checkpoint cannot be used, or not at this image size.
    """

    def __init__(self, checkpoint: Checkpoint, config: Florence2Config) -> None:
        self.network = Network(checkpoint, config, load=load_florence2)
        self.processor = self.network.processor
        self._model = self.network.model
        # Its own limit would be heard beside ours, with a warning.
        self._model.generation_config.max_length = None
        text_config = self._model.config.text_config
        self.tokens = Tokens(self.processor.tokenizer, size=text_config.vocab_size)
        self._search = config
        self._positions: int = text_config.max_position_embeddings
        self._check_image_tokens(checkpoint)

    def look(self, images: Sequence[np.ndarray]) -> Tensor:
        """Return the image tokens of RGB images: (images, tokens, width), for `answer`."""
        import torch

        def see(batch: dict[str, Tensor], _: object) -> list[Tensor]:
            return list(self._model.get_image_features(batch["pixel_values"]).pooler_output)

        return torch.stack(self.network.run(self.network.prepare(images, self._pixels), see))

    def _pixels(self, image: np.ndarray) -> dict[str, Tensor]:
        return unbatched(
            self.processor.image_processor(
                image, return_tensors="pt", input_data_format="channels_last"
            )
        )

    def answer(
        self, seen: Tensor, rows: Sequence[int], prompts: Sequence[str], *, repeats: bool
    ) -> list[Utterance]:
        """Answer prompts, each about the image in one row of `seen`.

        `repeats` lets an answer repeat three tokens, as aligned boxes do; otherwise the ban on
        repeated n-grams that came with the weights holds.
        """
        asked = [self.tokens.prompt(prompt) for prompt in prompts]
        room = self._positions - seen.shape[1]
        asked = [one if len(one) <= room else one[: room - _TAIL] + one[-_TAIL:] for one in asked]
        # Neighbours in length share a batch, so that little is padded.
        order = sorted(range(len(asked)), key=lambda number: len(asked[number]))

        def say(numbers: Sequence[int]) -> list[Utterance]:
            about = seen[[rows[number] for number in numbers]]
            return list(
                self._generate(about, [asked[number] for number in numbers], repeats=repeats)
            )

        utterances = dict(zip(order, self.network.attempt(order, say), strict=True))
        return [utterances[number] for number in range(len(asked))]

    def _generate(
        self, seen: Tensor, prompts: Sequence[Sequence[int]], *, repeats: bool
    ) -> Iterator[Utterance]:
        from transformers.modeling_outputs import BaseModelOutput

        encoded, mask = self._encode(seen, prompts)
        sequences = self._model.generate(
            # The search multiplies the batch in this object: it gets one of its own.
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=mask,
            generation_config=self._generation_config(repeats=repeats),
        )
        hidden = self._model.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=mask,
            decoder_input_ids=sequences[:, :-1],
            use_cache=False,
        ).last_hidden_state
        for states, sequence in zip(hidden, sequences[:, 1:].cpu().numpy(), strict=True):
            yield self._heard(states, sequence)

    def _heard(self, states: Tensor, sequence: np.ndarray) -> Utterance:
        """Give each token that was said its probability; one answer at a time, to save memory."""
        begin = int(sequence[0] == self.tokens.start)
        ids = self.tokens.spoken(sequence[begin:])
        logits = self._model.lm_head(states[begin : begin + len(ids)])
        return Utterance(ids=ids, chances=chances(logits, ids, self.tokens))

    def _encode(self, seen: Tensor, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Put image tokens before those of the prompts; return the encoder's states and mask."""
        import torch

        longest = max(map(len, prompts))
        padded = [[*prompt, *[self.tokens.pad] * (longest - len(prompt))] for prompt in prompts]
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=seen.device)
        words = self._model.get_input_embeddings()(torch.tensor(padded, device=seen.device))
        is_word = torch.arange(longest, device=seen.device) < lengths[:, None]
        mask = torch.cat([is_word.new_ones(seen.shape[:2]), is_word], dim=1).long()
        encoder = self._model.get_encoder()
        states = encoder(inputs_embeds=torch.cat([seen, words], dim=1), attention_mask=mask)
        return states.last_hidden_state, mask

    def _generation_config(self, *, repeats: bool) -> Any:
        """Return the checkpoint's own settings with our search: no chance, a known length."""
        config = deepcopy(self._model.generation_config)
        config.update(
            num_beams=self._search.beams,
            do_sample=False,
            temperature=None,
            top_k=None,
            top_p=None,
            max_new_tokens=min(self._search.max_new_tokens, self._positions - 1),
            early_stopping=self._search.beams > 1,
        )
        if repeats:
            config.no_repeat_ngram_size = 0
        return config

    def _check_image_tokens(self, checkpoint: Checkpoint) -> None:
        """Look at a blank image: side, strides and position tables must fit each other."""
        size = self.processor.image_processor.size
        side = int(size["height"] or 0)
        try:
            count = self.look([np.zeros((side, side, 3), np.uint8)]).shape[1]
        except Exception as error:  # torch raises whatever it meets
            raise ConfigError(
                f"model {checkpoint.model!r} cannot see images of {side} px: {error}; "
                "leave `image_size` out or choose a smaller one"
            ) from error
        if count + 2 * _TAIL > self._positions:
            raise ConfigError(
                f"model {checkpoint.model!r}: an image of {side} px is {count} tokens, of its "
                f"{self._positions} positions too few are left; choose a smaller `image_size`"
            )
