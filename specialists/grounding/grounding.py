"""Phrase grounding: boxes for the noun phrases of a caption, by Grounding DINO.

The input is the whole caption, so that descriptions of an object help to find it. Each box goes to
exactly one noun phrase, the one with the highest score. Captions that are too long for the model
are split into sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, Input, Specialist, StageConfig, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS, checked_captions
from florilegium.specialists.detection.grounding_dino import (
    GroundedBoxes,
    GroundingDino,
    GroundingText,
)
from florilegium.specialists.pretrained.checkpoint import Family
from florilegium.specialists.pretrained.config import PretrainedConfig
from florilegium.specialists.pretrained.stage import Pretrained
from florilegium.specialists.words.english import (
    english_captions,
    english_revision,
    load_english,
    parse,
)
from florilegium.specialists.words.noun_phrases import NounPhrase, noun_phrases, split

if TYPE_CHECKING:
    from spacy.tokens import Doc


class GroundingConfig(PretrainedConfig):
    """Options of `grounding`."""

    model: Annotated[str, CONTENT] = "IDEA-Research/grounding-dino-base"
    """A folder, `package://NAME/FOLDER` or a hub id: a Grounding DINO or MM-Grounding-DINO."""
    captions: Annotated[
        tuple[str, ...], NamesAmong(CAPTION_TASKS), AfterValidator(checked_captions)
    ] = Field(default=CAPTION_TASKS, min_length=1)
    """Tasks whose texts are grounded: `caption`, `detailed_caption`, `more_detailed_caption`."""
    least_score: float = Field(default=0.2, ge=0, lt=1)
    """Score that boxes must exceed, 0..1. Low by default: filters judge later."""
    expand: Literal["none", "dependents"] = "none"
    """What the text of a phrase is: the noun phrase, or that with the words that depend on it, as
    in GrIT ("a dog in a field of flowers"). The box is that of the noun phrase in both cases, and
    phrases may lie in others ("a field of flowers"): the filter `grounded` can drop these."""


class CaptionPart(NamedTuple):
    """A part of a caption for one forward pass: its text, and its phrases in the caption."""

    row: int
    caption: Annotation
    text: GroundingText
    phrases: tuple[NounPhrase, ...]


class Grounding(Pretrained[GroundingConfig], Specialist[GroundingConfig]):
    """One annotation per box; the parent is the caption, the label the head noun of the phrase.

    `score` is the highest probability of any token for the box; `support` the mean probability of
    the tokens of its phrase, without article. Captions without a noun phrase, and those that are
    not English, are skipped.
    """

    Config: ClassVar[type[StageConfig]] = GroundingConfig
    version: ClassVar[int] = 3
    family: ClassVar[Family] = Family(
        title="a Grounding DINO",
        example="IDEA-Research/grounding-dino-base",
        model_class="AutoModelForZeroShotObjectDetection",
        model_types=("grounding-dino", "mm-grounding-dino"),
    )
    reads: tuple[Input, ...] = (one_of(*CAPTION_TASKS),)
    produces: tuple[str, ...] = ("phrase_grounding",)
    extra: ClassVar[str] = "starter"

    def __init__(self, config: GroundingConfig) -> None:
        super().__init__(config)
        self.reads = (one_of(*config.captions),)
        self.each = config.captions

    def require(self) -> None:
        """Check that an English pipeline is installed."""
        english_revision()

    def revision(self) -> str:
        """Name the commit or digest of the weights, and the pipeline that finds the phrases."""
        return f"{super().revision()}, {english_revision()}"

    def load(self) -> None:
        """Load the weights and spaCy's English pipeline."""
        super().load()
        self._dino = GroundingDino(self.network)
        load_english()

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Ground the captions of each sample."""
        parts = self._parts(samples)
        rows = sorted({part.row for part in parts})
        images = self._dino.look([samples[row] for row in rows])
        answers = self._dino.answer(
            images, [rows.index(part.row) for part in parts], [part.text for part in parts]
        )
        found: list[list[Annotation]] = [[] for _ in samples]
        for part, answer in zip(parts, answers, strict=True):
            sample = samples[part.row]
            found[part.row] += self._groundings(part, answer, (sample.width, sample.height))
        return found

    def _parts(self, samples: Sequence[Sample]) -> list[CaptionPart]:
        """Return the parts of all captions, in order; each text is parsed once."""
        captions = [
            (row, caption)
            for row, sample in enumerate(samples)
            for caption in english_captions(sample, self.config.captions)
        ]
        documents = parse(caption.text for _, caption in captions)
        return [
            part
            for row, caption in captions
            for part in self._parts_of(row, caption, documents[caption.text])
        ]

    def _parts_of(self, row: int, caption: Annotation, document: Doc) -> Iterator[CaptionPart]:
        phrases = noun_phrases(document)
        if not phrases:
            return
        spans = self._dino.token_spans(caption.text)
        starts = np.array([token.idx for token in document])
        owner = np.searchsorted(starts, [start for start, _ in spans], side="right") - 1
        sizes = np.bincount(owner, minlength=len(document)).tolist()
        for start, stop in split(document, sizes, room=self._dino.room):
            inside = tuple(one for one in phrases if start <= one.span[0] and one.span[1] <= stop)
            if inside:
                words = tuple((one.words[0] - start, one.words[1] - start) for one in inside)
                text = GroundingText(text=caption.text[start:stop], phrases=words)
                yield CaptionPart(row=row, caption=caption, text=text, phrases=inside)

    def _groundings(
        self, part: CaptionPart, answer: GroundedBoxes, size_wh: tuple[int, int]
    ) -> Iterator[Annotation]:
        """Yield the boxes of one answer in the order of their phrases, highest scores first."""
        best = answer.phrase_score.argmax(axis=1)
        is_expanded = self.config.expand == "dependents"
        boxes_xyxy = answer.box_xyxy.clip(0, 1) * np.tile(size_wh, 2)
        has_area = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)
        is_kept = has_area & (answer.score > self.config.least_score)
        for box in np.lexsort((-answer.score, best)):
            if is_kept[box]:
                phrase = part.phrases[best[box]]
                span = phrase.expression if is_expanded else phrase.span
                yield Annotation(
                    kind="phrase",
                    task="phrase_grounding",
                    text=part.caption.text[slice(*span)],
                    label=phrase.head,
                    language=part.caption.language,
                    box_xyxy=tuple(boxes_xyxy[box].tolist()),
                    span=span,
                    score=float(answer.score[box]),
                    support=float(answer.phrase_score[box, best[box]]),
                    parent_id=part.caption.id,
                )
