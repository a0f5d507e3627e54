"""Drops captions that name an object that none of their source annotations mentions, or that have
sentences without evidence.

A merged caption is compared with the annotations that it was merged from. Captions of other
specialists can be judged too, by the annotations of all other stages. `specialists.words.evidence`
defines what counts as a mention; the image is not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Annotated

import numpy as np
from pydantic import Field

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import CONTENT, THRESHOLD, Filter, StageConfig, maybe, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.specialists.words.english import english_captions, english_revision
from florilegium.specialists.words.evidence import (
    EVIDENCE_TASKS,
    ObjectCheck,
    evidence_among,
    sentences,
)
from florilegium.specialists.words.word_list import WordList, read_word_list

UNSUPPORTED_OBJECT = "unsupported_object"

UNSUPPORTED_SENTENCE = "unsupported_sentence"

OBJECTS = "unsupported_objects"
SENTENCES = "unsupported_sentences"
"""The measurements: objects without a mention, and sentences that have no other evidence or tell
their reader what to do."""


class UnsupportedConfig(StageConfig):
    """Options of `Unsupported`."""

    most_objects: Annotated[int, THRESHOLD, Field(ge=0)] = 0
    """Objects without a mention in a caption, at most."""
    specialists: tuple[str, ...] = ()
    """Specialists whose captions are judged though they were not merged."""
    general_words: Annotated[str, CONTENT] = "package://florilegium/configs/blacklist.txt"
    """Path of a list of nouns that name no object, and need no evidence."""


class Unsupported(Filter[UnsupportedConfig]):
    """Count objects and sentences without evidence in English captions."""

    Config = UnsupportedConfig
    version = 5
    judges_by = "annotation"
    reads = (
        one_of(*CAPTION_TASKS),
        *(maybe(task) for task in EVIDENCE_TASKS if task not in CAPTION_TASKS),
    )
    measured = (OBJECTS, SENTENCES)
    extra = "starter"

    def __init__(self, config: UnsupportedConfig) -> None:
        super().__init__(config)
        self.required_stages = dict.fromkeys(config.specialists, ())

    @property
    def judged_tasks(self) -> frozenset[str]:
        return frozenset(CAPTION_TASKS)

    @property
    def model(self) -> str:
        """The parser; `revision` names its package and version."""
        return "spacy"

    def revision(self) -> str:
        """Name spaCy's pipeline with its version, and the general words by their digest."""
        words = self._general.digest[:16]
        return f"{english_revision()}, spacy {version('spacy')}, words {words}"

    def load(self) -> None:
        """Load the parser."""
        self._check = ObjectCheck(self._general)

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        """Count the unsupported objects and sentences of each caption that is judged."""
        return [
            [
                Measurement(caption.id, self._counts(caption, evidence))
                for caption, evidence in self._judged(sample)
            ]
            for sample in samples
        ]

    def judge(self, statements: Statements) -> Verdicts:
        """Drop the captions with too many unsupported objects, or with any unsupported sentence."""
        verdicts = Verdicts(len(statements))
        for name, most, reason in (
            (OBJECTS, self.config.most_objects, UNSUPPORTED_OBJECT),
            (SENTENCES, 0, UNSUPPORTED_SENTENCE),
        ):
            if (count := statements.measurements.get(name)) is not None:
                where = statements.of_tasks(CAPTION_TASKS) & ~np.isnan(count)
                verdicts.measure(name, count, where)
                verdicts.drop(where & (count > most), reason)
        return verdicts

    def _judged(self, sample: Sample) -> Iterator[tuple[Annotation, list[Annotation]]]:
        """Yield the captions that are judged, each with its evidence."""
        for caption in english_captions(sample):
            if caption.merged_from:
                sources = _sources(caption, sample)
                yield caption, [one for one in sample.annotations if one.id in sources]
            elif caption.specialist in self.config.specialists:
                others = (o for o in sample.annotations if o.specialist != caption.specialist)
                yield caption, evidence_among(others)

    def _counts(self, caption: Annotation, evidence: Sequence[Annotation]) -> dict[str, float]:
        found = self._check.findings(sentences(caption.text), evidence)
        return {
            OBJECTS: sum(len(one.objects) for one in found),
            SENTENCES: sum(bool(one.problem) for one in found),
        }

    @cached_property
    def _general(self) -> WordList:
        return read_word_list(self.config.general_words)


def _sources(caption: Annotation, sample: Sample) -> set[str]:
    """Return the ids of what a caption was merged from; of a merged caption among that, its own
    sources stand for it, as it is no evidence of what it says itself.

    A merge may have taken over a caption that nothing was merged into: that is its only source."""
    captions = {one.id: one for one in sample.of(*CAPTION_TASKS)}
    found: set[str] = set()
    waiting = [*caption.merged_from]
    while waiting:
        name = waiting.pop()
        merged_from = captions[name].merged_from if name in captions else ()
        waiting += merged_from
        if not merged_from:
            found.add(name)
    return found
