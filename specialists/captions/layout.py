"""Describing the position and size of boxes in English.

Boxes are relative to the image: left, top, right, bottom in 0..1. The thresholds were chosen by
hand.
"""

from __future__ import annotations

from collections.abc import Sequence

_LARGE, _SMALL = 0.3, 0.04
"""Shares of the image from which a box is large, and up to which it is small."""
_FILLING = 0.85
"""Share of both sides of the image from which a box fills it."""
_COLUMNS, _ROWS = ("left", "", "right"), ("top", "", "bottom")
_SHARES = (
    (0.85, "nearly all"),
    (0.7, "about three quarters"),
    (0.58, "about two thirds"),
    (0.42, "about half"),
    (0.29, "about a third"),
    (0.22, "about a quarter"),
    (0.15, "about a fifth"),
    (0.07, "about a tenth"),
)


def share_of(box_xyxy: Sequence[float]) -> float:
    """Return the share of the image that a box covers, 0..1."""
    left, top, right, bottom = box_xyxy
    return (right - left) * (bottom - top)


def share_text(share: float) -> str:
    """Return a phrase such as "about a third"; "" for small shares."""
    return next((words for least, words in _SHARES if share >= least), "")


def size_of(box_xyxy: Sequence[float]) -> str:
    """Return "large", "small" or "", by the share of the image."""
    share = share_of(box_xyxy)
    return "large" if share >= _LARGE else "small" if share <= _SMALL else ""


def is_filling(box_xyxy: Sequence[float]) -> bool:
    """Return whether a box covers most of the image on both axes."""
    left, top, right, bottom = box_xyxy
    return min(right - left, bottom - top) >= _FILLING


def cell_of(box_xyxy: Sequence[float]) -> tuple[int, int]:
    """Return row and column of a box's centre, 0..2, on a grid of three by three."""
    left, top, right, bottom = box_xyxy
    return min(2, int((top + bottom) / 2 * 3)), min(2, int((left + right) / 2 * 3))


def position_text(box_xyxy: Sequence[float]) -> str:
    """Describe the position of a box's centre on a grid of three by three."""
    row, column = cell_of(box_xyxy)
    words = " ".join(word for word in (_ROWS[row], _COLUMNS[column]) if word)
    return f"{'at' if _ROWS[row] else 'on'} the {words}" if words else "in the centre"


def side_of(box_xyxy: Sequence[float], other_xyxy: Sequence[float]) -> str:
    """Return "to the left of", "above" and so on if a box lies wholly on that side of another."""
    left, top, right, bottom = box_xyxy
    other_left, other_top, other_right, other_bottom = other_xyxy
    if right <= other_left:
        return "to the left of"
    if left >= other_right:
        return "to the right of"
    if bottom <= other_top:
        return "above"
    return "below" if top >= other_bottom else ""
