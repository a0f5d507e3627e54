"""Images at a fixed scale, so that numbers measured on them can be compared."""

from __future__ import annotations

import numpy as np


def within(pixels: np.ndarray, side_px: int) -> np.ndarray:
    """Return an image shrunk so that its longer side has `side_px` pixels; a smaller one as it is.

    Each new pixel is the mean of the area that it covers: noise is averaged out, edges stay.
    """
    import cv2

    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return pixels
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA)


def grey(pixels: np.ndarray) -> np.ndarray:
    """Return the luma of RGB pixels (ITU-R BT.601), uint8, (height, width)."""
    import cv2

    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
