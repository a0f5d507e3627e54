"""PNG: the chunks that make the picture are checked, all others are dropped.

Pillow decodes the rows, and leaves missing rows empty without an error: when the last row is empty,
or when Pillow fails, the rows are inflated here, no further than the picture needs.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.header import NOT_AN_IMAGE, Bytes, ImageHeader, corrupt
from florilegium.engine.core.image.orientation import orientation_of
from florilegium.engine.core.image.png_chunks import MAGIC, Chunk, chunks_of, exif_and_xmp
from florilegium.engine.core.image.tones import as_rgb, eight_bits, over_white

_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}
_DEPTHS = {_GREY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8)}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
           (0, 1, 1, 2))  # fmt: skip
_PICTURE = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


class _Frame(NamedTuple):
    """The IHDR chunk."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filter: int
    interlace: int

    def raw_bytes(self) -> int:
        """The size of all rows, with their filter bytes, in all passes."""
        passes = _PASSES if self.interlace else ((0, 0, 1, 1),)
        bits = self.depth * _CHANNELS[self.colour]
        total = 0
        for x, y, step_x, step_y in passes:
            width = (self.width - x + step_x - 1) // step_x
            height = (self.height - y + step_y - 1) // step_y
            if width > 0 and height > 0:
                total += height * (1 + (width * bits + 7) // 8)
        return total


def header(data: Bytes) -> ImageHeader:
    """Read size and orientation, which may come after the pixels."""
    frame = _frame(data)
    exif, xmp = exif_and_xmp(list(chunks_of(data)))
    return ImageHeader(frame.width, frame.height, orientation_of(exif, xmp), "png")


def pixels(data: Bytes) -> np.ndarray:
    """Decode to RGB, uint8, as stored; an animation gives its still picture."""
    frame = _frame(data)
    chunks = list(chunks_of(data))
    _check(chunks)
    packed = b"".join(chunk.data for chunk in chunks if chunk.kind == b"IDAT")
    palette = next((bytes(chunk.data) for chunk in chunks if chunk.kind == b"PLTE"), b"")
    key = next((bytes(chunk.data) for chunk in chunks if chunk.kind == b"tRNS"), b"")
    if frame.colour == _PALETTE:
        return _from_palette(_samples(frame, packed, palette), palette, key)
    if frame.colour in (_GREY_ALPHA, _RGBA):
        samples = _samples(frame, packed)
        return as_rgb(over_white(samples[..., :-1], samples[..., -1]))
    return _opaque_but_for_key(frame, packed, key)


def _frame(data: Bytes) -> _Frame:
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise SampleError(NOT_AN_IMAGE, "the PNG file has no header")
    frame = _Frame(*struct.unpack_from(">IIBBBBB", data, 16))
    if frame.depth not in _DEPTHS.get(frame.colour, (8, 16)) or frame.colour not in _CHANNELS:
        raise SampleError(
            NOT_AN_IMAGE, f"no PNG has {frame.depth} bits with colours of type {frame.colour}"
        )
    return frame


def _check(chunks: list[Chunk]) -> None:
    """Raise when a chunk that makes the picture is damaged or unknown."""
    for chunk in chunks:
        name = chunk.kind.decode("latin-1")
        if chunk.is_critical and chunk.kind not in _PICTURE:
            raise corrupt(f"the PNG chunk {name}, which the picture needs, is not known")
        is_needed = chunk.is_critical or chunk.kind == b"tRNS"
        if is_needed and not chunk.is_sound and not chunk.is_cut and chunk.kind != b"IEND":
            raise corrupt(f"the PNG chunk {name} is damaged: its CRC is wrong")


def _samples(frame: _Frame, packed: bytes, palette: bytes = b"") -> np.ndarray:
    """Return samples (height, width[, channels]): eight bits, or palette indices."""
    try:
        samples = _by_pillow(frame, packed, palette)
    except Exception:  # Pillow raises anything; missing rows are found below
        samples = _by_pillow(frame, _repacked(frame, packed), palette)
    else:
        if frame.interlace or not samples[-1].any():
            _inflated(frame, packed)
    return samples if samples.dtype == np.uint8 else eight_bits(samples, 65535)


def _by_pillow(frame: _Frame, packed: bytes, palette: bytes) -> np.ndarray:
    plain = _plain_png(frame, packed, palette)
    with Image.open(io.BytesIO(plain), formats=("PNG",)) as image:
        return np.asarray(image.convert("L") if image.mode == "1" else image)


def _repacked(frame: _Frame, packed: bytes) -> bytes:
    """Return the same rows with a proper end."""
    return zlib.compress(_inflated(frame, packed), 0)


def _inflated(frame: _Frame, packed: bytes) -> bytes:
    """Inflate the rows; raise when one is missing."""
    wanted = frame.raw_bytes()
    try:
        rows = zlib.decompressobj().decompress(packed, max(wanted, 1))
    except zlib.error as error:
        raise corrupt(f"the PNG rows cannot be inflated: {error}") from error
    if len(rows) < wanted:
        raise corrupt(f"the PNG file is cut: {len(rows)} of {wanted} bytes of rows are there")
    return rows


def _opaque_but_for_key(frame: _Frame, packed: bytes, key: bytes) -> np.ndarray:
    """Return grey or RGB pixels; those of the one transparent colour `key` are white."""
    if not key:
        return as_rgb(_samples(frame, packed))
    channels = _CHANNELS[frame.colour]
    if len(key) != 2 * channels:
        raise corrupt(f"the transparent colour of the PNG file has {len(key)} bytes")
    wanted = np.frombuffer(key, ">u2") & (2**frame.depth - 1)
    if frame.depth == 16:
        deep = _deep_samples(frame, _repacked(frame, packed))
        is_key = (deep == wanted).all(axis=2)
        samples = eight_bits(deep, 65535)
    else:
        samples = _samples(frame, packed).reshape(frame.height, frame.width, channels)
        is_key = (samples == eight_bits(wanted, 2**frame.depth - 1)).all(axis=2)
    shown = as_rgb(samples)
    return np.where(is_key[..., None], np.uint8(255), shown)


def _deep_samples(frame: _Frame, packed: bytes) -> np.ndarray:
    """Return samples of 16 bits, (height, width, channels), which Pillow keeps for grey only."""
    plain = _plain_png(frame, packed)
    if frame.colour == _GREY:
        with Image.open(io.BytesIO(plain), formats=("PNG",)) as image:
            return np.asarray(image)[..., None]
    import cv2

    deep = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16:
        raise corrupt("OpenCV cannot decode the PNG file of 16 bits")
    return deep[..., ::-1]


def _from_palette(indices: np.ndarray, palette: bytes, alpha: bytes) -> np.ndarray:
    colours = np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)[:256]
    if indices.size and int(indices.max()) >= len(colours):
        raise corrupt(f"colour {indices.max()} of a palette of {len(colours)}")
    opacity = np.full(len(colours), 255, np.uint8)
    known = np.frombuffer(alpha, np.uint8)[: len(colours)]
    opacity[: len(known)] = known
    return over_white(colours, opacity)[indices]


def _plain_png(frame: _Frame, packed: bytes, palette: bytes = b"") -> bytes:
    """Return a PNG file of these rows and nothing else."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", *frame))]
    chunks += [(b"PLTE", palette)] if palette else []
    chunks += [(b"IDAT", packed), (b"IEND", b"")]
    return MAGIC + b"".join(_written(chunks))


def _written(chunks: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for kind, body in chunks:
        yield struct.pack(">I4s", len(body), kind)
        yield body
        yield zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big")
