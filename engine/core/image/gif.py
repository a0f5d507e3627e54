"""GIF: the first picture on a canvas that is white where the picture is not."""

from __future__ import annotations

import numpy as np

from florilegium.engine.core.image import pillow
from florilegium.engine.core.image.header import Bytes, ImageHeader, corrupt
from florilegium.engine.core.image.orientation import orientation_of

MAGICS = (b"GIF87a", b"GIF89a")
_MAY_FOLLOW = b",!;"  # a picture, an extension, the trailer
_XMP = b"\x21\xff\x0bXMP DataXMP"


def header(data: Bytes) -> ImageHeader:
    """Read the size of the canvas, and the orientation of an XMP extension."""
    with pillow.opened(data, "GIF") as image:
        width, height = image.size
    _, _, rest = bytes(data).partition(_XMP)
    return ImageHeader(width, height, orientation_of(None, rest or None), "gif")


def pixels(data: Bytes) -> np.ndarray:
    """Decode the first picture to RGB, uint8, as stored."""
    with pillow.opened(data, "GIF") as image:
        _, (left, top, right, bottom), start, *_ = image.tile[0]  # type: ignore[attr-defined]
        _check_blocks(data, start)
        image.load()
        picture = pillow.rgb(image)
    shown = np.full_like(picture, 255)
    shown[top:bottom, left:right] = picture[top:bottom, left:right]
    return shown


def _check_blocks(data: Bytes, position: int) -> None:
    """Raise when no other part of a GIF file begins where the coded pixels end.

    Pillow accepts an early end, such as a length of zero in a damaged part.
    """
    while position < len(data) and data[position]:
        position += 1 + data[position]
    if position + 1 < len(data) and data[position + 1] not in _MAY_FOLLOW:
        raise corrupt("the coded pixels of the GIF file are damaged")
