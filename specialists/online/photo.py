"""An image made small enough to travel: JPEG, its long side limited, never enlarged."""

from __future__ import annotations

import numpy as np


def jpeg(pixels: np.ndarray, long_side: int, quality: int) -> bytes:
    """Return the bytes of a JPEG file.

    Args:
        pixels: RGB, uint8, (height, width, 3).
        long_side: pixels of its long side at most.
        quality: 1..100.
    """
    import cv2

    height, width = pixels.shape[:2]
    shrink = min(1.0, long_side / max(height, width))
    size_wh = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA) if shrink < 1 else pixels
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    return bytes(data)
