"""Phrase grounding: boxes for the noun phrases of a caption, by Grounding DINO.

The caption as a whole is the question, so words that describe a thing help to find it. Each box
goes to exactly one noun phrase, the one that fits it best: no box is a "car taxi". Captions that
are longer than the model hears are asked sentence after sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from engine.core.annotation import Annotation
from engine.core.errors import nearest
from engine.core.sample import Sample
from engine.core.stage import RUNTIME, Input, Specialist, StageConfig, one_of
from engine.core.tasks import CAPTION_TASKS
from specialists.detection.grounding_dino import Answer, GroundingDino, Question
from specialists.pretrained.checkpoint import Family
from specialists.pretrained.config import PretrainedConfig
from specialists.pretrained.stage import Pretrained
from specialists.words.english import english_captions, english_revision, load_english, parse
from specialists.words.noun_phrases import NounPhrase, noun_phrases, parts

if TYPE_CHECKING:
    from spacy.tokens import Doc


class GroundingConfig(PretrainedConfig):
    """Which Grounding DINO, which captions, and from which score on it is heard."""

    model: Annotated[str, RUNTIME] = "IDEA-Research/grounding-dino-base"
    """A folder, `package://NAME/FOLDER` or a hub id: a Grounding DINO or MM-Grounding-DINO."""
    captions: tuple[str, ...] = Field(default=CAPTION_TASKS, min_length=1)
    """Tasks whose texts are grounded: `caption`, `detailed_caption`, `more_detailed_caption`."""
    least_score: float = Field(default=0.2, ge=0, lt=1)
    """Boxes that are not scored above this are not said, 0..1. Low: filters judge."""

    @field_validator("captions")
    @classmethod
    def _known(cls, captions: tuple[str, ...]) -> tuple[str, ...]:
        for task in captions:
            if task not in CAPTION_TASKS:
                raise ValueError(f"{task!r} is no caption, {nearest(task, CAPTION_TASKS)}")
        return tuple(dict.fromkeys(captions))


class Part(NamedTuple):
    """A part of a caption that is asked at once: its question, and the phrases in the caption."""

    row: int
    caption: Annotation
    question: Question
    phrases: tuple[NounPhrase, ...]


class Grounding(Pretrained[GroundingConfig], Specialist[GroundingConfig]):
    """One annotation per box, the parent is the caption, the label the noun of the phrase.

    `score` is the box's, the highest probability of any token; `support` that of its
    phrase, the mean probability of the phrase's tokens, the article apart. Captions without a
    noun phrase, and those that are not English, are not asked about.
    """

    Config: ClassVar[type[StageConfig]] = GroundingConfig
    version: ClassVar[int] = 2
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
        asked = self._parts(samples)
        rows = sorted({part.row for part in asked})
        seen = self._dino.look([samples[row] for row in rows])
        answers = self._dino.answer(
            seen, [rows.index(part.row) for part in asked], [part.question for part in asked]
        )
        said: list[list[Annotation]] = [[] for _ in samples]
        for part, answer in zip(asked, answers, strict=True):
            sample = samples[part.row]
            said[part.row] += self._groundings(part, answer, (sample.width, sample.height))
        return said

    def _parts(self, samples: Sequence[Sample]) -> list[Part]:
        """Return what is asked about the samples, in their order; each text is parsed once."""
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

    def _parts_of(self, row: int, caption: Annotation, document: Doc) -> Iterator[Part]:
        phrases = noun_phrases(document)
        if not phrases:
            return
        places = self._dino.token_places(caption.text)
        starts = np.array([token.idx for token in document])
        owner = np.searchsorted(starts, [start for start, _ in places], side="right") - 1
        sizes = np.bincount(owner, minlength=len(document)).tolist()
        for start, stop in parts(document, sizes, room=self._dino.room):
            inside = tuple(one for one in phrases if start <= one.span[0] and one.span[1] <= stop)
            if inside:
                words = tuple((one.words[0] - start, one.words[1] - start) for one in inside)
                question = Question(text=caption.text[start:stop], phrases=words)
                yield Part(row=row, caption=caption, question=question, phrases=inside)

    def _groundings(
        self, part: Part, answer: Answer, size_wh: tuple[int, int]
    ) -> Iterator[Annotation]:
        """Yield the boxes of one answer in the order of their phrases, the surest first."""
        best = answer.phrase_score.argmax(axis=1)
        boxes_xyxy = answer.box_xyxy.clip(0, 1) * np.tile(size_wh, 2)
        has_area = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(axis=1)
        is_said = has_area & (answer.score > self.config.least_score)
        for box in np.lexsort((-answer.score, best)):
            if is_said[box]:
                phrase = part.phrases[best[box]]
                yield Annotation(
                    kind="phrase",
                    task="phrase_grounding",
                    text=part.caption.text[slice(*phrase.span)],
                    label=phrase.head,
                    language=part.caption.language,
                    box_xyxy=tuple(boxes_xyxy[box].tolist()),
                    span=phrase.span,
                    score=float(answer.score[box]),
                    support=float(answer.phrase_score[box, best[box]]),
                    parent_id=part.caption.id,
                )
