"""Geometry of text lines: quads are cropped, rectified and sorted in reading order.

A quad is four corners (x, y), clockwise from the top left of the text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from florilegium.engine.core.annotation import Annotation
from florilegium.engine.core.sample import Picture

_RUNS_DOWN = 1.5
"""Aspect ratio, height / width, from which text is assumed to run down, as in PP-OCR."""


def as_read(quads: np.ndarray) -> np.ndarray:
    """Rotate the corners of boxes, (n, 4, 2), to start where the text most likely does.

    Tall boxes start at the top right: their text runs down and is upright after rectifying. For
    recognisers that read a line in one direction only.
    """
    size_wh = sizes_of(quads)
    runs_down = size_wh[:, 1] >= _RUNS_DOWN * size_wh[:, 0]
    return np.where(runs_down[:, None, None], np.roll(quads, -1, axis=1), quads)


def sizes_of(quads: np.ndarray) -> np.ndarray:
    """Return the larger of the two widths and heights of quads, (n, 2) in pixels."""
    edges = np.linalg.norm(quads - np.roll(quads, -1, axis=1), axis=2)
    return np.stack([edges[:, [0, 2]].max(axis=1), edges[:, [1, 3]].max(axis=1)], axis=1)


def hulls_of(quads: np.ndarray) -> np.ndarray:
    """Return the bounding boxes of quads, (n, 4), x1 y1 x2 y2."""
    return np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)


def has_area(quad: np.ndarray) -> bool:
    """Return whether the bounding box of a quad, (4, 2), has an area."""
    left, top, right, bottom = hulls_of(quad[None])[0]
    return bool(right > left and bottom > top)


def laid_flat(
    pixels: np.ndarray, quad: np.ndarray, size_wh: tuple[int, int] | None = None
) -> np.ndarray:
    """Crop a quad, (4, 2), and undo its perspective.

    The result has `size_wh`, by default that of the quad, at least one pixel per side. Parts
    outside of the image repeat the image's edge.
    """
    import cv2

    if size_wh is None:
        width, height = sizes_of(quad[None])[0]
        size_wh = max(1, round(width)), max(1, round(height))
    right, bottom = size_wh
    flat = np.array([(0, 0), (right, 0), (right, bottom), (0, bottom)], dtype=np.float32)
    # Quads have their origin at the corner of the first pixel, OpenCV at its centre.
    return cv2.warpPerspective(
        pixels,
        cv2.getPerspectiveTransform(quad.astype(np.float32) - 0.5, flat - 0.5),
        size_wh,
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )


@dataclass(frozen=True)
class LineView:
    """A line of an image: its quad, (4, 2), and the size in which it is cropped, as in
    `laid_flat`."""

    picture: Picture
    quad: np.ndarray
    size_wh: tuple[int, int] | None = None

    def pixels(self) -> np.ndarray:
        """Return RGB pixels, uint8, (height, width, 3), without perspective."""
        return laid_flat(self.picture.pixels(), self.quad, self.size_wh)


def order_by_gaps(quads: np.ndarray) -> np.ndarray:
    """Return the indices of quads, (n, 4, 2), in reading order: rows from the top, each from the
    left.

    A row ends if the next centre is lower by more than half the height of the lower line.
    """
    boxes = hulls_of(quads)
    middle = boxes[:, [1, 3]].mean(axis=1)
    down = np.argsort(middle, kind="stable")
    height = (boxes[:, 3] - boxes[:, 1])[down]
    lower = np.minimum(height[1:], height[:-1])
    row = np.zeros(len(quads), dtype=int)
    row[down[1:]] = np.cumsum(np.diff(middle[down]) > lower / 2)
    return np.lexsort((boxes[:, 0], row))


def line(text: str, quad: np.ndarray, score: float, support: float | None = None) -> Annotation:
    """Return the annotation of a line with this quad, (4, 2)."""
    return Annotation(
        kind="region",
        task="ocr",
        text=text,
        quad=tuple(quad.ravel().tolist()),
        box_xyxy=tuple(hulls_of(quad[None])[0].tolist()),
        score=score,
        support=support,
    )
