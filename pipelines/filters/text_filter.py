"""Drops captions that are too short, too crowded, repetitive, foreign, refusals, or only OCR text.

The parse and the language are measured once and stored; thresholds, one set per caption task,
judge the stored numbers. Emoji, links and file names do not count as words. Captions in other
languages than English are judged where `languages` names them, by what `any_language` measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from typing import Annotated, Any

import numpy as np
from pydantic import field_validator

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.judgement import Statements, Verdicts
from florilegium.engine.core.names_among import NamesAmong
from florilegium.engine.core.rows import Measurement
from florilegium.engine.core.sample import Sample
from florilegium.engine.core.stage import ADDED, THRESHOLD, Filter, StageConfig, maybe, one_of
from florilegium.engine.core.tasks import CAPTION_TASKS
from florilegium.pipelines.filters.any_language import (
    ENGLISH,
    MEASURED,
    LanguageCaptions,
    omissions_of,
    parsers_of,
)
from florilegium.pipelines.filters.caption_limits import (
    DEFAULT_THRESHOLDS,
    RULES,
    CaptionThresholds,
    LanguageLimits,
)
from florilegium.pipelines.filters.caption_measures import (
    count_grammar,
    ocr_overlap,
    prose_of,
    words_of,
)
from florilegium.pipelines.filters.english_words import EnglishWords
from florilegium.pipelines.filters.per_task import over_defaults
from florilegium.pipelines.filters.plain_text import plain_text
from florilegium.pipelines.filters.repetition import count_repeats
from florilegium.specialists.words.english import english_revision, load_english
from florilegium.specialists.words.instructions import count_instructions
from florilegium.specialists.words.languages import code_of, known_language
from florilegium.specialists.words.refusals import count_refusals
from florilegium.specialists.words.writing import words_of_any_script

MAX_PARSED_CHARACTERS = 10_000
"""Characters up to which a caption is parsed; no useful caption is longer."""
BRIEF_WORDS = 5
"""Words outside of quotations below which the language identifier is unreliable."""


class TextFilterConfig(StageConfig):
    """Options of `TextFilter`."""

    tasks: Annotated[dict[str, CaptionThresholds], THRESHOLD, NamesAmong(DEFAULT_THRESHOLDS)] = (
        DEFAULT_THRESHOLDS
    )
    """Thresholds per caption task; those that a config omits keep the task's default."""
    languages: Annotated[tuple[str, ...], ADDED] = ()
    """Languages of captions that may be kept, BCP 47, `en` among them if it is wanted; by default,
    all captions are judged as English ones. A caption in another language is of the wrong one."""
    language_limits: Annotated[LanguageLimits, THRESHOLD, ADDED] = LanguageLimits()
    """Limits on captions in languages other than English; those of `tasks` on words, characters,
    repetition and text in the image hold for them, too."""

    @field_validator("languages")
    @classmethod
    def _are_known(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        codes = [code_of(known_language(tag)) for tag in languages]
        for code in codes:
            if codes.count(code) > 1:
                raise ValueError(f"the language {code!r} occurs twice: name each language once")
        return languages

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
    measured: tuple[str, ...] = (
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

    def __init__(self, config: TextFilterConfig) -> None:
        super().__init__(config)
        if config.languages:
            self.measured = (*self.measured, *MEASURED)

    def revision(self) -> str:
        """Name spaCy's pipelines, py3langid and regex, as far as they are used, with versions."""
        named = [english_revision(), *parsers_of(self.config.languages)]
        packages = ("spacy", "py3langid", *(("regex",) if self.config.languages else ()))
        return ", ".join([*named, *(f"{package} {version(package)}" for package in packages)])

    def omissions(self) -> list[str]:
        """Say what is not measured of captions in languages other than English."""
        return list(omissions_of(self.config.languages))

    def load(self) -> None:
        """Load the parsers and the language identifiers."""
        self._nlp = load_english()
        self._english = EnglishWords(self._nlp)
        languages = self.config.languages
        self._others = LanguageCaptions(languages) if languages else None

    def measure(self, samples: Sequence[Sample]) -> list[list[Measurement]]:
        """Measure every caption of the samples; the numbers are named in `measured`."""
        captions = [list(sample.of(*CAPTION_TASKS)) for sample in samples]
        texts = [[_parsed_part(caption) for caption in of_sample] for of_sample in captions]
        codes = [
            [self._code(*pair) for pair in zip(of_sample, plain, strict=True)]
            for of_sample, plain in zip(captions, texts, strict=True)
        ]
        flat = zip(chain.from_iterable(texts), chain.from_iterable(codes), strict=True)
        grammar = map(count_grammar, self._nlp.pipe(text for text, code in flat if code == ENGLISH))
        measurements = []
        for sample, of_sample, plain, own in zip(samples, captions, texts, codes, strict=True):
            ocr = _OcrWords([line.text for line in sample.of("ocr")])
            measurements.append(
                [
                    Measurement(
                        caption.id,
                        _known(
                            {
                                "characters": len(caption.text),
                                **next(grammar),
                                **self._wording(text, ocr.english),
                            }
                            if code == ENGLISH
                            else {
                                "characters": len(caption.text),
                                **self._in_language(code, text, ocr),
                            }
                        ),
                    )
                    for caption, text, code in zip(of_sample, plain, own, strict=True)
                ]
            )
        return measurements

    def _code(self, caption: Annotation, text: str) -> str:
        """Return the code of the language as which a caption is measured; "" if it is not judged
        as any."""
        return self._others.code(caption.language, text) if self._others else ENGLISH

    def _in_language(self, code: str, text: str, ocr: _OcrWords) -> dict[str, float]:
        assert self._others is not None, "without it, all captions are English"
        return self._others.measures(code, text, ocr.any_script)

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
                "spaced_words": numbers["words"],
                **self._judged_in_language(statements, numbers, is_brief),
            }
            judged["action_complexity"] = _needed_action(judged, thresholds)
            limits = {**dict(self.config.language_limits), **dict(thresholds)}
            for limit, name, reason in RULES:
                if name in judged:
                    verdicts.drop(where & _is_beyond(limit, judged[name], limits[limit]), reason)
        return verdicts

    def _judged_in_language(
        self, statements: Statements, numbers: Mapping[str, np.ndarray], is_brief: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return what is judged of captions in languages other than English: their language, words
        between spaces, and their syntax where that is wanted."""
        if not self.config.languages:
            return {}
        syntax = set(map(code_of, self.config.language_limits.syntax))
        is_wanted = [code_of(tag) in syntax for tag in statements.texts("language")]
        is_parsed = np.isnan(numbers["script"]) | np.array(is_wanted, dtype=bool)
        return {
            "language": np.where(is_brief, np.nan, numbers["language"]),
            "language_brief": np.where(is_brief, numbers["language"], np.nan),
            "spaced_words": numbers["words"] - np.nan_to_num(numbers["unspaced"]),
            **{
                name: np.where(is_parsed, numbers[name], np.nan)
                for name in ("things", "object_complexity", "action_complexity")
            },
        }


def _known(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers without those that could not be measured."""
    return {name: number for name, number in numbers.items() if not math.isnan(number)}


class _OcrWords:
    """The words of the text in an image, split when they are first needed."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines

    @cached_property
    def english(self) -> set[str]:
        return {word for line in self._lines for word in words_of(line)}

    @cached_property
    def any_script(self) -> set[str]:
        return {word for line in self._lines for word in words_of_any_script(line)}


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
