"""An image made small enough to travel: JPEG, its long side limited, never enlarged."""

from __future__ import annotations

import numpy as np

from engine.core.image import shrunk


def jpeg(pixels: np.ndarray, long_side: int, quality: int) -> bytes:
    """Return the bytes of a JPEG file.

    Args:
        pixels: RGB, uint8, (height, width, 3).
        long_side: pixels of its long side at most.
        quality: 1..100.
    """
    import cv2

    small = cv2.cvtColor(shrunk(pixels, long_side), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)
