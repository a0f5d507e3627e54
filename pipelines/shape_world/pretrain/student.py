"""The second step: projector, encoder and decoder learn to speak of what the tower sees.

Two things make it learn in minutes. A location is right when it is near: its target is a bell
around the bin. And the encoder is taught directly, by a head that is thrown away, to say at
each thing's cell the label and the location tokens that the decoder will need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pipelines.shape_world.pretrain.questions import ask, detection
from pipelines.shape_world.pretrain.scenes import Drawing
from pipelines.shape_world.pretrain.tower import cells_of
from pipelines.shape_world.scene import COLOURS, NAMES, PATTERNS
from specialists.florence2.format import BINS, LOCATION_TOKENS, prompt_of, quantise

_BELL_BINS = 8.0
"""Standard deviation of a location's target, in bins."""


class Teacher(nn.Module):
    """Turns drawings, as the tower sees them, into losses; holds the head that is thrown away."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        dim = model.config.text_config.d_model
        self.copy = nn.Linear(dim, 7 * dim)
        self.first = tokenizer.convert_tokens_to_ids(LOCATION_TOKENS[0])
        self.labels = self._first_tokens(NAMES)
        # Colours and patterns follow other words, so with a space before them.
        self.colours = self._first_tokens([f" {colour}" for colour in COLOURS])
        self.patterns = self._first_tokens([f" {pattern}" for pattern in PATTERNS])
        bins = torch.arange(BINS)
        bell = (-0.5 * ((bins[:, None] - bins) / _BELL_BINS).square()).exp()
        self.bell = bell / bell.sum(dim=1, keepdim=True)

    def detection_loss(self, seen: Tensor, drawings: Sequence[Drawing]) -> Tensor:
        """Loss of `<OD>` about all drawings, the encoder's copying included."""
        targets = [detection(drawing).target for drawing in drawings]
        hidden, mask = self._encoded(seen, [prompt_of("object_detection")] * len(drawings))
        spoken = self._spoken(hidden, mask, targets, weight=2.0)
        return spoken + self._copied(hidden, drawings)

    def other_loss(self, seen: Tensor, drawings: Sequence[Drawing], task: str, rng: Any) -> Tensor:
        """Loss of another task about those drawings that have an answer to it."""
        asked = [(row, ask(task, drawing, rng)) for row, drawing in enumerate(drawings)]
        kept = [(row, question) for row, question in asked if question is not None]
        if not kept:
            return seen.sum() * 0.0
        rows = torch.tensor([row for row, _ in kept])
        hidden, mask = self._encoded(seen[rows], [question.prompt for _, question in kept])
        return self._spoken(hidden, mask, [question.target for _, question in kept])

    def _encoded(self, seen: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Run projector and encoder as the native model does; also return the mask."""
        written = self.tokenizer(
            [f"<s>{prompt}</s>" for prompt in prompts],
            add_special_tokens=False, padding=True, return_tensors="pt",
        )  # fmt: skip
        image = self.model.model.multi_modal_projector(seen)
        words = self.model.get_input_embeddings()(written.input_ids)
        mask = torch.cat([torch.ones(image.shape[:2]).long(), written.attention_mask], dim=1)
        encoder = self.model.model.language_model.encoder
        embedded = torch.cat([image, words], dim=1)
        return encoder(inputs_embeds=embedded, attention_mask=mask)[0], mask

    def _spoken(
        self, hidden: Tensor, mask: Tensor, targets: Sequence[str], weight: float = 1.0
    ) -> Tensor:
        """Entropy of the decoder's tokens; `weight` is that of all but location tokens."""
        written = self.tokenizer(list(targets), padding=True, return_tensors="pt")
        labels = written.input_ids
        start = torch.full_like(labels[:, :1], self.model.config.text_config.decoder_start_token_id)
        decoded = self.model.model.language_model.decoder(
            input_ids=torch.cat([start, labels[:, :-1]], dim=1),
            encoder_hidden_states=hidden,
            encoder_attention_mask=mask,
            use_cache=False,
        )[0]
        # The first token is always <s>: generation forces it.
        said = written.attention_mask.bool()
        said[:, 0] = False
        return self._entropy(self.model.lm_head(decoded[said]), labels[said], weight)

    def copying_loss(self, seen: Tensor, drawings: Sequence[Drawing]) -> Tensor:
        """Loss of the encoder alone: about a third of the work, and all the decoder builds on."""
        prompts = [prompt_of("object_detection")] * len(drawings)
        return self._copied(self._encoded(seen, prompts)[0], drawings)

    def _copied(self, hidden: Tensor, drawings: Sequence[Drawing]) -> Tensor:
        """Entropy of label and locations at the cells of things, and of </s> at all others."""
        grid = self.model.config.vision_config.max_position_embeddings
        rows = np.repeat(np.arange(len(drawings)), [len(each.kinds) for each in drawings])
        cells = np.concatenate([cells_of(drawing, grid) for drawing in drawings])
        cells = cells[:, 0] * grid + cells[:, 1]
        # Token 0 of the image is the mean of all; the grid follows, row by row.
        tokens = hidden[:, 1 : 1 + grid * grid]
        bins = np.concatenate([quantise(each.boxes_xyxy, each.size_wh) for each in drawings])
        kinds = torch.from_numpy(np.concatenate([each.kinds for each in drawings])).T
        words = (self.labels[kinds[0]], self.colours[kinds[1]], self.patterns[kinds[2]])
        wanted = torch.cat([torch.stack(words, 1), torch.from_numpy(bins) + self.first], dim=1)
        said = self.model.lm_head(self.copy(tokens[rows, cells]).view(len(cells), 7, -1))
        is_empty = torch.ones(tokens.shape[:2], dtype=torch.bool)
        is_empty[rows, cells] = False
        label = F.linear(tokens[is_empty], *self._label_part())
        silent = F.cross_entropy(
            self.model.lm_head(label[::4]),
            torch.full((len(label[::4]),), self.tokenizer.eos_token_id),
        )
        return self._entropy(said.flatten(0, 1), wanted.flatten(), 2.0) + 0.5 * silent

    def _first_tokens(self, words: Sequence[str]) -> Tensor:
        ids = self.tokenizer(list(words), add_special_tokens=False).input_ids
        return torch.tensor([tokens[0] for tokens in ids])

    def _label_part(self) -> tuple[Tensor, Tensor]:
        dim = self.copy.in_features
        return self.copy.weight[:dim], self.copy.bias[:dim]

    def _entropy(self, said: Tensor, wanted: Tensor, weight: float) -> Tensor:
        """Cross-entropy of logits (n, vocabulary) with tokens (n), a bell for each location."""
        bins = wanted - self.first
        is_place = (bins >= 0) & (bins < BINS)
        total = said.logsumexp(dim=1)
        places = said[is_place, self.first : self.first + BINS]
        near = (total[is_place] - (self.bell[bins[is_place]] * places).sum(dim=1)).sum()
        words = said[~is_place].gather(1, wanted[~is_place, None])[:, 0]
        exact = (total[~is_place] - words).sum()
        share = is_place.sum() + weight * (~is_place).sum()
        return (near + weight * exact) / share.clamp(min=1)
