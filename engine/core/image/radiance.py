"""Radiance pictures (.hdr, .pic), whose samples are linear light: OpenCV decodes them."""

from __future__ import annotations

import re

import numpy as np

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.header import NOT_AN_IMAGE, Bytes, ImageHeader, corrupt

MAGIC = (b"#?RADIANCE", b"#?RGBE")
_SIZE = re.compile(rb"#\?(?:RADIANCE|RGBE)\b.*?\n\n-Y (\d{1,9}) \+X (\d{1,9})\n", re.DOTALL)


def header(data: Bytes) -> ImageHeader:
    """Read the size."""
    match = _SIZE.match(bytes(data[:4096]))
    if match is None:
        raise SampleError(NOT_AN_IMAGE, "the Radiance file states no size")
    return ImageHeader(int(match[2]), int(match[1]), 1, "hdr")


def pixels(data: Bytes) -> np.ndarray:
    """Decode to RGB, uint8: light is clipped at 1 and gamma-encoded."""
    import cv2

    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH
    light = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if light is None or light.dtype != np.float32:
        raise corrupt("OpenCV cannot decode the Radiance file")
    return (np.nan_to_num(light).clip(0, 1) ** (1 / 2.2) * 255).astype(np.uint8)
