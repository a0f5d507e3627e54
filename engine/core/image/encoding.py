"""How an image is published: as its own bytes, or with its pixels encoded once.

The same pixels give the same bytes. No metadata is written, as the pixels are upright.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from florilegium.engine.core.image import jpeg, pillow
from florilegium.engine.core.image.header import Bytes
from florilegium.engine.core.image.orientation import TAG as ORIENTATION_TAG


def is_upright_baseline_jpeg(data: Bytes) -> bool:
    """Whether every reader shows this file as `decode` does, with or without its metadata.

    A baseline or extended sequential JPEG of 8 bits, grey or YCbCr, complete and tidy, whose
    metadata does not turn it and that Pillow opens. The caller has decoded the file, so it is
    complete. Of a file with several pictures, the first counts.
    """
    size_wh = jpeg.upright_baseline_wh(data)
    if size_wh is None:
        return False
    try:
        with pillow.opened(data, "JPEG", "MPO") as image:
            is_turned = image.getexif().get(ORIENTATION_TAG, 1) in range(2, 9)
            return image.size == size_wh and not is_turned and image.mode in ("L", "RGB")
    except Exception:  # Pillow raises anything when metadata is broken
        return False


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """Encode RGB pixels, uint8, as baseline JPEG: quality 95, without chroma subsampling."""
    return _encoded(pixels, "JPEG", quality=95, subsampling=0)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode RGB pixels, uint8, as PNG."""
    return _encoded(pixels, "PNG")


def _encoded(pixels: np.ndarray, format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()
