"""Placing the labels of regions on a canvas without overlap.

A label without free space (`is_crowded`) is shown only while the pointer is on its region.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from unicodedata import east_asian_width

from florilegium.pipelines.report.drawing import Canvas

HEIGHT = 17
_PADDING = 5
_MAX_LETTERS = 28


class Rectangle(NamedTuple):
    """A rectangle on the canvas."""

    left: int
    top: int
    right: int
    bottom: int

    def overlaps(self, other: Rectangle) -> bool:
        """Return whether two rectangles share more than an edge."""
        is_beside = self.left >= other.right or other.left >= self.right
        return not is_beside and self.top < other.bottom and other.top < self.bottom


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A label on the canvas; `is_crowded` if it would cover something."""

    text: str
    x: int
    y: int
    width: int
    is_crowded: bool = False

    @property
    def rectangle(self) -> Rectangle:
        """The area that it covers."""
        return Rectangle(self.x, self.y, self.x + self.width, self.y + HEIGHT)


def place_chip(text: str, region: Rectangle, canvas: Canvas, taken: Sequence[Rectangle]) -> Chip:
    """Place a label at a region, clear of the rectangles that are taken."""
    text = text if len(text) <= _MAX_LETTERS else text[: _MAX_LETTERS - 1].rstrip() + "…"
    width = round(sum(map(_letter_width, text))) + 2 * _PADDING
    chips = [Chip(text=text, x=x, y=y, width=width) for x, y in _corners(region, width, canvas)]
    for chip in chips:
        if not any(chip.rectangle.overlaps(other) for other in taken):
            return chip
    return Chip(text=text, x=chips[0].x, y=chips[0].y, width=width, is_crowded=True)


def _letter_width(letter: str) -> float:
    """Estimate the width of a letter in a sans-serif of 11 units; the reader's font is unknown."""
    if letter in "fijlrtI1.,:;'!|()[] ":
        return 3.8
    if east_asian_width(letter) in "WF":
        return 11.5
    if letter in "mwMW@%":
        return 9.6
    return 7.6 if letter.isupper() else 6.4


def _corners(region: Rectangle, width: int, canvas: Canvas) -> Iterator[tuple[int, int]]:
    """Yield the possible positions of a label at a region, best first; at least one."""
    rightmost = max(0, canvas.width - width)
    lowest = max(0, canvas.height - HEIGHT)
    for x in (region.left, region.right - width):
        for y in (region.top - HEIGHT, region.top, region.bottom, region.bottom - HEIGHT):
            if 0 <= y <= lowest:
                yield min(max(x, 0), rightmost), y
    yield min(region.left, rightmost), min(region.top, lowest)
