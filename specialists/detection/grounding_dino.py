"""A loaded Grounding DINO: boxes for a text, and how well each phrase of the text fits each.

Of the original (arXiv 2303.05499) and of MM-Grounding-DINO (arXiv 2401.02361). A full stop or a
question mark ends what words can hear of each other; the text ends with one. Knows no caption:
only texts with phrases in them, a list of names for one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from specialists.detection.wanted import Found, Wanted, corners
from specialists.pretrained.network import Network, finite, pictured, unbatched
from specialists.pretrained.precision import to_full_precision

if TYPE_CHECKING:
    from torch import Tensor

    from engine.core.sample import Sample

_STOP = ". "
_PADDING = 16
"""Texts are padded to a multiple of this many tokens, so that some share a batch. How much does
not depend on the neighbours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A text and the characters of its phrases, first and one past last."""

    text: str
    phrases: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Boxes (n, 4) from 0 to 1 of the image's sides, their scores (n,), and those of all phrases
    for each of them (n, phrases).

    The score of a box is the highest probability of any token of the text, as `transformers` has
    it; of a phrase the mean over its tokens, as in GLIP and MM-Grounding-DINO.
    """

    box_xyxy: np.ndarray
    score: np.ndarray
    phrase_score: np.ndarray


class GroundingDino:
    """Asks a Grounding DINO about texts."""

    def __init__(self, network: Network) -> None:
        self._network = network
        model = network.model
        self._tokenizer = network.processor.tokenizer
        to_full_precision(network, model.model.decoder, *model.bbox_embed, *model.class_embed)
        self._reading = threading.Lock()  # a tokenizer keeps how it was last asked to pad
        self._longest: int = model.config.max_text_len // _PADDING * _PADDING
        self.room = self._longest - len(self._tokenizer("").input_ids) - 1
        """Tokens of a text that are heard; the rest is for the marks around it and a full stop."""

    def look(self, samples: Sequence[Sample]) -> list[dict[str, Tensor]]:
        """Prepare images, for `answer`."""
        image_processor = self._network.processor.image_processor
        return self._network.prepare(samples, lambda one: pictured(image_processor, one.image))

    def token_places(self, text: str) -> list[tuple[int, int]]:
        """Return the characters of each token of a text of any length."""
        with self._reading:
            encoded = self._tokenizer(
                _spoken(text), add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
        return [tuple(place) for place in encoded.offset_mapping]

    def answer(
        self,
        seen: Sequence[Mapping[str, Tensor]],
        rows: Sequence[int],
        questions: Sequence[Question],
    ) -> list[Answer]:
        """Answer questions, each about the image in one row of `seen`."""
        with self._reading:
            encoded = [self._encoded(question) for question in questions]

        def ask(batch: dict[str, Tensor], numbers: list[int]) -> list[Answer]:
            said = self._network.model(**batch)
            probability = finite(said.logits.float().sigmoid())
            boxes_xyxy = corners(finite(said.pred_boxes))
            return [
                Answer(
                    box_xyxy=boxes_xyxy[row],
                    score=probability[row].max(axis=1),
                    phrase_score=probability[row, :, : len(weight)] @ weight,
                )
                for row, (_, weight) in enumerate(encoded[number] for number in numbers)
            ]

        inputs = [{**seen[row], **text} for row, (text, _) in zip(rows, encoded, strict=True)]
        return self._network.run(inputs, ask)

    def _encoded(self, question: Question) -> tuple[dict[str, Tensor], np.ndarray]:
        """Return a text as tokens, and what each weighs in the score of each phrase."""
        encoded = self._tokenizer(
            _spoken(question.text),
            truncation=True,
            max_length=self._longest,
            padding=True,
            pad_to_multiple_of=_PADDING,
            return_offsets_mapping=True,
            return_token_type_ids=True,
            return_tensors="pt",
        )
        start, stop = encoded.pop("offset_mapping")[0].numpy().T
        first, last = np.array(question.phrases, dtype=np.int64).reshape(-1, 2).T
        is_in = (start[:, None] < last) & (stop[:, None] > first) & (stop > start)[:, None]
        weight = is_in / np.maximum(is_in.sum(axis=0), 1)
        return unbatched(encoded), weight.astype(np.float32)


class GroundingDinoNames:
    """Finds names by a Grounding DINO: a list of names is a text, each prompt a phrase of it."""

    def __init__(self, network: Network, *, at_once: int) -> None:
        self._dino = GroundingDino(network)
        self._at_once = at_once

    def find(
        self, samples: Sequence[Sample], wanted: Sequence[Wanted], *, least: float
    ) -> list[list[Found]]:
        """Find what is wanted in each sample: the best name of each box above a score."""
        seen = self._dino.look(samples)
        asked = [(row, part) for row, whole in enumerate(wanted) for part in self._parts(whole)]
        answers = self._dino.answer(
            seen, [row for row, _ in asked], [_listed(part.prompts) for _, part in asked]
        )
        found: list[list[Found]] = [[] for _ in samples]
        for (row, part), answer in zip(asked, answers, strict=True):
            found[row].append(_found(answer, part, samples[row], least))
        return found

    def _parts(self, wanted: Wanted) -> Iterator[Wanted]:
        def size(prompt: str) -> int:
            return len(self._dino.token_places(prompt)) + 1  # and a full stop

        return wanted.parts(self._at_once, room=self._dino.room, size=size)


def _listed(prompts: Sequence[str]) -> Question:
    starts = accumulate((len(prompt) + len(_STOP) for prompt in prompts), initial=0)
    places = tuple(
        (start, start + len(prompt)) for start, prompt in zip(starts, prompts, strict=False)
    )
    return Question(text=_STOP.join(prompts), phrases=places)


def _found(answer: Answer, wanted: Wanted, sample: Sample, least: float) -> Found:
    fit = wanted.of_names(answer.phrase_score)
    name = fit.argmax(axis=1)
    is_said = answer.score > least
    return Found(
        wanted=wanted,
        box_xyxy=answer.box_xyxy[is_said] * np.tile((sample.width, sample.height), 2),
        name=name[is_said],
        score=answer.score[is_said],
        support=fit[is_said, name[is_said]],
    )


def _spoken(text: str) -> str:
    """Return a text as the model was trained to read it, each character in its place."""
    lower = "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)
    return lower if lower.rstrip().endswith((".", "?")) else f"{lower.rstrip()}."
