"""Limits on captions: per caption task, and in languages other than English; reasons of drops.

`thresholds.md` explains the defaults. Knows no measurement but by its name.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from florilegium.pipelines.filters.per_task import Fraction

TOO_SHORT = "too_short"
TOO_LONG = "too_long"
REPEATED_CLAUSES = "repeated_clauses"
WRONG_LANGUAGE = "wrong_language"
WRONG_SCRIPT = "wrong_script"
REFUSAL = "refusal"
OCR_OVERLAP = "ocr_overlap"
TOO_MANY_OBJECTS = "too_many_objects"
LOW_OBJECT_COMPLEXITY = "low_object_complexity"
LOW_ACTION_COMPLEXITY = "low_action_complexity"

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

RULES = (
    ("min_english", "english", WRONG_LANGUAGE),
    ("min_english_brief", "english_brief", WRONG_LANGUAGE),
    ("min_script", "script", WRONG_SCRIPT),
    ("min_language", "language", WRONG_LANGUAGE),
    ("min_language_brief", "language_brief", WRONG_LANGUAGE),
    ("max_refusals", "refusals", REFUSAL),
    ("min_words", "words", TOO_SHORT),
    ("max_words", "spaced_words", TOO_LONG),
    ("max_characters", "characters", TOO_LONG),
    ("max_repeats", "repeated_clauses", REPEATED_CLAUSES),
    ("max_ocr_overlap", "ocr_overlap", OCR_OVERLAP),
    ("max_objects", "things", TOO_MANY_OBJECTS),
    ("min_object_complexity", "object_complexity", LOW_OBJECT_COMPLEXITY),
    ("min_action_complexity", "action_complexity", LOW_ACTION_COMPLEXITY),
)
"""Threshold, measurement and reason of a drop, in the order in which they are applied."""


class LanguageLimits(BaseModel):
    """Limits on captions in languages other than English; `None` sets no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_script: Fraction | None = 0.5
    """Lowest share of letters of the language's script, 0..1."""
    min_language: Fraction | None = 0.05
    """Lowest probability of the language by its letters, 0..1. Languages that are written alike,
    such as Danish and Norwegian, are hardly told apart: where two of them are wanted, lower it."""
    min_language_brief: Fraction | None = 0.005
    """The same for captions of fewer than five words."""
    syntax: tuple[str, ...] = ()
    """Languages whose captions are judged by objects and complexity, too, as far as they declare
    their language and spaCy has a pipeline of it. The default limits are those of English."""
