"""Pixels made smaller, for models that see no more and services that charge for more."""

from __future__ import annotations

import numpy as np


def shrunk(pixels: np.ndarray, long_side: int) -> np.ndarray:
    """Return pixels whose long side has so many at most; they are never enlarged."""
    import cv2

    height, width = pixels.shape[:2]
    shrink = long_side / max(height, width)
    if shrink >= 1:
        return pixels
    size_wh = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA))
