"""Scores of `ocr` on the words of signs, the only text in a scene; case is ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.pipelines.shape_world.score.comparison import (
    SceneComparison,
    by_confidence,
    normalised_text,
)
from florilegium.pipelines.shape_world.score.matching import MatchCounts

MIN_SHARE = 0.5
"""Minimum share of a line's box that lies on the sign that it belongs to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingScore:
    """The reading of a sign is the highest ranked line on it. `predicted` lines, `true` signs.

    `cer` is the character error rate, 0 at best: edits over true characters of all signs; a sign
    without a line counts as deleted. `word_accuracy` is the share of signs that are read exactly,
    `precision` the share of all lines that are the word of the sign that they lie on.
    """

    predicted: int
    true: int
    cer: float | None
    word_accuracy: float | None
    precision: float | None
    f1: float | None


@dataclass(kw_only=True, slots=True)
class ReadingTally:
    """MatchCounts over samples."""

    _words: list[str] = field(default_factory=list)
    _readings: list[str] = field(default_factory=list)
    _counts: MatchCounts = field(default_factory=MatchCounts)

    def add(self, comparison: SceneComparison) -> None:
        """Count the lines of a sample."""
        lines = by_confidence(comparison.of("ocr"))
        sign = sign_of(comparison, lines).tolist()
        words, texts = comparison.words, [normalised_text(line.text) for line in lines]
        read: dict[int, str] = {}
        for text, index in zip(texts, sign, strict=True):
            read.setdefault(index, text)
        signs = [index for index, word in enumerate(words) if word]
        self._words += [words[index] for index in signs]
        self._readings += [read.get(index, "") for index in signs]
        self._counts += MatchCounts(
            right=sum(
                index >= 0 and text == words[index] for text, index in zip(texts, sign, strict=True)
            ),
            predicted=len(lines),
            true=len(signs),
            found=sum(read.get(index) == words[index] for index in signs),
        )

    def score(self) -> ReadingScore:
        """Return the score of all samples."""
        return ReadingScore(
            predicted=self._counts.predicted,
            true=self._counts.true,
            cer=character_error_rate(self._words, self._readings),
            word_accuracy=self._counts.recall,
            precision=self._counts.precision,
            f1=self._counts.f1,
        )


def sign_of(comparison: SceneComparison, lines: Sequence[Annotation]) -> np.ndarray:
    """Return the sign that each line lies on, an index into the things, -1 for none, (lines,)."""
    is_sign = np.array([bool(word) for word in comparison.words], dtype=bool)
    if not is_sign.any():
        return np.full(len(lines), -1)
    share = comparison.share_on(lines) * is_sign
    return np.where(share.max(axis=1) >= MIN_SHARE, share.argmax(axis=1), -1)


def character_error_rate(words: Sequence[str], readings: Sequence[str]) -> float | None:
    """Return edits over true characters, 0 at best, possibly above 1; `None` without words."""
    if not words:
        return None
    import jiwer

    return jiwer.process_characters(list(words), list(readings)).cer
