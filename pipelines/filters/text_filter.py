"""Drops captions that are too short, too crowded, repetitive, foreign, refusals, or only OCR text.

The parse and the language are measured once and stored; thresholds, one set per caption task,
judge the stored numbers. Emoji, links and file names do not count as words. Only English captions
can be measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import THRESHOLD, Filter, StageConfig, maybe, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.filters.caption_measures import (
    count_grammar,
    ocr_overlap,
    prose_of,
    words_of,
)
from florilegium.pipelines.filters.english_words import EnglishWords
from florilegium.pipelines.filters.per_task import Fraction, over_defaults
from florilegium.pipelines.filters.plain_text import plain_text
from florilegium.pipelines.filters.repetition import count_repeats
from florilegium.specialists.words.english import english_revision, load_english
from florilegium.specialists.words.instructions import count_instructions
from florilegium.specialists.words.refusals import count_refusals

TOO_SHORT = "too_short"
TOO_LONG = "too_long"
REPEATED_CLAUSES = "repeated_clauses"
WRONG_LANGUAGE = "wrong_language"
REFUSAL = "refusal"
OCR_OVERLAP = "ocr_overlap"
TOO_MANY_OBJECTS = "too_many_objects"
LOW_OBJECT_COMPLEXITY = "low_object_complexity"
LOW_ACTION_COMPLEXITY = "low_action_complexity"

MAX_PARSED_CHARACTERS = 10_000
"""Characters up to which a caption is parsed; no useful caption is longer."""
BRIEF_WORDS = 5
"""Words outside of quotations below which the language identifier is unreliable."""
Count = Annotated[int, Field(ge=0)]
Degree = Annotated[float, Field(ge=0)]


class CaptionThresholds(BaseModel):
    """Limits on the captions of one task; `None` sets no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_words: Count | None = 2
    """Fewest words; emoji, numbers alone, links and file names do not count."""
    max_words: Count | None = 40
    """Most words."""
    max_characters: Count | None = 400
    """Most characters, for text that is not split into words."""
    max_repeats: Count | None = 0
    """Most repetitions of clauses or runs of words."""
    min_english: Fraction | None = 0.05
    """Lowest probability that a caption is English, 0..1; short texts have none and pass."""
    min_english_brief: Fraction | None = 0.005
    """The same for captions of fewer than five words, whose language is less certain."""
    max_ocr_overlap: Fraction | None = 0.7
    """Largest share of content words that are text in the image, 0..1."""
    max_objects: Count | None = 7
    """Most objects that are named; crowded captions tend to name absent objects."""
    max_refusals: Count | None = 0
    """Most sentences that refuse to describe the image, as language models do, or tell their
    reader what to do."""
    min_object_complexity: Degree | None = 1.5
    """Least mean degree of the nouns in the dependency tree; "a dog" has 1."""
    min_action_complexity: Degree | None = 1.0
    """Least mean degree of the verbs; a caption without a verb has 0."""
    min_object_complexity_without_action: Degree | None = None
    """Least mean degree of the nouns with which a caption that has too little action is kept all
    the same, as that of a still life; `None` keeps none."""


DEFAULT_THRESHOLDS = {
    "caption": CaptionThresholds(min_object_complexity_without_action=2.0),
    "detailed_caption": CaptionThresholds(
        min_words=4,
        max_words=120,
        max_characters=1_000,
        max_objects=31,
        min_object_complexity=2.0,
    ),
    "more_detailed_caption": CaptionThresholds(
        min_words=6,
        max_words=400,
        max_characters=3_000,
        max_objects=65,
        min_object_complexity=2.1,
        min_action_complexity=2.0,
    ),
}
"""Thresholds of each task that the filter judges.

Those of objects and complexity come from published captions: `thresholds.md` has the quantiles, the
rule and what each threshold drops. Only brief captions may be without an action: FLD-5B has 0.58
actions in a brief caption (Table 3), so at least 42 % of these have none.
"""

_RULES = (
    ("min_english", "english", WRONG_LANGUAGE),
    ("min_english_brief", "english_brief", WRONG_LANGUAGE),
    ("max_refusals", "refusals", REFUSAL),
    ("min_words", "words", TOO_SHORT),
    ("max_words", "words", TOO_LONG),
    ("max_characters", "characters", TOO_LONG),
    ("max_repeats", "repeated_clauses", REPEATED_CLAUSES),
    ("max_ocr_overlap", "ocr_overlap", OCR_OVERLAP),
    ("max_objects", "things", TOO_MANY_OBJECTS),
    ("min_object_complexity", "object_complexity", LOW_OBJECT_COMPLEXITY),
    ("min_action_complexity", "action_complexity", LOW_ACTION_COMPLEXITY),
)
"""Threshold, measurement and reason of a drop, in the order in which they are applied."""


class TextFilterConfig(StageConfig):
    """Options of `TextFilter`."""

    tasks: Annotated[dict[str, CaptionThresholds], THRESHOLD, NamesAmong(DEFAULT_THRESHOLDS)] = (
        DEFAULT_THRESHOLDS
    )
    """Thresholds per caption task; those that a config omits keep the task's default."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        return over_defaults(given, DEFAULT_THRESHOLDS)


class TextFilter(Filter[TextFilterConfig]):
    """Measure captions with spaCy and py3langid, judge them by thresholds per task."""

    Config = TextFilterConfig
    version = 6
    judges_by = "annotation"
    reads = (one_of(*CAPTION_TASKS), maybe("ocr"))
    each = CAPTION_TASKS
    needs = ("py3langid",)
    extra = "starter"
    measured = (
        "objects",
        "things",
        "attributes",
        "actions",
        "proper_nouns",
        "object_complexity",
        "action_complexity",
        "words",
        "characters",
        "prose_words",
        "repeated_clauses",
        "english",
        "refusals",
        "ocr_overlap",
    )

    @property
    def judged_tasks(self) -> frozenset[str]:
        return frozenset(CAPTION_TASKS)

    @property
    def model(self) -> str:
        """The parser; `revision` names its package and version."""
        return "spacy"

    def revision(self) -> str:
        """Name spaCy's pipeline and py3langid with their versions."""
        return f"{english_revision()}, spacy {version('spacy')}, py3langid {version('py3langid')}"

    def load(self) -> None:
        """Load the parser and the language identifier."""
        self._nlp = load_english()
        self._english = EnglishWords(self._nlp)

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        """Measure every caption of the samples; the numbers are named in `measured`."""
        captions = [list(sample.of(*CAPTION_TASKS)) for sample in samples]
        texts = [[_parsed_part(caption) for caption in of_sample] for of_sample in captions]
        grammar = map(count_grammar, self._nlp.pipe(chain.from_iterable(texts)))
        measurements = []
        for sample, of_sample, plain in zip(samples, captions, texts, strict=True):
            ocr_words = {word for text in sample.of("ocr") for word in words_of(text.text)}
            measurements.append(
                [
                    Measurement(
                        caption.id,
                        {
                            "characters": len(caption.text),
                            **next(grammar),
                            **self._wording(text, ocr_words),
                        },
                    )
                    for caption, text in zip(of_sample, plain, strict=True)
                ]
            )
        return measurements

    def _wording(self, text: str, ocr_words: set[str]) -> dict[str, float]:
        """Measure values that need no parse."""
        prose = prose_of(text)
        return {
            "prose_words": len(words_of(prose)),
            "repeated_clauses": count_repeats(prose),
            "english": self._english.probability(prose),
            "refusals": count_refusals(prose) + count_instructions(prose),
            "ocr_overlap": ocr_overlap(prose, ocr_words, self._nlp.Defaults.stop_words),
        }

    def judge(self, statements: Statements) -> Verdicts:
        """Judge the captions that were measured."""
        verdicts = Verdicts(len(statements))
        numbers = dict(statements.measurements)
        for task, thresholds in self.config.tasks.items():
            where = statements.of_tasks([task]) & ~np.isnan(numbers["words"])
            for name in self.measured:
                verdicts.measure(name, numbers[name], where)
            is_brief = numbers["prose_words"] < BRIEF_WORDS
            judged = numbers | {
                "english": np.where(is_brief, np.nan, numbers["english"]),
                "english_brief": np.where(is_brief, numbers["english"], np.nan),
                "action_complexity": _needed_action(numbers, thresholds),
            }
            for limit, name, reason in _RULES:
                is_beyond = _is_beyond(limit, judged[name], getattr(thresholds, limit))
                verdicts.drop(where & is_beyond, reason)
        return verdicts


def _needed_action(numbers: Mapping[str, np.ndarray], thresholds: CaptionThresholds) -> np.ndarray:
    """Return the complexities of actions, NaN where objects are complex enough without one."""
    enough = thresholds.min_object_complexity_without_action
    is_enough = numbers["object_complexity"] >= (np.inf if enough is None else enough)
    return np.where(is_enough, np.nan, numbers["action_complexity"])


def _is_beyond(limit: str, values: np.ndarray, threshold: float | None) -> np.ndarray:
    """Return which values a `min_...` or `max_...` limit excludes; NaN is within every limit."""
    if threshold is None:
        return np.zeros(len(values), dtype=bool)
    return values < threshold if limit.startswith("min_") else values > threshold


def _parsed_part(caption: Annotation) -> str:
    return plain_text(caption.text[:MAX_PARSED_CHARACTERS])
