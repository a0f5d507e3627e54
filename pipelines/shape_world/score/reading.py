"""How well the words on signs were read.

Measures `ocr`, without regard to case: a sign's word is all the text there is to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.core.annotation import Annotation
from pipelines.shape_world.score.comparison import Comparison, comparable, surest
from pipelines.shape_world.score.matching import Counts

LEAST_SHARE = 0.5
"""A line belongs to a sign when at least this share of its box lies on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingScore:
    """Each sign is read by the surest line on it.

    `cer` is the character error rate, 0 at best: edits over true characters of all signs; a sign
    that no line lies on counts as deleted. `word_accuracy` is the share of signs read without
    fault, `precision` the share of all lines that are some sign's word where it stands.
    """

    said: int
    true: int
    cer: float | None
    word_accuracy: float | None
    precision: float | None
    f1: float | None


@dataclass(kw_only=True, slots=True)
class ReadingTally:
    """Counts sample after sample."""

    _words: list[str] = field(default_factory=list)
    _readings: list[str] = field(default_factory=list)
    _counts: Counts = field(default_factory=Counts)

    def add(self, comparison: Comparison) -> None:
        """Count the lines of a sample."""
        lines = surest(comparison.of("ocr"))
        sign = sign_of(comparison, lines).tolist()
        words, texts = comparison.words, [comparable(line.text) for line in lines]
        read: dict[int, str] = {}
        for text, place in zip(texts, sign, strict=True):
            read.setdefault(place, text)
        signs = [place for place, word in enumerate(words) if word]
        self._words += [words[place] for place in signs]
        self._readings += [read.get(place, "") for place in signs]
        self._counts += Counts(
            right=sum(
                place >= 0 and text == words[place] for text, place in zip(texts, sign, strict=True)
            ),
            said=len(lines),
            true=len(signs),
            found=sum(read.get(place) == words[place] for place in signs),
        )

    def score(self) -> ReadingScore:
        """Return what was counted."""
        return ReadingScore(
            said=self._counts.said,
            true=self._counts.true,
            cer=character_error_rate(self._words, self._readings),
            word_accuracy=self._counts.recall,
            precision=self._counts.precision,
            f1=self._counts.f1,
        )


def sign_of(comparison: Comparison, lines: Sequence[Annotation]) -> np.ndarray:
    """Return on which sign each line lies, a place in the things, -1 for none, (lines,)."""
    is_sign = np.array([bool(word) for word in comparison.words], dtype=bool)
    if not is_sign.any():
        return np.full(len(lines), -1)
    share = comparison.share_on(lines) * is_sign
    return np.where(share.max(axis=1) >= LEAST_SHARE, share.argmax(axis=1), -1)


def character_error_rate(words: Sequence[str], readings: Sequence[str]) -> float | None:
    """Return edits over true characters, 0 at best, above 1 at worst; `None` without words."""
    if not words:
        return None
    import jiwer

    return jiwer.process_characters(list(words), list(readings)).cer
