"""Positions of objects as stated in captions, and the boxes at these positions.

Parses English such as "at the top left", "in the upper right corner" and "on the left" of the
picture. Positions relative to objects ("to the left of a dog", "the left hand") are unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import regex

from florilegium.specialists.captions.layout import cell_of
from florilegium.specialists.words.occurrences import Span

_ROWS = {"top": 0, "upper": 0, "bottom": 2, "lower": 2}
_COLUMNS = {"left": 0, "right": 2}
_MIDDLE = ("middle", "center", "centre", "central")
_AXES = "|".join((*_ROWS, *_COLUMNS, *_MIDDLE))
_PICTURE = "picture|image|photo|photograph|frame|scene|view"
_POSITION = regex.compile(
    r"\b(?:at|in|on|near|along|towards?|to)\s+the\s+(?:(?:far|very)\s+)?"
    rf"(?P<axes>(?:{_AXES})(?P<more>[\s-]+(?:{_AXES}))*+)"
    r"(?:[\s-]+(?:hand|side|corner|part|edge|half|third|area|section|portion))*+"
    rf"(?:\s+of\s+(?:the|this|an?)\s+(?:{_PICTURE})\b)?+"
    r"(?!\s+of\b)(?(more)|(?=\s*(?:$|[^\w\s]|"
    r"(?:and|or|but|with|while|where|is|are|there|the|an?)\b)))",
    regex.IGNORECASE,
)
"""A single axis, such as "left", may also modify a noun: "the left hand"."""
_HINT = regex.compile(rf"\b(?:the|to|on)\s+(?:{_AXES})(?:most)?\b", regex.IGNORECASE)
_SENTENCE_END = regex.compile(r"[.!?;](?=\s)")


class GridPosition(NamedTuple):
    """Row and column of a 3 x 3 grid over the image, 0..2; `None` if the caption gives none."""

    row: int | None
    column: int | None

    def fits(self, box_xyxy: Sequence[float], *, slack: int = 0) -> bool:
        """Return whether the centre of a box, 0..1, lies there, or at most `slack` cells away."""
        cell = zip(self, cell_of(box_xyxy), strict=True)
        return all(axis is None or abs(axis - own) <= slack for axis, own in cell)

    def chosen(self, boxes_xyxy: Sequence[Sequence[float]]) -> int | None:
        """Return the index of the only box, 0..1, that lies there, `None` if ambiguous.

        "On the left" is first the middle cell on the left, else any cell there, else a near one.
        """
        middle = GridPosition(*(1 if axis is None else axis for axis in self))
        tiers = ((self, 0),) if self == UNKNOWN_POSITION else ((middle, 0), (self, 0), (self, 1))
        for position, slack in tiers:
            inside = [row for row, box in enumerate(boxes_xyxy) if position.fits(box, slack=slack)]
            if inside:
                return inside[0] if len(inside) == 1 else None
        return None


UNKNOWN_POSITION = GridPosition(None, None)
"""A position is stated, but not relative to the image."""


def stated_positions(text: str, spans: Sequence[Span]) -> list[GridPosition | None]:
    """Return the position that a caption states for each of its spans, which are in order.

    A position belongs to the span before it. If none follows the last span of a sentence, positions
    belong to the span after them: "at the top is ..., at the bottom ...".
    """
    stated: list[GridPosition | None] = [None] * len(spans)
    for start, stop in _sentences(text, spans):
        rows = [row for row, span in enumerate(spans) if start <= span[0] < stop]
        if rows:
            edges = [start, *(edge for row in rows for edge in spans[row]), stop]
            gaps = [_position(text[edges[at] : edges[at + 1]]) for at in range(0, len(edges), 2)]
            for row, position in zip(rows, gaps[1:] if gaps[-1] else gaps, strict=False):
                stated[row] = position
    return stated


def assign_boxes(
    positions: Sequence[GridPosition | None], boxes_xyxy: Sequence[Sequence[float]]
) -> list[int | None]:
    """Return the index of the box, 0..1, of each of several mentions of one name, or `None`.

    Without positions, boxes are assigned in order if there are as many as mentions. With positions,
    each mention gets the box at its position, unless another mention has the same; a single
    remaining mention and a single remaining box are paired.
    """
    if not any(positions):
        is_even = len(positions) == len(boxes_xyxy)
        return [number if is_even else None for number in range(len(positions))]
    chosen = [position.chosen(boxes_xyxy) if position else None for position in positions]
    claims = Counter(chosen)
    found = [number if claims[number] == 1 else None for number in chosen]
    without = [row for row, position in enumerate(positions) if not position]
    free = [number for number in range(len(boxes_xyxy)) if number not in chosen]
    if len(without) == len(free) == 1:
        found[without[0]] = free[0]
    return found


def _sentences(text: str, spans: Sequence[Span]) -> list[Span]:
    """Return the sentences of a text; punctuation inside a span, such as a quotation, ends none."""
    ends = [
        match.end()
        for match in _SENTENCE_END.finditer(text)
        if not any(start <= match.start() < stop for start, stop in spans)
    ]
    return list(pairwise([0, *ends, len(text) + 1]))


def _position(words: str) -> GridPosition | None:
    """Return the position that words state, or `None`."""
    found = {_read(match["axes"]) for match in _POSITION.finditer(words)}
    if len(found) == 1:
        return found.pop()
    return UNKNOWN_POSITION if found or _HINT.search(words) else None


def _read(axes: str) -> GridPosition:
    words = regex.split(r"[\s-]+", axes.lower())
    row = next((_ROWS[word] for word in words if word in _ROWS), None)
    column = next((_COLUMNS[word] for word in words if word in _COLUMNS), None)
    if any(word in _MIDDLE for word in words):
        row, column = 1 if row is None else row, 1 if column is None else column
    return GridPosition(row, column)
