"""Captions and other texts of earlier stages in more languages, by a translation model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.errors import SampleError, nearest
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import Input, Specialist, StageConfig, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS, TABLE, names_of
from florilegium.specialists.translation.stage import Translating
from florilegium.specialists.translation.translator import (
    Text,
    Translation,
    TranslationConfig,
)
from florilegium.specialists.words.languages import known_language, same_language

QUESTIONS = tuple(name for name in ("question_answer",) if name in TABLE)
"""Tasks whose text is a question and whose label is the answer."""
TRANSLATED_TASKS = (*dict.fromkeys((*names_of(lambda task: task.words == "sentence"), *QUESTIONS)),)
"""Tasks whose texts are sentences, which can be translated by themselves."""


def checked_tasks(tasks: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of tasks that can be translated, each once.

    Raises:
        ValueError: one cannot.
    """
    for task in tasks:
        if task not in TRANSLATED_TASKS:
            known = nearest(task, TRANSLATED_TASKS)
            raise ValueError(f"{task!r} has no sentences to translate, {known}")
    return tuple(dict.fromkeys(tasks))


class TranslateConfig(TranslationConfig):
    """Options of `translate`."""

    to: tuple[str, ...] = Field(default=(), examples=[["de", "zh-Hans"]])
    """Languages of the translations, BCP 47, at least one; each text is translated into all of them
    but its own."""
    sources: tuple[str, ...] = Field(default=("en",), min_length=1)
    """Languages of the texts that are translated, BCP 47; texts in others are left alone."""
    undeclared: str = ""
    """The language of annotations that state none; without it, they are left alone."""
    tasks: Annotated[tuple[str, ...], NamesAmong(TRANSLATED_TASKS)] = Field(
        default=CAPTION_TASKS, min_length=1
    )
    """Tasks whose texts are translated; of questions, the answer too."""

    @field_validator("tasks")
    @classmethod
    def _of_sentences(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        return checked_tasks(tasks)

    @model_validator(mode="after")
    def _are_languages(self) -> TranslateConfig:
        for tag in (*self.to, *self.sources, *filter(None, [self.undeclared])):
            if tag not in self.codes:
                known_language(tag)
        if self.to and not self.pairs:
            raise ValueError("there is nothing to translate: `to` and `sources` are one language")
        return self

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The directions of translation, (source, target)."""
        return [
            (source, target)
            for source in dict.fromkeys(self.sources)
            for target in dict.fromkeys(self.to)
            if source != target
        ]


class Translate(Translating[TranslateConfig], Specialist[TranslateConfig]):
    """A translation of each text into each language, with the text as its parent.

    The score is the geometric mean of the probabilities of the translation's tokens. A text has no
    translation into a language if that is empty or does not end, or if a sentence is too long for
    the model. Box and quad are those of the text.
    """

    Config: ClassVar[type[StageConfig]] = TranslateConfig
    without_languages: ClassVar[str] = "to = () names no language to translate into: to: [de]"
    produces: tuple[str, ...] = CAPTION_TASKS
    reads: tuple[Input, ...] = (one_of(*CAPTION_TASKS),)
    each: tuple[str, ...] = CAPTION_TASKS

    def __init__(self, config: TranslateConfig) -> None:
        super().__init__(config)
        self.produces = self.each = config.tasks
        self.reads = (one_of(*config.tasks),)

    def chosen(self, sample: Sample) -> list[Annotation]:
        """Return the texts in one of the source languages."""
        return [one for one in sample.of(*self.each) if one.text and self._source_of(one)]

    def predict(self, samples: Sequence[Sample]) -> list[list[Annotation]]:
        """Translate the texts of all samples together."""
        wanted = [
            [
                (one, target)
                for one in self.chosen(sample)
                for source, target in self.config.pairs
                if source == self._source_of(one)
            ]
            for sample in samples
        ]
        texts = [
            Text(text, self._source_of(one), target)
            for own in wanted
            for one, target in own
            for text in _texts_of(one)
        ]
        answers = iter(self.translator.translate(texts))
        return [
            [
                translation
                for one, target in own
                for translation in _translated(one, target, [next(answers) for _ in _texts_of(one)])
            ]
            for own in wanted
        ]

    def _source_of(self, one: Annotation) -> str:
        """Return the source language of an annotation as the config writes it; "" if it is none."""
        own = one.language or self.config.undeclared
        if own in self.config.sources:
            return own
        return next((tag for tag in self.config.sources if own and same_language(tag, own)), "")


def _texts_of(one: Annotation) -> tuple[str, ...]:
    """Return what is translated of an annotation: its text, and the answer to a question."""
    is_answered = one.task in QUESTIONS and one.label
    return (one.text, one.label) if is_answered else (one.text,)


def _translated(
    one: Annotation, target: str, parts: Sequence[Translation | SampleError]
) -> Iterator[Annotation]:
    """Yield the translation of an annotation, if all its texts have one."""
    whole = [part for part in parts if isinstance(part, Translation)]
    if len(whole) == len(parts):
        yield Annotation(
            kind=one.kind,
            task=one.task,
            text=whole[0].text,
            label=whole[1].text if len(whole) > 1 else "",
            language=target,
            box_xyxy=one.box_xyxy,
            quad=one.quad,
            score=min(part.score for part in whole),
            parent_id=one.id,
        )
