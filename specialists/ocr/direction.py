"""Finding the direction of text lines, by reading each line in several orientations.

A detector gives the corners of a line but not the one at which the text starts. A recogniser has
high scores only for the right orientation. Independent of the model: the recogniser is passed in.
The thresholds were chosen by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import regex

from florilegium.specialists.ocr.text_lines import sizes_of

_SURE = 0.98
"""A line with this score is not read in other orientations; few have it upside down."""
_MIN_ERROR = 0.02
"""Added to 1 - score, so that 0.9999 is hardly better than 0.999."""
_TIMES_BETTER = 1.75
"""An orientation is clearly better if the error of the other is this many times higher."""
_MIN_VOTE = 0.9
"""Minimum score of lines that vote on the direction of ambiguous lines in their image."""
_TALL = 1.5
"""Aspect ratio of quads from which text is assumed to run along the long side."""
_LETTER_ASPECT = 3
"""Aspect ratio of quads up to which they may contain a single letter, such as an upright "1"."""
_MIN_STACKED = 0.1
"""Maximum loss of score, when letters are laid side by side, for letters to count as stacked."""
_STACKABLE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")

RIGHT, DOWN, LEFT, UP = range(4)
"""The direction of text; also the index of the quad's corner, clockwise from the top left, at
which the text starts."""


class Reading(NamedTuple):
    """The text of a line and the recogniser's score, 0..1."""

    text: str
    score: float


class View(NamedTuple):
    """A line to read: `quad`, (4, 2), from the corner where the text is assumed to start.

    `image` is the index of its image. More than one `letters` are stacked: they are laid side by
    side before reading.
    """

    image: int
    quad: np.ndarray
    letters: int = 1


class Line(NamedTuple):
    """A line that was read; its quad, (4, 2), is clockwise from the top left of the text."""

    quad: np.ndarray
    reading: Reading


Recognise = Callable[[list[View]], Iterable[Reading]]
"""Reads views, in their order."""


def read_lines(quads: Sequence[np.ndarray], recognise: Recognise) -> list[list[Line]]:
    """Read the lines of images, and rotate each quad so that it starts at the start of its text.

    A quad is read in both directions along its long side, an almost square one in all four; right
    and down come first, and a high score there ends the search. Text that reads as well in another
    direction, such as "SOS", follows the other lines of its image if these are turned. Stacked
    letters start at the top left.

    Args:
        quads: for each image (n, 4, 2), clockwise from the corner at the top left.
    """
    lines = [
        _Line(image=image, quad=quad, turns=_turns(*size_wh))
        for image, own in enumerate(quads)
        for quad, size_wh in zip(own, sizes_of(own).tolist(), strict=True)
    ]
    _read(((one, one.turns[0]) for one in lines), recognise)
    _read(((one, turn) for one in lines if not one.is_sure for turn in one.turns), recognise)
    turned = {one.image for one in lines if one.is_turned}
    _read(((one, turn) for one in lines if one.image in turned for turn in one.turns), recognise)
    for image in turned:
        _agree([one for one in lines if one.image == image])
    _unstack([one for one in lines if one.may_be_stacked], recognise)
    found: list[list[Line]] = [[] for _ in quads]
    for one in lines:
        found[one.image].append(Line(one.turned(one.turn), one.reading))
    return found


def side_by_side(pixels: np.ndarray, letters: int) -> np.ndarray:
    """Lay stacked letters of equal height, (height, width, 3), side by side."""
    high = max(1, len(pixels) // letters)
    tops = np.linspace(0, len(pixels) - high, letters).round().astype(int)
    return np.concatenate([pixels[top : top + high] for top in tops], axis=1)


def _turns(wide: float, high: float) -> tuple[int, ...]:
    """Return the corners where the text of a quad of this size may start, most likely first."""
    if high >= _TALL * wide:
        return (DOWN, UP, RIGHT) if high < _LETTER_ASPECT * wide else (DOWN, UP)
    return (RIGHT, LEFT) if wide >= _TALL * high else (RIGHT, LEFT, DOWN, UP)


@dataclass(eq=False)
class _Line:
    """A line, the corners where it may start, and the reading from each."""

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
        """Whether the first reading is accepted.

        A line with fewer letters than squares that fit into it may have unread letters, and the
        single letter of a square may be a part of a word that was read in the wrong direction.
        """
        first = self.readings[self.turns[0]]
        wide, high = sizes_of(self.quad[None])[0]
        squares = max(wide / max(high, 1), high / max(wide, 1))
        is_whole = _letters(first.text) >= (squares if len(self.turns) < 4 else 2)
        return first.score >= _SURE and is_whole

    @property
    def good(self) -> list[int]:
        """The corners whose readings are not clearly worse than the best."""
        error = {turn: _error(reading) for turn, reading in self.readings.items()}
        worst = _TIMES_BETTER * min(error.values())
        return [turn for turn in self.turns if error.get(turn, np.inf) < worst]

    @property
    def is_decided(self) -> bool:
        """Whether it votes on the direction of other lines."""
        (best, *others) = self.good
        is_read = len(self.readings) == len(self.turns)
        return is_read and not others and self.readings[best].score >= _MIN_VOTE

    @property
    def is_turned(self) -> bool:
        return self.is_decided and self.turn != self.turns[0]

    @property
    def turn(self) -> int:
        """The corner where the text starts."""
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
        """Return the direction of text in the image, to the nearest quarter turn."""
        along = self.turned(turn)[1] - self.turned(turn)[0]
        return round(np.arctan2(along[1], along[0]) / (np.pi / 2)) % 4


def _error(reading: Reading) -> float:
    """Return the error of a reading; at equal scores, more letters have a lower error."""
    return (1 + _MIN_ERROR - reading.score) / max(1, _letters(reading.text))


def _letters(text: str) -> int:
    return sum(letter.isalnum() for letter in text)


def _read(wanted: Iterable[tuple[_Line, int]], recognise: Recognise) -> None:
    """Read lines from corners, unless they were read already."""
    new = [(line, turn) for line, turn in wanted if turn not in line.readings]
    views = [View(line.image, line.turned(turn)) for line, turn in new]
    for (line, turn), reading in zip(new, recognise(views) if views else (), strict=True):
        line.readings[turn] = reading


def _agree(lines: Sequence[_Line]) -> None:
    """Let the ambiguous lines of an image follow the majority of the others."""
    votes = Counter(one.runs(one.turn) for one in lines if one.is_decided).most_common(2)
    if len(votes) == 1 or votes[0][1] > votes[1][1]:
        for one in lines:
            one.favoured = votes[0][0]


def _unstack(lines: Sequence[_Line], recognise: Recognise) -> None:
    """Detect lines of stacked, upright letters among those that seem to run down.

    Recognisers read stacked letters on their side as well as rotated text that runs down.
    """
    views = [View(one.image, one.quad, letters=len(one.reading.text)) for one in lines]
    for one, beside in zip(lines, recognise(views) if views else (), strict=True):
        lying = one.reading
        if beside.text and beside.score >= lying.score - _MIN_STACKED:
            one.is_stacked = True
            one.readings[RIGHT] = max(lying, beside, key=lambda reading: reading.score)
