"""JPEG 2000, in boxes or as a bare codestream, which Pillow decodes."""

from __future__ import annotations

import re

import numpy as np

from florilegium.engine.core.image import pillow
from florilegium.engine.core.image.boxes import boxes_of
from florilegium.engine.core.image.header import Bytes, ImageHeader, corrupt
from florilegium.engine.core.image.orientation import orientation_of
from florilegium.engine.core.image.tones import eight_bits

MAGICS = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_EXIF = b"JpgTiffExif->JP2"
_SIZE = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"
_COMPONENTS_AT = 42  # bytes from the start of the codestream to the first component's depth
# Empty packets are zero bytes, but not so many in a row.
_ZEROS = re.compile(re.escape(bytes(512)))


def header(data: Bytes) -> ImageHeader:
    """Read the size, and the orientation of metadata in a box of its own."""
    with pillow.opened(data, "JPEG2000") as image:
        width, height = image.size
    blocks = {
        bytes(data[box.start : box.start + 16]): data[box.start + 16 : box.end]
        for box in (boxes_of(data) if data[:4] != _SIZE else ())
        if box.kind == b"uuid"
    }
    orientation = orientation_of(blocks.get(_EXIF), blocks.get(_XMP))
    return ImageHeader(width, height, orientation, "jp2")


def pixels(data: Bytes) -> np.ndarray:
    """Decode to RGB, uint8, as stored."""
    start, end = bytes(data).find(_SIZE), bytes(data).rfind(_END)
    if _ZEROS.search(data, start, end):
        raise corrupt("a part of the JPEG 2000 file is filled with zeros")
    with pillow.opened(data, "JPEG2000") as image:
        image.load()
        shown = pillow.rgb(image)
    bits = (data[start + _COMPONENTS_AT] & 0x7F) + 1
    # Pillow moves fewer than eight bits up, which leaves white grey.
    return eight_bits(shown >> (8 - bits), 2**bits - 1) if bits < 8 else shown
