"""Questions and answers from templates, filled with the objects, phrases of captions, tags and OCR
of other stages and with colours.

Colours are measured on the pixels. What is not known for sure is not asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import nearest
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import (
    ADDED,
    CONTENT,
    Input,
    Specialist,
    StageConfig,
    maybe,
    one_of,
)
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.questions.facts import Facts, Sureness, facts_of
from florilegium.specialists.questions.templates import (
    KINDS,
    OF_PHRASES,
    PLAIN_KINDS,
    Asker,
    Draft,
    in_order,
)
from florilegium.specialists.words.absent import Absence
from florilegium.specialists.words.relations import Relations, read_relations
from florilegium.specialists.words.vocabulary import Names, Vocabulary, vocabulary_of


class TemplateQuestionsConfig(StageConfig):
    """What is asked, and what is sure enough for it."""

    kinds: Annotated[tuple[str, ...], NamesAmong(KINDS)] = Field(default=PLAIN_KINDS, min_length=1)
    """Kinds of questions: `existence`, `count`, `colour`, `position`, `relation`, `reading`; and
    only where they are named, `phrase_position` and `phrase_relation`, about things as captions
    call them."""
    most: int = Field(default=2, ge=1)
    """Questions of a kind in an image, at most; of `existence` and relations, pairs of one with
    "yes" and one with "no"."""
    facts_from: tuple[str, ...] = ()
    """Specialists whose annotations are asked about; by default all. Those of others that are read
    only tell what may be there: it is not asked about as absent, nor counted."""
    vocabulary: Annotated[Names, CONTENT] = ()
    """Names that the detectors of the graph know, a list or a file: what is absent is asked for by
    these only. Without any there are no questions of kind `existence`, and no count is 0."""
    kinds_and_parts: Annotated[str, CONTENT] = "package://florilegium/configs/kinds_and_parts.txt"
    """Path of a list of synonyms, kinds and parts: these of a named object are not absent."""
    least_object: float = Field(default=0.5, ge=0, le=1)
    """Minimum score of an object that is asked about, 0..1."""
    least_tag: float = Field(default=0.8, ge=0, le=1)
    """Minimum score of a tag that is asked about, 0..1."""
    least_text: float = Field(default=0.8, ge=0, le=1)
    """Minimum score of a line of text that is asked about, 0..1; no text of an image is asked
    about where another line has less."""
    least_phrase: Annotated[float, ADDED, Field(ge=0, le=1)] = 0.5
    """Minimum score of a phrase of a caption, with its box, that is asked about, 0..1."""
    most_overlap: float = Field(default=0.5, ge=0, le=1)
    """Of two boxes that share more than this share of the smaller one, only the first in rank is
    asked about, 0..1."""

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"{kind!r} is no kind of question, {nearest(kind, KINDS)}")
        return tuple(dict.fromkeys(kinds))

    @property
    def has_phrases(self) -> bool:
        """Whether any kind is about phrases of captions."""
        return not set(OF_PHRASES).isdisjoint(self.kinds)

    @property
    def sureness(self) -> Sureness:
        """From which score on annotations are facts."""
        return Sureness(
            least_object=self.least_object,
            least_tag=self.least_tag,
            least_text=self.least_text,
            least_phrase=self.least_phrase if self.has_phrases else None,
            most_overlap=self.most_overlap,
            specialists=self.facts_from,
        )


class TemplateQuestions(Specialist[TemplateQuestionsConfig]):
    """Questions in English, in `text`, and short answers, in `label`.

    The parent is the annotation that a question is about, and `merged_from` has all that its answer
    needs, where they are several: it is dropped with any of them. The answer "no" to a question
    for something absent, and the count 0, have no parent: no annotation that was read, kept or
    dropped later, may be of it. The score is the lowest of those annotations.
    """

    Config: ClassVar[type[StageConfig]] = TemplateQuestionsConfig
    reads: tuple[Input, ...] = (one_of("object_detection", "ocr"), maybe("tag", *CAPTION_TASKS))
    produces: tuple[str, ...] = ("question_answer",)

    def __init__(self, config: TemplateQuestionsConfig) -> None:
        super().__init__(config)
        self.required_stages = dict.fromkeys(config.facts_from, ())
        if config.has_phrases:
            self.reads = (*self.reads, one_of("phrase_grounding"))

    @property
    def model(self) -> str:
        """The templates."""
        return "template"

    def revision(self) -> str:
        """Name the vocabulary and the relations of words by their digests."""
        names = self._vocabulary.digest[:16] if self._vocabulary else "none"
        return f"vocabulary {names}, kinds and parts {self._relations.digest[:16]}"

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Ask about each sample."""
        return [[_annotation(draft) for draft in self._drafts(sample)] for sample in samples]

    def _drafts(self, sample: Sample) -> Iterator[Draft]:
        facts = facts_of(sample, self.config.sureness)
        digest = sample.sha256 or sample.key
        asker = Asker(
            facts=facts,
            absent=self._absent(sample, facts, digest),
            digest=digest,
            most=self.config.most,
        )
        for kind in self.config.kinds:
            yield from KINDS[kind](asker)

    def _absent(self, sample: Sample, facts: Facts, digest: str) -> list[str]:
        """Return the first names of the vocabulary that are absent, in the order of a digest: as
        many as are asked for, and one more for a count."""
        if self._vocabulary is None:
            return []
        names = in_order(self._vocabulary.names, str, f"{digest}/absent")
        absent = Absence(self._relations).absent(sample.annotations, names)
        wanted = 1 + min(self.config.most, len(facts.names))
        return [name for name, _ in zip(absent, range(wanted), strict=False)]

    @cached_property
    def _vocabulary(self) -> Vocabulary | None:
        return vocabulary_of(self.config.vocabulary) if self.config.vocabulary else None

    @cached_property
    def _relations(self) -> Relations:
        return read_relations(self.config.kinds_and_parts)


def _annotation(draft: Draft) -> Annotation:
    scores = [one.score for one in draft.sources if one.score is not None]
    names = [one.id for one in draft.sources]
    return Annotation(
        kind="text",
        task="question_answer",
        text=draft.question,
        label=draft.answer,
        language="en",
        score=min(scores, default=None),
        parent_id=names[0] if names else "",
        merged_from=tuple(names) if len(names) > 1 else (),
    )
