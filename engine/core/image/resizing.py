"""Makes images smaller, for models with a fixed input size and services that charge by size."""

from __future__ import annotations

import numpy as np


def shrunk(pixels: np.ndarray, long_side: int) -> np.ndarray:
    """Return pixels whose longer side has at most `side` pixels; they are never enlarged."""
    import cv2

    height, width = pixels.shape[:2]
    shrink = long_side / max(height, width)
    if shrink >= 1:
        return pixels
    size_wh = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA))
