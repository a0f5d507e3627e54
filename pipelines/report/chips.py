"""Where the names of regions are written on a canvas, so that they do not cover each other.

A name that finds no free place is written only while its region is pointed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from pipelines.report.drawing import Canvas

HEIGHT = 17
_PADDING = 5
_LETTER = 6.3
_WIDE_LETTER = 11.5
_MOST_LETTERS = 28


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A name on the canvas; `is_crowded` when it would cover another."""

    text: str
    x: int
    y: int
    width: int
    is_crowded: bool = False

    def overlaps(self, other: Chip) -> bool:
        """Return whether two chips cover each other."""
        beside = self.x >= other.x + other.width or other.x >= self.x + self.width
        return not beside and abs(self.y - other.y) < HEIGHT


def place_chip(
    text: str, box: tuple[int, int, int, int], canvas: Canvas, placed: Sequence[Chip]
) -> Chip:
    """Write a name at a box (left, top, right, bottom), clear of the chips already placed."""
    text = text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1].rstrip() + "…"
    letters = sum(_WIDE_LETTER if east_asian_width(one) in "WF" else _LETTER for one in text)
    width = round(letters) + 2 * _PADDING
    chips = [
        Chip(text=text, x=x, y=y, width=width)
        for x, y in _corners(box, width, canvas)
        if 0 <= y <= max(0, canvas.height - HEIGHT)
    ]
    free = (chip for chip in chips if not any(chip.overlaps(other) for other in placed))
    crowded = Chip(text=text, x=chips[0].x, y=chips[0].y, width=width, is_crowded=True)
    return next(free, crowded)


def _corners(
    box: tuple[int, int, int, int], width: int, canvas: Canvas
) -> Iterator[tuple[int, int]]:
    """Yield the places around a box where a name may stand, best first; one always fits."""
    left, top, right, bottom = box
    most = max(0, canvas.width - width)
    for x in (left, right - width):
        for y in (top - HEIGHT, top, bottom, bottom - HEIGHT):
            yield min(max(x, 0), most), y
    yield min(max(left, 0), most), 0
