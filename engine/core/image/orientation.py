"""Which way up an image is: read from EXIF and XMP, and how pixels are turned.

EXIF takes precedence over XMP. Invalid values and unreadable metadata are ignored. The module of
each format finds its EXIF and XMP.
"""

from __future__ import annotations

import re
import struct

import numpy as np

from florilegium.engine.core.image.header import Bytes

EXIF_MAGIC = b"Exif\0\0"
TAG = 0x0112
"""The EXIF tag."""
# Axis to flip, after 5 to 8 are transposed: 1 columns, 0 rows, -1 both.
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
_NAMESPACE = re.compile(rb"""xmlns:([\w.-]+)\s*=\s*["']http://ns\.adobe\.com/tiff/1\.0/["']""")
_MAX_XMP = 16 * 1024 * 1024


def orientation_of(exif: Bytes | None, xmp: Bytes | None) -> int:
    """Return the orientation 1..8 in these blocks of metadata; 1 where there is none."""
    return exif_orientation(exif) or xmp_orientation(xmp) or 1


def exif_orientation(exif: Bytes | None) -> int | None:
    """Return the orientation in the first directory of an EXIF block, with or without its magic."""
    if exif is None:
        return None
    exif = exif[len(EXIF_MAGIC) :] if exif[: len(EXIF_MAGIC)] == EXIF_MAGIC else exif
    order = {b"II": "<", b"MM": ">"}.get(bytes(exif[:2]))
    try:
        if order is None or struct.unpack_from(order + "H", exif, 2)[0] != 42:
            return None
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for position in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(order + "HHI", exif, position)
            if tag == TAG:
                code = {1: "B", 3: "H", 4: "I"}.get(kind, "H")
                return _valid(struct.unpack_from(order + code, exif, position + 8)[0])
    except struct.error:
        pass  # the block is too short
    return None


def xmp_orientation(xmp: Bytes | None) -> int | None:
    """Return `tiff:Orientation` of an XMP packet, written as an attribute or as an element."""
    if xmp is None:
        return None
    text = bytes(xmp[:_MAX_XMP]).replace(b"\0", b"")  # UTF-16 and UTF-32 as well
    prefixes = {b"tiff", *_NAMESPACE.findall(text)}
    name = b"(?:" + b"|".join(sorted(map(re.escape, prefixes))) + b"):Orientation"
    attribute = name + rb"""\s*=\s*["']\s*(\d{1,3})\s*["']"""
    element = b"<" + name + rb"\b[^>]*>\s*(\d{1,3})\s*<"
    for match in re.finditer(attribute + b"|" + element, text):
        return _valid(int(match[1] or match[2]))
    return None


def _valid(value: int) -> int | None:
    return value if 1 <= value <= 8 else None


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return stored pixels (height, width, channels), uint8, turned upright."""
    if orientation == 1:
        return pixels
    import cv2

    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    axes = _FLIPS.get(orientation)
    return pixels if axes is None else cv2.flip(pixels, axes)
