"""Parts of an image made unrecognisable: a few cells of one colour each, in whole numbers.

A blur of a Gaussian or of small cells can be undone for text (its letters are tried one by one); of
nine colours nothing can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

CELLS = 3
"""Cells of a box along each side, at most."""
MARGIN = 0.1
"""Share of a box's sides by which it is extended: detectors cut off ears and last letters."""


def blurred(pixels: np.ndarray, boxes_xyxy: Sequence[Sequence[float]]) -> np.ndarray:
    """Return RGB pixels, uint8, (height, width, 3), with boxes replaced by cells of their means.

    Boxes are in pixels of the upright image, and may leave it. The same input gives the same bytes
    on every machine.
    """
    made = pixels.copy()
    height, width = pixels.shape[:2]
    for x1, y1, x2, y2 in boxes_xyxy:
        across, down = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
        columns = _edges(x1 - across, x2 + across, width)
        rows = _edges(y1 - down, y2 + down, height)
        for top, bottom in pairwise(rows):
            for left, right in pairwise(columns):
                cell = pixels[top:bottom, left:right].reshape(-1, 3)
                made[top:bottom, left:right] = cell.sum(axis=0, dtype=np.int64) // len(cell)
    return made


def _edges(start: float, end: float, limit: int) -> list[int]:
    """Return the whole numbers at which a side is cut into cells; none where it has no pixel."""
    first = max(0, int(np.floor(start)))
    last = min(limit, int(np.ceil(end)))
    if last <= first:
        return []
    return sorted({first + (last - first) * cell // CELLS for cell in range(CELLS + 1)})
