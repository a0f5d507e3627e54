"""WebP: the chunks of its first picture, checked, are put together and decoded by Pillow.

The coded data have no checksum, and libwebp decodes zeros like pixels. So a picture is decoded
again without its last bytes: that fails, unless its end is filled with zeros.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image import pillow
from florilegium.engine.core.image.header import NOT_AN_IMAGE, Bytes, ImageHeader, corrupt
from florilegium.engine.core.image.orientation import orientation_of

_ZEROS = re.compile(re.escape(bytes(32)))
_SPARE = 4  # libwebp tolerates at most 3 missing bytes
_CODED = (b"VP8 ", b"VP8L")
_METADATA = 0x20 | 0x08 | 0x04  # flags of ICC profile, EXIF and XMP
_FRAME_HEADER = 16  # of an ANMF chunk


def is_webp(head: bytes) -> bool:
    """Whether a file begins as WebP does."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def header(data: Bytes) -> ImageHeader:
    """Read the size of the canvas, and the orientation, which comes after the pixels."""
    chunks = list(_chunks(data, 12))
    found = dict(reversed(chunks))  # the first of a kind counts
    width, height = _canvas(chunks)
    orientation = orientation_of(found.get(b"EXIF"), found.get(b"XMP "))
    return ImageHeader(width, height, orientation, "webp")


def pixels(data: Bytes) -> np.ndarray:
    """Decode the first picture to RGB, uint8, as stored."""
    picture = _picture(list(_chunks(data, 12)))
    plain = _written(picture)
    shown = pillow.pixels(plain)
    for number, (kind, body) in enumerate(picture):
        inner = list(_chunks(body, _FRAME_HEADER)) if kind == b"ANMF" else [(kind, body)]
        if any(name in _CODED and _ZEROS.search(coded) for name, coded in inner):
            _check_end(picture, number)
    return shown


def _chunks(data: Bytes, position: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and body of each chunk; one that the file cuts is shorter than it says."""
    while position + 8 <= len(data):
        kind, size = bytes(data[position : position + 4]), data[position + 4 : position + 8]
        if not kind.isascii() or not kind.decode("ascii").isprintable():
            return
        end = position + 8 + int.from_bytes(size, "little")
        if end > len(data) and kind in (*_CODED, b"ALPH", b"ANMF"):
            raise corrupt(f"the WebP file is cut: it has {len(data)} bytes of {end}")
        yield kind, bytes(data[position + 8 : end])
        position = end + (end & 1)


def _picture(chunks: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the chunks that make the first picture, without metadata."""
    found: dict[bytes, bytes] = {}
    for kind, body in chunks:
        if kind == b"VP8X":
            body = bytes([body[0] & ~_METADATA]) + body[1:]
        if kind in (b"VP8X", b"ANIM", b"ANMF", b"ALPH", *_CODED):
            found.setdefault(kind, body)
        if kind in (b"ANMF", *_CODED):
            return list(found.items())
    raise corrupt("the WebP file holds no picture")


def _written(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [b"WEBP"]
    for kind, body in chunks:
        parts += [kind, len(body).to_bytes(4, "little"), body, bytes(len(body) & 1)]
    rest = b"".join(parts)
    return b"RIFF" + len(rest).to_bytes(4, "little") + rest


def _check_end(picture: list[tuple[bytes, bytes]], number: int) -> None:
    """Raise when the picture can be decoded without the last bytes of one of its chunks."""
    kind, body = picture[number]
    if kind == b"ANMF":
        *others, (name, coded) = list(_chunks(body, _FRAME_HEADER))
        inner = _written([*others, (name, coded[:-_SPARE])])[12:]
        shorter = body[:_FRAME_HEADER] + inner
    else:
        shorter = body[:-_SPARE]
    try:
        pillow.pixels(_written([*picture[:number], (kind, shorter), *picture[number + 1 :]]))
    except Exception:  # libwebp misses the bytes, as it should
        return
    raise corrupt("a part of the WebP file is filled with zeros")


def _canvas(chunks: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    for kind, body in chunks:
        if kind == b"VP8X" and len(body) >= 10:
            return _number(body[4:7]) + 1, _number(body[7:10]) + 1
        if kind == b"VP8L" and len(body) >= 5:
            bits = _number(body[1:5])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        if kind == b"VP8 " and len(body) >= 10:
            return _number(body[6:8]) & 0x3FFF, _number(body[8:10]) & 0x3FFF
    raise SampleError(NOT_AN_IMAGE, "the WebP file states no size")


def _number(field: bytes) -> int:
    return int.from_bytes(field, "little")
