"""Naming silhouettes by template matching: the shape whose template has the highest IoU.

Templates are eight shapes in several rotations, and upright boards (signs) of several proportions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

SIDE = 32
"""Side in pixels of the square to which silhouettes are scaled for comparison."""
SIGN = "sign"

_LEAN = 30
"""Maximum rotation of templates in degrees."""
_SQUARE_LEAN = 15
"""The same for squares and diamonds, which become each other at 45."""
_STEP = 7.5
"""Step between rotations in degrees."""
_BOARDS = (1.5, 1.75, 2.0, 2.4, 2.8, 3.3, 4.0)
"""Aspect ratios of boards, width / height."""
_FINE = 8
"""Templates are drawn at this scale and shrunk, for exact edges."""


class Name(NamedTuple):
    """The name of the best template, and its IoU with the silhouette, 0..1."""

    label: str
    fit: float


def names_of(masks: Sequence[np.ndarray]) -> list[Name]:
    """Name silhouettes: tight masks, bool, each (height, width)."""
    if not masks:
        return []
    labels, templates = _templates()
    silhouettes = _packed(masks)[:, None]
    shared = np.bitwise_count(silhouettes & templates).sum(axis=2)
    fits = shared / np.bitwise_count(silhouettes | templates).sum(axis=2)
    return [
        Name(labels[best], float(fit))
        for best, fit in zip(fits.argmax(axis=1), fits.max(axis=1), strict=True)
    ]


def normalised(mask: np.ndarray) -> np.ndarray:
    """Scale a mask into the middle of a square of `SIDE` pixels, keeping proportions; bool."""
    import cv2

    height, width = mask.shape
    scale = SIDE / max(height, width)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(mask.astype(np.float32), size_wh, interpolation=method)
    left, top = (SIDE - size_wh[0]) // 2, (SIDE - size_wh[1]) // 2
    square = np.zeros((SIDE, SIDE), dtype=bool)
    square[top : top + size_wh[1], left : left + size_wh[0]] = small >= 0.5
    return square


@cache
def _templates() -> tuple[tuple[str, ...], np.ndarray]:
    """Return the label of each template, and the templates, packed."""
    labels, masks = zip(*_drawn(), strict=True)
    return labels, _packed(masks)


def _packed(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return normalised masks as bits, uint64, (n, SIDE * SIDE / 64)."""
    squares = np.stack([normalised(mask) for mask in masks])
    return np.packbits(squares.reshape(len(masks), -1), axis=1).view(np.uint64)


def _drawn() -> Iterator[tuple[str, np.ndarray]]:
    for label, rings in _shapes().items():
        lean = _SQUARE_LEAN if label in ("square", "diamond") else _LEAN
        for angle in np.radians(np.arange(-lean, lean + 1, _STEP)):
            turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            yield label, _filled([ring @ turn for ring in rings])
    for aspect in _BOARDS:
        yield SIGN, np.ones((round(SIDE * _FINE / aspect), SIDE * _FINE), dtype=bool)


def _filled(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Draw closed rings, (n, 2) around the origin, inner rings as holes; return the tight mask."""
    import cv2

    middle = SIDE * _FINE
    canvas = np.zeros((2 * middle, 2 * middle), dtype=np.uint8)
    points = [np.round(ring * middle / 2 + middle).astype(np.int32) for ring in rings]
    cv2.fillPoly(canvas, points, 1)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    return canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(bool)


def _shapes() -> dict[str, list[np.ndarray]]:
    """Return the rings of each shape, upright."""
    return {
        "circle": [_corners(1, count=64)],
        "square": [_cross(1)],
        "triangle": [_corners(1, count=3)],
        "star": [_corners(1, 0.41, count=10)],
        "heart": [_heart()],
        "cross": [_cross(1 / 3)],
        "ring": [_corners(1, count=64), _corners(0.52, count=64)],
        "diamond": [_corners(1, 0.6, count=4)],
    }


def _corners(*radii: float, count: int) -> np.ndarray:
    """Return a polygon around the origin; its corners alternate between these radii, one on top."""
    angles = np.arange(count) * 2 * np.pi / count
    return np.resize(radii, count)[:, None] * np.stack([np.sin(angles), -np.cos(angles)], axis=1)


def _heart() -> np.ndarray:
    """The sextic heart curve (Weisstein, MathWorld, "Heart Curve")."""
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y], axis=1) / 17


def _cross(arm: float) -> np.ndarray:
    """Return a plus; `arm` is the width of its bars as a share of its extent."""
    corner = np.array([(arm, arm), (1, arm), (1, -arm)])  # one bar's end and the corner before it
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    turns = [np.linalg.matrix_power(quarter, turn) for turn in range(4)]
    return np.concatenate([corner @ turn for turn in turns])
