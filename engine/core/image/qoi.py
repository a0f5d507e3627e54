"""QOI, which Pillow decodes. Its coded pixels hold no row of zero bytes, but for the end marker."""

from __future__ import annotations

import re

import numpy as np

from florilegium.engine.core.image import pillow
from florilegium.engine.core.image.header import Bytes, ImageHeader, corrupt

MAGIC = b"qoif"
_END = bytes(7) + b"\1"
_ZEROS = re.compile(re.escape(bytes(16)))


def header(data: Bytes) -> ImageHeader:
    """Read the size."""
    return pillow.header(data)


def pixels(data: Bytes) -> np.ndarray:
    """Decode to RGB, uint8."""
    end = bytes(data).rfind(_END)
    if _ZEROS.search(data, len(MAGIC), end if end > 0 else len(data)):
        raise corrupt("a part of the QOI file is filled with zeros")
    return pillow.pixels(data)
