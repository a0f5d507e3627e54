"""The losses for training projector, encoder and decoder on the tower's features.

Two additions make training take minutes only. The target of a location token is a Gaussian around
its bin, so that near bins cost little. And an auxiliary head, used in training only, predicts from
the encoder's output at each thing's cell the tokens that the decoder needs: label, colour, pattern
and four locations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from florilegium.pipelines.shape_world.pretrain.prompts import detection, make_pair
from florilegium.pipelines.shape_world.pretrain.scenes import Drawing
from florilegium.pipelines.shape_world.pretrain.tower import cells_of
from florilegium.pipelines.shape_world.scene import COLOURS, NAMES, PATTERNS
from florilegium.specialists.florence2.format import BINS, LOCATION_TOKENS, prompt_of, quantise

_LOCATION_STD = 8.0
"""Standard deviation of the target of a location, in bins. Chosen by hand, like the weights."""
_TOKENS_OF_A_THING = 7
"""Label, colour, pattern, and four locations."""
_LABEL_WEIGHT = 2.0
"""Weight of all tokens but locations, in detection and in the auxiliary loss."""
_EMPTY_WEIGHT = 0.5
"""Weight of the cells without a thing, in the auxiliary loss."""
_EMPTY_STEP = 4
"""Every n-th empty cell is used."""


class Teacher(nn.Module):
    """Computes losses from the tower's features of drawings; holds the auxiliary head."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        dim = model.config.text_config.d_model
        self.copy = nn.Linear(dim, _TOKENS_OF_A_THING * dim)
        self.first = tokenizer.convert_tokens_to_ids(LOCATION_TOKENS[0])
        self.labels = self._first_tokens(NAMES)
        # Colours and patterns follow other words, so they start with a space.
        self.colours = self._first_tokens([f" {colour}" for colour in COLOURS])
        self.patterns = self._first_tokens([f" {pattern}" for pattern in PATTERNS])
        bins = torch.arange(BINS)
        gaussian = (-0.5 * ((bins[:, None] - bins) / _LOCATION_STD).square()).exp()
        self.location_targets = gaussian / gaussian.sum(dim=1, keepdim=True)

    def detection_loss(self, features: Tensor, drawings: Sequence[Drawing]) -> Tensor:
        """Return the loss of `<OD>` on all drawings, with the auxiliary loss."""
        targets = [detection(drawing).target for drawing in drawings]
        hidden, mask = self._encoded(features, [prompt_of("object_detection")] * len(drawings))
        decoder = self._decoder_loss(hidden, mask, targets, weight=_LABEL_WEIGHT)
        return decoder + self._auxiliary_loss(hidden, drawings)

    def task_loss(
        self, features: Tensor, drawings: Sequence[Drawing], task: str, rng: Any
    ) -> Tensor:
        """Return the loss of another task on those drawings that have a target for it."""
        pairs = [(row, make_pair(task, drawing, rng)) for row, drawing in enumerate(drawings)]
        kept = [(row, pair) for row, pair in pairs if pair is not None]
        if not kept:
            return features.sum() * 0.0
        rows = torch.tensor([row for row, _ in kept])
        hidden, mask = self._encoded(features[rows], [pair.prompt for _, pair in kept])
        return self._decoder_loss(hidden, mask, [pair.target for _, pair in kept])

    def _encoded(self, features: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Run projector and encoder as the model does; return the output and the attention mask."""
        written = self.tokenizer(
            [f"<s>{prompt}</s>" for prompt in prompts],
            add_special_tokens=False, padding=True, return_tensors="pt",
        )  # fmt: skip
        image = self.model.model.multi_modal_projector(features)
        words = self.model.get_input_embeddings()(written.input_ids)
        mask = torch.cat([torch.ones(image.shape[:2]).long(), written.attention_mask], dim=1)
        encoder = self.model.model.language_model.encoder
        embedded = torch.cat([image, words], dim=1)
        return encoder(inputs_embeds=embedded, attention_mask=mask)[0], mask

    def _decoder_loss(
        self, hidden: Tensor, mask: Tensor, targets: Sequence[str], weight: float = 1.0
    ) -> Tensor:
        """Return the cross-entropy of target tokens; `weight` is that of all but locations."""
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
        is_target = written.attention_mask.bool()
        is_target[:, 0] = False
        return self._entropy(self.model.lm_head(decoded[is_target]), labels[is_target], weight)

    def encoder_loss(self, features: Tensor, drawings: Sequence[Drawing]) -> Tensor:
        """Return the auxiliary loss alone: it trains the encoder at about a third of the cost."""
        prompts = [prompt_of("object_detection")] * len(drawings)
        return self._auxiliary_loss(self._encoded(features, prompts)[0], drawings)

    def _auxiliary_loss(self, hidden: Tensor, drawings: Sequence[Drawing]) -> Tensor:
        """Return the cross-entropy of label, colour, pattern and locations at the cells of things,
        and of </s> at the others."""
        grid = self.model.config.vision_config.max_position_embeddings
        rows = np.repeat(np.arange(len(drawings)), [len(each.kinds) for each in drawings])
        cells = np.concatenate([cells_of(drawing, grid) for drawing in drawings])
        cells = cells[:, 0] * grid + cells[:, 1]
        # Image token 0 is the mean of all; the grid follows, row by row.
        tokens = hidden[:, 1 : 1 + grid * grid]
        bins = np.concatenate([quantise(each.boxes_xyxy, each.size_wh) for each in drawings])
        kinds = torch.from_numpy(np.concatenate([each.kinds for each in drawings])).T
        words = (self.labels[kinds[0]], self.colours[kinds[1]], self.patterns[kinds[2]])
        wanted = torch.cat([torch.stack(words, 1), torch.from_numpy(bins) + self.first], dim=1)
        heads = self.copy(tokens[rows, cells]).view(len(cells), _TOKENS_OF_A_THING, -1)
        is_empty = torch.ones(tokens.shape[:2], dtype=torch.bool)
        is_empty[rows, cells] = False
        label = F.linear(tokens[is_empty], *self._label_part())
        sparse = label[::_EMPTY_STEP]
        empty = F.cross_entropy(
            self.model.lm_head(sparse), torch.full((len(sparse),), self.tokenizer.eos_token_id)
        )
        logits = self.model.lm_head(heads).flatten(0, 1)
        return self._entropy(logits, wanted.flatten(), _LABEL_WEIGHT) + _EMPTY_WEIGHT * empty

    def _first_tokens(self, words: Sequence[str]) -> Tensor:
        ids = self.tokenizer(list(words), add_special_tokens=False).input_ids
        return torch.tensor([tokens[0] for tokens in ids])

    def _label_part(self) -> tuple[Tensor, Tensor]:
        dim = self.copy.in_features
        return self.copy.weight[:dim], self.copy.bias[:dim]

    def _entropy(self, logits: Tensor, wanted: Tensor, weight: float) -> Tensor:
        """Return the cross-entropy of logits (n, vocabulary) with tokens (n); Gaussian targets for
        locations."""
        bins = wanted - self.first
        is_location = (bins >= 0) & (bins < BINS)
        total = logits.logsumexp(dim=1)
        locations = logits[is_location, self.first : self.first + BINS]
        targets = self.location_targets[bins[is_location]]
        near = (total[is_location] - (targets * locations).sum(dim=1)).sum()
        words = logits[~is_location].gather(1, wanted[~is_location, None])[:, 0]
        exact = (total[~is_location] - words).sum()
        share = is_location.sum() + weight * (~is_location).sum()
        return (near + weight * exact) / share.clamp(min=1)
