"""Drops translations that, translated back, are unlike the text that they were made from.

The back translation is made by a model of its own options, and compared by chrF. It measures both
directions: a bad model back drops good translations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator, model_validator

from florilegium.engine.core.annotation import SCORE_DECIMALS, Annotation
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, Filter, Input, StageConfig, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.filters.per_task import Fraction
from florilegium.specialists.translation.stage import Translating
from florilegium.specialists.translation.translate import TRANSLATED_TASKS, checked_tasks
from florilegium.specialists.translation.translator import (
    Text,
    Translation,
    TranslationConfig,
)
from florilegium.specialists.words.chrf import chrf
from florilegium.specialists.words.languages import known_language, same_language

UNLIKE_SOURCE = "unlike_source"
SIMILARITY = "round_trip"


class RoundTripConfig(TranslationConfig):
    """Options of `RoundTrip`."""

    languages: tuple[str, ...] = Field(default=(), examples=[["de", "zh-Hans"]])
    """Languages of the translations that are judged, BCP 47, at least one."""
    source: str = "en"
    """The language of the texts from which they were made, BCP 47."""
    tasks: Annotated[tuple[str, ...], NamesAmong(TRANSLATED_TASKS)] = Field(
        default=CAPTION_TASKS, min_length=1
    )
    """Tasks whose translations are judged."""
    least_similarity: Annotated[Fraction | None, THRESHOLD] = 0.4
    """Lowest chrF of the back translation and the source, 0..1. One pair in a thousand of captions
    of different COCO images reaches the default. `null` only measures."""

    @field_validator("tasks")
    @classmethod
    def _of_sentences(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        return checked_tasks(tasks)

    @model_validator(mode="after")
    def _are_languages(self) -> RoundTripConfig:
        for tag in (*self.languages, self.source):
            if tag not in self.codes:
                known_language(tag)
        return self

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The directions of translation, (source, target): the ways back."""
        return [(tag, self.source) for tag in self.languages]


class RoundTrip(Translating[RoundTripConfig], Filter[RoundTripConfig]):
    """Measure translations by their way back, judge them by a threshold.

    A translation is an annotation in one of the languages whose parent is of the same task and has
    a text. One that cannot be translated back has the similarity 0.
    """

    Config: ClassVar[type[StageConfig]] = RoundTripConfig
    without_languages: ClassVar[str] = (
        "languages = () names no translations to judge: languages: [de]"
    )
    judges_by = "annotation"
    reads: tuple[Input, ...] = (one_of(*CAPTION_TASKS),)
    measured = (SIMILARITY,)

    def __init__(self, config: RoundTripConfig) -> None:
        super().__init__(config)
        self.reads = (one_of(*config.tasks),)

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        """Translate back all translations of the samples together."""
        judged = [list(self._judged(sample)) for sample in samples]
        texts = [Text(one.text, tag, self.config.source) for own in judged for one, _, tag in own]
        back = iter(self.translator.translate(texts))
        return [
            [
                Measurement(one.id, {SIMILARITY: self._similarity(next(back), source.text)})
                for one, source, _ in own
            ]
            for own in judged
        ]

    def _judged(self, sample: Sample) -> Iterator[tuple[Annotation, Annotation, str]]:
        """Yield each translation with its source and its language as the config writes it."""
        by_id = {one.id: one for one in sample.of(*self.config.tasks)}
        for one in by_id.values():
            source = by_id.get(one.parent_id)
            tag = self._language_of(one)
            if source and source.task == one.task and source.text and one.text and tag:
                yield one, source, tag

    def _language_of(self, one: Annotation) -> str:
        own, languages = one.language, self.config.languages
        if own in languages:
            return own
        return next((tag for tag in languages if own and same_language(tag, own)), "")

    def _similarity(self, back: Translation | Exception, source: str) -> float:
        if not isinstance(back, Translation):
            return 0.0
        return round(chrf(back.text, source), SCORE_DECIMALS)

    def judge(self, statements: Statements) -> Verdicts:
        """Judge the stored similarities."""
        verdicts = Verdicts(len(statements))
        similarity = statements.measurements[SIMILARITY]
        where = statements.of_tasks(self.config.tasks) & ~np.isnan(similarity)
        verdicts.measure(SIMILARITY, similarity, where)
        if (least := self.config.least_similarity) is not None:
            verdicts.drop(where & (similarity < least), UNLIKE_SOURCE)
        return verdicts
