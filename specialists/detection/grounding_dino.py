"""Grounding DINO: boxes for a text, with a score for each phrase of the text.

The original (arXiv 2303.05499) and MM-Grounding-DINO (arXiv 2401.02361). Text attention is masked
at full stops and question marks; the text ends with one. The text may be a caption, or a list of
names.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from florilegium.specialists.detection.queries import NamedBoxes, NameQueries, corners
from florilegium.specialists.pretrained.network import Network, to_numpy, unbatched
from florilegium.specialists.pretrained.precision import to_full_precision
from florilegium.specialists.pretrained.views import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

    from florilegium.engine.core.sample import Sample

_SEPARATOR = ". "
_PADDING = 16
"""Texts are padded to a multiple of this many tokens, so that more share a batch; the padding of a
text does not depend on the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroundingText:
    """A text and the spans of its phrases, in characters, end exclusive."""

    text: str
    phrases: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class GroundedBoxes:
    """Boxes (n, 4) relative to the image, 0..1, their scores (n,), and the scores of all phrases
    for each of them (n, phrases).

    The score of a box is the highest probability of any token of the text, as in `transformers`;
    that of a phrase the mean over its tokens, as in GLIP and MM-Grounding-DINO.
    """

    box_xyxy: np.ndarray
    score: np.ndarray
    phrase_score: np.ndarray


class GroundingDino:
    """A loaded Grounding DINO."""

    def __init__(self, network: Network) -> None:
        self._network = network
        model = network.model
        # The mask of its text is of booleans, which `eager` adds as numbers: it masks nothing.
        model.model.text_backbone.set_attn_implementation("sdpa")
        self._tokenizer = network.processor.tokenizer
        self._preprocess = Preprocess(network.image_processor)
        to_full_precision(network, model.model.decoder, *model.bbox_embed, *model.class_embed)
        self._tokenizer_lock = threading.Lock()  # a tokenizer stores its last padding
        self._longest: int = model.config.max_text_len // _PADDING * _PADDING
        self.room = self._longest - len(self._tokenizer("").input_ids) - 1
        """Maximum tokens of a text, without special tokens and the last full stop."""

    def look(self, samples: Sequence[Sample]) -> list[dict[str, Tensor]]:
        """Preprocess images, for `answer`."""
        pictures = [sample.picture for sample in samples]
        return self._network.prepare(pictures, self._preprocess)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Return the span of each token of a text of any length, in characters."""
        with self._tokenizer_lock:
            encoded = self._tokenizer(
                _normalised(text),
                add_special_tokens=False,
                return_offsets_mapping=True,
                verbose=False,
            )
        return [tuple(span) for span in encoded.offset_mapping]

    def answer(
        self,
        images: Sequence[Mapping[str, Tensor]],
        rows: Sequence[int],
        texts: Sequence[GroundingText],
    ) -> list[GroundedBoxes]:
        """Ground texts, each in the image in one row of `images`."""
        with self._tokenizer_lock:
            encoded = [self._encoded(text) for text in texts]

        def forward(batch: dict[str, Tensor], _: object) -> tuple[Tensor, Tensor]:
            output = self._network.model(**batch)
            return output.logits.float().sigmoid(), output.pred_boxes

        def finish(outputs: tuple[Tensor, Tensor], numbers: Sequence[int]) -> list[GroundedBoxes]:
            probability, boxes = map(to_numpy, outputs)
            boxes_xyxy = corners(boxes)
            return [
                GroundedBoxes(
                    box_xyxy=boxes_xyxy[row],
                    score=probability[row].max(axis=1),
                    phrase_score=probability[row, :, : len(weight)] @ weight,
                )
                for row, (_, weight) in enumerate(encoded[number] for number in numbers)
            ]

        inputs = [{**images[row], **text} for row, (text, _) in zip(rows, encoded, strict=True)]
        return self._network.run(inputs, forward, finish)

    def _encoded(self, text: GroundingText) -> tuple[dict[str, Tensor], np.ndarray]:
        """Return a text as tokens, and the weight of each token in the score of each phrase."""
        encoded = self._tokenizer(
            _normalised(text.text),
            truncation=True,
            max_length=self._longest,
            padding=True,
            pad_to_multiple_of=_PADDING,
            return_offsets_mapping=True,
            return_token_type_ids=True,
            return_tensors="pt",
        )
        start, stop = encoded.pop("offset_mapping")[0].numpy().T
        first, last = np.array(text.phrases, dtype=np.int64).reshape(-1, 2).T
        is_in = (start[:, None] < last) & (stop[:, None] > first) & (stop > start)[:, None]
        weight = is_in / np.maximum(is_in.sum(axis=0), 1)
        return unbatched(encoded), weight.astype(np.float32)


class GroundingDinoNames:
    """Detects names by Grounding DINO: the text is a list of names, each prompt a phrase of it."""

    def __init__(self, network: Network, *, at_once: int) -> None:
        self._dino = GroundingDino(network)
        self._at_once = at_once

    def find(
        self, samples: Sequence[Sample], queries: Sequence[NameQueries], *, least: float
    ) -> list[list[NamedBoxes]]:
        """Detect names in each sample: the best name of each box above a score."""
        images = self._dino.look(samples)
        parts = [(row, part) for row, whole in enumerate(queries) for part in self._parts(whole)]
        answers = self._dino.answer(
            images, [row for row, _ in parts], [_listed(part.prompts) for _, part in parts]
        )
        found: list[list[NamedBoxes]] = [[] for _ in samples]
        for (row, part), answer in zip(parts, answers, strict=True):
            found[row].append(_found(answer, part, samples[row], least))
        return found

    def _parts(self, queries: NameQueries) -> Iterator[NameQueries]:
        def size(prompt: str) -> int:
            return len(self._dino.token_spans(prompt)) + 1  # and a full stop

        return queries.parts(self._at_once, room=self._dino.room, size=size)


def _listed(prompts: Sequence[str]) -> GroundingText:
    starts = accumulate((len(prompt) + len(_SEPARATOR) for prompt in prompts), initial=0)
    spans = tuple(
        (start, start + len(prompt)) for start, prompt in zip(starts, prompts, strict=False)
    )
    return GroundingText(text=_SEPARATOR.join(prompts), phrases=spans)


def _found(answer: GroundedBoxes, queries: NameQueries, sample: Sample, least: float) -> NamedBoxes:
    fit = queries.of_names(answer.phrase_score)
    name = fit.argmax(axis=1)
    is_kept = answer.score > least
    return NamedBoxes(
        queries=queries,
        box_xyxy=answer.box_xyxy[is_kept] * np.tile((sample.width, sample.height), 2),
        name=name[is_kept],
        score=answer.score[is_kept],
        support=fit[is_kept, name[is_kept]],
    )


def _normalised(text: str) -> str:
    """Return a text in lower case with a final full stop, as in training; offsets stay valid."""
    lower = "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)
    return lower if lower.rstrip().endswith((".", "?")) else f"{lower.rstrip()}."
