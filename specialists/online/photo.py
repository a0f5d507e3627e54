"""Encoding an image as JPEG to send it, with a limited long side."""

from __future__ import annotations

import numpy as np

from florilegium.engine.core.image.resizing import shrunk


def jpeg(pixels: np.ndarray, long_side: int, quality: int) -> bytes:
    """Return the bytes of a JPEG file.

    Args:
        pixels: RGB, uint8, (height, width, 3).
        long_side: maximum pixels of its long side; smaller images are not enlarged.
        quality: 1..100.
    """
    import cv2

    small = cv2.cvtColor(shrunk(pixels, long_side), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)
