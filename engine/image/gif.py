"""GIF: the first picture on a canvas that is white where the picture is not."""

from __future__ import annotations

import numpy as np

from engine.image import pillow
from engine.image.header import Bytes, ImageHeader
from engine.image.orientation import orientation_of

MAGICS = (b"GIF87a", b"GIF89a")
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
        left, top, right, bottom = image.tile[0][1]
        image.load()
        picture = pillow.rgb(image)
    shown = np.full_like(picture, 255)
    shown[top:bottom, left:right] = picture[top:bottom, left:right]
    return shown
