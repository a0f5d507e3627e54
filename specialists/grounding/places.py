"""Which of several boxes a caption means: by where it says that a thing is.

Reads English such as "at the top left", "in the upper right corner" and "on the left" of the
picture. Where "to the left of a dog" or "the left hand" is, it cannot tell. Knows no names of
things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import regex

from specialists.captions.layout import cell_of
from specialists.words.occurrences import Span

_ROWS = {"top": 0, "upper": 0, "bottom": 2, "lower": 2}
_COLUMNS = {"left": 0, "right": 2}
_MIDDLE = ("middle", "center", "centre", "central")
_AXES = "|".join((*_ROWS, *_COLUMNS, *_MIDDLE))
_PICTURE = "picture|image|photo|photograph|frame|scene|view"
_PLACE = regex.compile(
    r"\b(?:at|in|on|near|along|towards?|to)\s+the\s+(?:(?:far|very)\s+)?"
    rf"(?P<axes>(?:{_AXES})(?P<more>[\s-]+(?:{_AXES}))*+)"
    r"(?:[\s-]+(?:hand|side|corner|part|edge|half|third|area|section|portion))*+"
    rf"(?:\s+of\s+(?:the|this|an?)\s+(?:{_PICTURE})\b)?+"
    r"(?!\s+of\b)(?(more)|(?=\s*(?:$|[^\w\s]|"
    r"(?:and|or|but|with|while|where|is|are|there|the|an?)\b)))",
    regex.IGNORECASE,
)
"""One axis, such as "left", may also stand before a noun that is no place: "the left hand"."""
_HINT = regex.compile(rf"\b(?:the|to|on)\s+(?:{_AXES})(?:most)?\b", regex.IGNORECASE)
_SENTENCE_END = regex.compile(r"[.!?;](?=\s)")


class Place(NamedTuple):
    """Row and column of a picture that a caption names, 0..2; `None` where it names none."""

    row: int | None
    column: int | None

    def fits(self, box_xyxy: Sequence[float], *, slack: int = 0) -> bool:
        """Tell whether the middle of a box, 0..1, lies there, or so many cells beside it."""
        cell = zip(self, cell_of(box_xyxy), strict=True)
        return all(axis is None or abs(axis - own) <= slack for axis, own in cell)

    def chosen(self, boxes_xyxy: Sequence[Sequence[float]]) -> int | None:
        """Return the only box, 0..1, that lies there, as exactly as tells one from the others.

        "On the left" is best in the middle of the left, else anywhere there, else near it.
        """
        middle = Place(*(1 if axis is None else axis for axis in self))
        tiers = ((self, 0),) if self == UNCLEAR else ((middle, 0), (self, 0), (self, 1))
        for place, slack in tiers:
            inside = [row for row, box in enumerate(boxes_xyxy) if place.fits(box, slack=slack)]
            if inside:
                return inside[0] if len(inside) == 1 else None
        return None


UNCLEAR = Place(None, None)
"""Something is said about the place, but not where it is in the picture."""


def told_places(text: str, spans: Sequence[Span]) -> list[Place | None]:
    """Return the place that a caption tells of each of its spans, which are in order.

    A place belongs to the span before it. Where the last span of a sentence has none behind it, a
    place belongs to the span after it: "at the top is ..., at the bottom ...".
    """
    told: list[Place | None] = [None] * len(spans)
    for start, stop in _sentences(text, spans):
        rows = [row for row, span in enumerate(spans) if start <= span[0] < stop]
        if rows:
            edges = [start, *(edge for row in rows for edge in spans[row]), stop]
            gaps = [_place(text[edges[at] : edges[at + 1]]) for at in range(0, len(edges), 2)]
            for row, place in zip(rows, gaps[1:] if gaps[-1] else gaps, strict=False):
                told[row] = place
    return told


def assigned(
    places: Sequence[Place | None], boxes_xyxy: Sequence[Sequence[float]]
) -> list[int | None]:
    """Return the number of the box, 0..1, that each of several like mentions means, if any can.

    Without places as many mentions as boxes have them in their order. With places each gets the
    box that lies there, unless another claims it; what is left over in the end on both sides, one
    mention and one box, belongs together.
    """
    if not any(places):
        is_even = len(places) == len(boxes_xyxy)
        return [number if is_even else None for number in range(len(places))]
    chosen = [place.chosen(boxes_xyxy) if place else None for place in places]
    claims = Counter(chosen)
    found = [number if claims[number] == 1 else None for number in chosen]
    silent = [row for row, place in enumerate(places) if not place]
    free = [number for number in range(len(boxes_xyxy)) if number not in chosen]
    if len(silent) == len(free) == 1:
        found[silent[0]] = free[0]
    return found


def _sentences(text: str, spans: Sequence[Span]) -> list[Span]:
    """Return the sentences of a text; what ends within a span, such as a quotation, ends none."""
    ends = [
        match.end()
        for match in _SENTENCE_END.finditer(text)
        if not any(start <= match.start() < stop for start, stop in spans)
    ]
    return list(pairwise([0, *ends, len(text) + 1]))


def _place(words: str) -> Place | None:
    """Return the place that words tell, nothing where they tell none."""
    found = {_read(match["axes"]) for match in _PLACE.finditer(words)}
    if len(found) == 1:
        return found.pop()
    return UNCLEAR if found or _HINT.search(words) else None


def _read(axes: str) -> Place:
    words = regex.split(r"[\s-]+", axes.lower())
    row = next((_ROWS[word] for word in words if word in _ROWS), None)
    column = next((_COLUMNS[word] for word in words if word in _COLUMNS), None)
    if any(word in _MIDDLE for word in words):
        row, column = 1 if row is None else row, 1 if column is None else column
    return Place(row, column)
