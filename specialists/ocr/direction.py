"""Which way lines of text run: told by reading each in the ways that its quad allows.

A detector gives the corners of a line and cannot tell at which of them the text begins. A
recogniser can, for it is sure of a line only the right way up. Knows no model: what reads is
given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import regex

from specialists.ocr.text_lines import sizes_of

_SURE = 0.98
"""A line that is read with this score is not read the other ways; few are so sure upside down."""
_LEAST_ERROR = 0.02
"""What a perfect score is taken for, so that 0.9999 is no better than 0.999."""
_TIMES_BETTER = 1.75
"""Of two ways to read a line one is decidedly better when the other errs this many times more."""
_LEAST_VOTE = 0.9
"""Lines with this score tell those in doubt which way the text of their image runs."""
_TALL = 1.5
"""A quad this many times as tall as wide, or as wide as tall, holds text along its long side."""
_LETTER_ASPECT = 3
"""A taller quad holds no single letter, such as an upright "1"."""
_LEAST_STACKED = 0.1
"""Letters laid side by side that lose no more of the score than this are stacked."""
_STACKABLE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")

RIGHT, DOWN, LEFT, UP = range(4)
"""Which way text runs: also the number of the quad's corner, clockwise from the top left, at
which it begins."""


class Reading(NamedTuple):
    """What a line reads, and how sure its recogniser is, 0..1."""

    text: str
    score: float


class View(NamedTuple):
    """A line to be read: `quad`, (4, 2), from the corner where text is taken to begin.

    `image` is the number of its image; `letters` more than one are stacked, to be laid side by
    side before they are read.
    """

    image: int
    quad: np.ndarray
    letters: int = 1


class Line(NamedTuple):
    """A line as it was read: its quad, (4, 2), clockwise from the top left of the text."""

    quad: np.ndarray
    reading: Reading


Ask = Callable[[list[View]], Iterable[Reading]]
"""Reads views, in their order."""


def read_lines(quads: Sequence[np.ndarray], ask: Ask) -> list[list[Line]]:
    """Read the lines of images and turn each quad to where its text begins.

    Text along the long side of a quad is read both ways, in a quad that is about square all four,
    unless the first reading is sure: text runs to the right or down before it runs to the left
    or up. What reads as well the other way round, such as "SOS", follows the other lines of its
    image, where these are turned. Letters that stand on each other begin at the top left.

    Args:
        quads: those of each image, (n, 4, 2), clockwise from the corner at the top left.
    """
    lines = [
        _Line(image=image, quad=quad, turns=_turns(*size_wh))
        for image, own in enumerate(quads)
        for quad, size_wh in zip(own, sizes_of(own).tolist(), strict=True)
    ]
    _read(((one, one.turns[0]) for one in lines), ask)
    _read(((one, turn) for one in lines if not one.is_sure for turn in one.turns), ask)
    turned = {one.image for one in lines if one.is_turned}
    _read(((one, turn) for one in lines if one.image in turned for turn in one.turns), ask)
    for image in turned:
        _agree([one for one in lines if one.image == image])
    _unstack([one for one in lines if one.may_be_stacked], ask)
    found: list[list[Line]] = [[] for _ in quads]
    for one in lines:
        found[one.image].append(Line(one.turned(one.turn), one.reading))
    return found


def side_by_side(pixels: np.ndarray, letters: int) -> np.ndarray:
    """Lay stacked letters of one height, (height, width, 3), side by side."""
    high = max(1, len(pixels) // letters)
    tops = np.linspace(0, len(pixels) - high, letters).round().astype(int)
    return np.concatenate([pixels[top : top + high] for top in tops], axis=1)


def _turns(wide: float, high: float) -> tuple[int, ...]:
    """Return where the text of a quad of this size may begin, the likeliest corner first."""
    if high >= _TALL * wide:
        return (DOWN, UP, RIGHT) if high < _LETTER_ASPECT * wide else (DOWN, UP)
    return (RIGHT, LEFT) if wide >= _TALL * high else (RIGHT, LEFT, DOWN, UP)


@dataclass(eq=False)
class _Line:
    """A line, the corners where it may begin, and what was read from each."""

    image: int
    quad: np.ndarray
    turns: tuple[int, ...]
    readings: dict[int, Reading] = field(default_factory=dict)
    favoured: int | None = None
    is_stacked: bool = False

    def turned(self, turn: int) -> np.ndarray:
        return np.roll(self.quad, -turn, axis=0)

    @property
    def is_sure(self) -> bool:
        """Whether the first reading stands.

        A line that has fewer letters than would fit in as squares may have some that were not
        read, and the one letter of a square may be a part of a word that was read across.
        """
        first = self.readings[self.turns[0]]
        wide, high = sizes_of(self.quad[None])[0]
        squares = max(wide / max(high, 1), high / max(wide, 1))
        is_whole = _letters(first.text) >= (squares if len(self.turns) < 4 else 2)
        return first.score >= _SURE and is_whole

    @property
    def good(self) -> list[int]:
        """The corners from which nothing was read that is decidedly worse than the best."""
        error = {turn: _error(reading) for turn, reading in self.readings.items()}
        worst = _TIMES_BETTER * min(error.values())
        return [turn for turn in self.turns if error.get(turn, np.inf) < worst]

    @property
    def is_decided(self) -> bool:
        """Whether it tells other lines which way text runs."""
        (best, *others) = self.good
        is_read = len(self.readings) == len(self.turns)
        return is_read and not others and self.readings[best].score >= _LEAST_VOTE

    @property
    def is_turned(self) -> bool:
        return self.is_decided and self.turn != self.turns[0]

    @property
    def turn(self) -> int:
        """The corner where the text begins."""
        if self.is_stacked:
            return RIGHT
        return next((turn for turn in self.good if self.runs(turn) == self.favoured), self.good[0])

    @property
    def reading(self) -> Reading:
        return self.readings[self.turn]

    @property
    def may_be_stacked(self) -> bool:
        text = self.reading.text
        is_long = self.turns[0] == self.turn == DOWN and len(text) > 1
        return is_long and 2 * len(_STACKABLE.findall(text)) > len(text)

    def runs(self, turn: int) -> int:
        """Return which way text runs in the image, to the nearest quarter turn."""
        along = self.turned(turn)[1] - self.turned(turn)[0]
        return round(np.arctan2(along[1], along[0]) / (np.pi / 2)) % 4


def _error(reading: Reading) -> float:
    """Return how doubtful a reading is: more letters as sure as few are less so."""
    return (1 + _LEAST_ERROR - reading.score) / max(1, _letters(reading.text))


def _letters(text: str) -> int:
    return sum(letter.isalnum() for letter in text)


def _read(wanted: Iterable[tuple[_Line, int]], ask: Ask) -> None:
    """Read lines from corners, those that were not read yet."""
    new = [(line, turn) for line, turn in wanted if turn not in line.readings]
    views = [View(line.image, line.turned(turn)) for line, turn in new]
    for (line, turn), reading in zip(new, ask(views) if views else (), strict=True):
        line.readings[turn] = reading


def _agree(lines: Sequence[_Line]) -> None:
    """Let the lines of an image that are in doubt follow most of those that are not."""
    votes = Counter(one.runs(one.turn) for one in lines if one.is_decided).most_common(2)
    if len(votes) == 1 or votes[0][1] > votes[1][1]:
        for one in lines:
            one.favoured = votes[0][0]


def _unstack(lines: Sequence[_Line], ask: Ask) -> None:
    """Find out which lines that seem to run down are upright letters, one below the other.

    Recognisers read stacked letters lying on their left side as well as letters that run down.
    """
    views = [View(one.image, one.quad, letters=len(one.reading.text)) for one in lines]
    for one, beside in zip(lines, ask(views) if views else (), strict=True):
        lying = one.reading
        if beside.text and beside.score >= lying.score - _LEAST_STACKED:
            one.is_stacked = True
            one.readings[RIGHT] = max(lying, beside, key=lambda reading: reading.score)
