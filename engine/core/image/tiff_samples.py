"""The samples of a TIFF file at their full depth.

libtiff, through Pillow, only decompresses: it gets the file as grey bytes. Depth, sign, byte order,
predictor, planes and tiles are decoded here, strictly.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from florilegium.engine.core.image import tiff_directory as tags
from florilegium.engine.core.image.header import Bytes, corrupt
from florilegium.engine.core.image.tiff_directory import FLOAT, INT, UINT, Directory

NONE, LZW, PACKBITS = 1, 5, 32773
_JPEG = (6, 7)
DEFLATE = (8, 32946)
_PREDICTED = (LZW, *DEFLATE, 34925, 50000)  # the last are LZMA and Zstandard
UNPACKED = (NONE, PACKBITS, *_PREDICTED)
_HORIZONTAL, _FLOATING = 2, 3
_MAY_HOLD_ZEROS = (NONE, *_JPEG)
_ZEROS = re.compile(re.escape(bytes(32)))
_ROWS_AT_ONCE = 64


class _Grid(NamedTuple):
    """How a plane is cut: size of a block in pixels (as wide as the image for strips), count."""

    width: int
    height: int
    across: int
    down: int
    bytes_per_row: int


def samples_of(data: Bytes, directory: Directory, channels: int) -> np.ndarray:
    """Return the first `channels` samples of each pixel, (height, width, channels).

    The dtype is that of the file in native order: unsigned, signed or float. Samples of a width
    that no dtype has are unsigned or signed in the next wider dtype.
    """
    check_segments(data, directory)
    width, height = directory.size_wh
    stored = directory.first(tags.CHANNELS, 1)
    if directory.first(tags.PLANAR, 1) == 2 and stored > 1:
        planes = [_plane(data, directory, 1, plane) for plane in range(channels)]
        samples = np.concatenate(planes, axis=2)
    else:
        samples = _plane(data, directory, stored, 0)
    return samples[:height, :width, :channels]


def check_segments(data: Bytes, directory: Directory) -> None:
    """Raise when a strip or tile does not lie in the file or cannot be what an encoder wrote."""
    compression = directory.first(tags.COMPRESSION, NONE)
    offsets, sizes = directory.segments
    if not offsets or (len(sizes) < len(offsets) and compression != NONE):
        raise corrupt("the TIFF file does not say where its pixels are")
    for start, size in zip(offsets, sizes, strict=False):
        if size == 0 or start + size > len(data):
            raise corrupt(f"the TIFF file is cut: {size} bytes at {start}, it has {len(data)}")
        if compression in DEFLATE:
            _check_deflated(data[start : start + size])
        elif compression not in _MAY_HOLD_ZEROS and _ZEROS.search(data, start, start + size):
            raise corrupt("a part of the TIFF file is filled with zeros")


def _check_deflated(segment: Bytes) -> None:
    inflater = zlib.decompressobj()
    try:
        while not inflater.eof:
            if not inflater.decompress(segment, 1 << 20) and not inflater.eof:
                raise corrupt("a strip of the TIFF file is cut")
            segment = inflater.unconsumed_tail
    except zlib.error as error:
        raise corrupt(f"a strip of the TIFF file is damaged: {error}") from error


def _plane(data: Bytes, directory: Directory, channels: int, plane: int) -> np.ndarray:
    """Return one plane, (rows, columns, channels), padded as it is in tiles."""
    bits = directory.first(tags.BITS, 1)
    grid = _grid(directory, channels * bits)
    rows = _unpacked(data, directory, grid, plane)
    blocks = rows.reshape(len(rows), grid.across, grid.bytes_per_row)
    predictor = directory.first(tags.PREDICTOR, 1)
    is_predicted = directory.first(tags.COMPRESSION, NONE) in _PREDICTED
    if is_predicted and predictor == _FLOATING:
        blocks = _undo_floating(blocks, channels, bits // 8)
        return _as_numbers(blocks, directory, ">").reshape(len(rows), -1, channels)
    numbers = _as_numbers(blocks, directory, directory.dialect.order)
    numbers = numbers[:, :, : grid.width * channels]  # without the padding of the last byte
    pixels = numbers.reshape(len(rows), grid.across, grid.width, channels)
    if is_predicted and predictor == _HORIZONTAL:
        if bits % 8:
            raise corrupt(f"a predictor over samples of {bits} bits")
        pixels = np.add.accumulate(pixels, axis=2, dtype=pixels.dtype)
    return pixels.reshape(len(rows), -1, channels)


def _grid(directory: Directory, bits_per_pixel: int) -> _Grid:
    width, height = directory.size_wh
    if not directory.is_tiled:
        return _Grid(width, height, 1, 1, (width * bits_per_pixel + 7) // 8)
    tile_width, tile_height = directory.first(tags.TILE_WIDTH), directory.first(tags.TILE_HEIGHT)
    if not 0 < tile_width <= 65536 or not 0 < tile_height <= 65536:
        raise corrupt(f"tiles of {tile_width}x{tile_height} pixels")
    across, down = -(-width // tile_width), -(-height // tile_height)
    return _Grid(tile_width, tile_height, across, down, (tile_width * bits_per_pixel + 7) // 8)


def _unpacked(data: Bytes, directory: Directory, grid: _Grid, plane: int) -> np.ndarray:
    """Return the bytes of a plane's rows, decompressed: (rows, bytes of all blocks in a row)."""
    offsets, sizes = directory.segments
    _, height = directory.size_wh
    rows_per_strip = min(directory.first(tags.ROWS_PER_STRIP, height), height) or height
    count = grid.across * grid.down if directory.is_tiled else -(-height // rows_per_strip)
    part = slice(plane * count, (plane + 1) * count)
    offsets = offsets[part]
    if len(offsets) < count:
        raise corrupt(f"the TIFF file names {len(offsets)} of {count} strips or tiles")
    fields: dict[int, tuple[int, ...]] = {
        tags.WIDTH: (grid.across * grid.bytes_per_row,),
        tags.HEIGHT: (grid.down * grid.height,),
        tags.BITS: (8,),
        tags.COMPRESSION: (directory.first(tags.COMPRESSION, NONE),),
        tags.PHOTOMETRIC: (1,),
        tags.FILL_ORDER: (directory.first(tags.FILL_ORDER, 1),),
        tags.CHANNELS: (1,),
    }
    if directory.is_tiled:
        fields |= {
            tags.TILE_WIDTH: (grid.bytes_per_row,),
            tags.TILE_HEIGHT: (grid.height,),
            tags.TILE_OFFSETS: offsets,
            tags.TILE_SIZES: sizes[part],
        }
    else:
        fields |= {
            tags.STRIP_OFFSETS: offsets,
            tags.ROWS_PER_STRIP: (rows_per_strip,),
            tags.STRIP_SIZES: sizes[part] or (len(data) - offsets[0],),
        }
    return _grey_bytes(data, directory, fields)


def _grey_bytes(
    data: Bytes, directory: Directory, fields: dict[int, tuple[int, ...]]
) -> np.ndarray:
    """Decode the strips or tiles of a file with a directory of our own, appended to it."""
    order, is_big = directory.dialect
    code, size, count_code = ("Q", 8, "Q") if is_big else ("I", 4, "H")
    kind = 16 if is_big else 4
    start = len(data) + len(data) % 2
    values_at = start + struct.calcsize(count_code) + len(fields) * (4 + 2 * size) + size
    entries, values = b"", b""
    for tag, numbers in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(numbers) > 1:
            packed, values = struct.pack(order + code, values_at + len(values)), values + packed
        entries += struct.pack(order + "HH" + code, tag, kind, len(numbers)) + packed
    head = bytes(data[: 8 if is_big else 4]) + struct.pack(order + code, start)
    count = struct.pack(order + count_code, len(fields))
    body = (bytes(data[len(head) :]), b"\0" * (start - len(data)), count, entries, bytes(size))
    # Not `Image.open`: its limit of pixels is for pixels, these are bytes.
    with TiffImagePlugin.TiffImageFile(io.BytesIO(b"".join((head, *body, values)))) as image:
        image.im = Image.new("L", image.size).im
        image.load()
        return np.asarray(image)


def _undo_floating(blocks: np.ndarray, channels: int, width: int) -> np.ndarray:
    """Undo predictor 3: differences of bytes, all first bytes of a row before all second ones."""
    rows, across, size = blocks.shape
    bytes_ = np.add.accumulate(
        blocks.reshape(rows, across, -1, channels), axis=2, dtype=np.uint8
    ).reshape(rows, across, width, size // width)
    return np.ascontiguousarray(bytes_.swapaxes(2, 3)).reshape(rows, across, size)


def _as_numbers(blocks: np.ndarray, directory: Directory, order: str) -> np.ndarray:
    """Return the numbers in rows of bytes, in native byte order."""
    bits = directory.first(tags.BITS, 1)
    letter = {UINT: "u", INT: "i", FLOAT: "f"}[directory.sample_format]
    if bits in (8, 16, 32, 64):
        numbers = np.ascontiguousarray(blocks).view(f"{order}{letter}{bits // 8}")
        return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)
    wide = np.dtype("u1" if bits < 8 else "u2" if bits < 16 else "u4")
    parts = [
        _bits_as_numbers(blocks[at : at + _ROWS_AT_ONCE], bits, wide)
        for at in range(0, len(blocks), _ROWS_AT_ONCE)
    ]
    return np.concatenate(parts)


def _bits_as_numbers(blocks: np.ndarray, bits: int, wide: np.dtype) -> np.ndarray:
    """Return numbers of any count of bits, the highest first, that fill rows of bytes."""
    numbers = blocks.shape[2] * 8 // bits
    flags = np.unpackbits(blocks, axis=2)[:, :, : numbers * bits]
    flags = flags.reshape(*blocks.shape[:2], numbers, bits)
    result = np.zeros(flags.shape[:3], wide)
    for bit in range(bits):
        result <<= 1
        result |= flags[..., bit]
    return result
