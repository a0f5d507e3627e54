"""Targa (TGA): whether its fourth channel is alpha, which Pillow always assumes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from florilegium.engine.core.image.header import Bytes
from florilegium.engine.core.image.tones import over_white, premultiplied_over_white

_FOOTER = b"TRUEVISION-XFILE.\0"
_FOOTER_SIZE = 26
_ATTRIBUTES_AT = 494  # in the extension area
_STRAIGHT, _PREMULTIPLIED = 3, 4


def rgb(image: Image.Image, data: Bytes) -> np.ndarray:
    """Return a loaded Targa image as RGB over white, uint8."""
    kind = _transparency(data)
    if kind not in (_STRAIGHT, _PREMULTIPLIED) or not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    rgba = np.asarray(image.convert("RGBA"))
    blend = over_white if kind == _STRAIGHT else premultiplied_over_white
    return blend(rgba[..., :3], rgba[..., 3])


def _transparency(data: Bytes) -> int:
    """Return the attributes type: that of the extension area, else by the attribute bits."""
    if not data[17] & 15:
        return 0
    footer = bytes(data[-_FOOTER_SIZE:])
    area = int.from_bytes(footer[:4], "little")
    if footer.endswith(_FOOTER) and 0 < area < len(data) - _ATTRIBUTES_AT:
        return data[area + _ATTRIBUTES_AT]
    return _STRAIGHT
