"""The first directory of a TIFF or BigTIFF file, read without a decoder; every value is checked."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.header import CORRUPT_IMAGE, NOT_AN_IMAGE, Bytes

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

NEW_SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, ORIENTATION, CHANNELS = 266, 273, 274, 277
ROWS_PER_STRIP, STRIP_SIZES, PLANAR, PREDICTOR, COLOUR_MAP = 278, 279, 284, 317, 320
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES = 322, 323, 324, 325
SUB_DIRECTORIES, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, XMP = 330, 338, 339, 347, 700
DNG_VERSION = 50706

UINT, INT, FLOAT = 1, 2, 3
"""What SampleFormat states."""
_UNDEFINED = 4

_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q",
          17: "q", 18: "Q"}  # fmt: skip
_SHORTEST = 16  # a header and nothing else
_MAX_VALUES = 4_000_000


class Dialect(NamedTuple):
    """Byte order, as `struct` writes it, and whether the offsets have 64 bits (BigTIFF)."""

    order: str
    is_big: bool


@dataclass(frozen=True, kw_only=True)
class Directory:
    """The integers of a TIFF directory by tag, and the position of each tag in the file."""

    dialect: Dialect
    tags: Mapping[int, tuple[int, ...]]
    positions: Mapping[int, int]

    def first(self, tag: int, default: int = 0) -> int:
        """Return the first number of a tag."""
        return self.tags[tag][0] if self.tags.get(tag) else default

    def all(self, tag: int, *default: int) -> tuple[int, ...]:
        """Return all numbers of a tag."""
        return self.tags.get(tag) or default

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.first(WIDTH), self.first(HEIGHT)

    @property
    def sample_format(self) -> int:
        """`UINT`, `INT` or `FLOAT`, or another number of the file."""
        kind = self.first(SAMPLE_FORMAT, UINT)
        return UINT if kind == _UNDEFINED else kind

    @property
    def is_tiled(self) -> bool:
        """Whether the picture is cut into tiles and not into strips."""
        return TILE_OFFSETS in self.tags

    @property
    def segments(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Offsets and sizes of the strips or tiles."""
        if self.is_tiled:
            return self.all(TILE_OFFSETS), self.all(TILE_SIZES)
        return self.all(STRIP_OFFSETS), self.all(STRIP_SIZES)


def read_directory(data: Bytes) -> Directory:
    """Read the numbers of the first directory; tags of other types are left out.

    Raises:
        SampleError: `corrupt_image` when the directory is not in the file or states no
            size, `not_an_image` when the file is a header and nothing else.
    """
    order = "<" if data[:1] == b"I" else ">"
    dialect = Dialect(order, data[2:4] in (b"+\0", b"\0+"))
    count_code, offset_code, head = ("Q", "Q", 8) if dialect.is_big else ("H", "I", 4)
    entry = struct.Struct(order + "HH" + offset_code)
    field = struct.calcsize(offset_code)
    tags: dict[int, tuple[int, ...]] = {}
    positions: dict[int, int] = {}
    reason = NOT_AN_IMAGE if len(data) <= _SHORTEST else CORRUPT_IMAGE
    try:
        (start,) = struct.unpack_from(order + offset_code, data, head)
        (count,) = struct.unpack_from(order + count_code, data, start)
        position = start + struct.calcsize(count_code)
        for _ in range(min(count, 4096)):
            if position + entry.size > len(data):
                break  # the tags before may be enough
            tag, kind, number = entry.unpack_from(data, position)
            positions.setdefault(tag, position)
            value_at = position + entry.size
            position = value_at + field
            values = _values(data, dialect, kind, number, value_at, field)
            if values is not None:
                tags.setdefault(tag, values)
    except struct.error as error:
        raise SampleError(reason, "the TIFF directory is not in the file") from error
    if WIDTH not in tags or HEIGHT not in tags:
        raise SampleError(reason, "the TIFF file states no size")
    return Directory(dialect=dialect, tags=tags, positions=positions)


def _values(
    data: Bytes, dialect: Dialect, kind: int, number: int, value_at: int, field: int
) -> tuple[int, ...] | None:
    code = _CODES.get(kind)
    if code is None or not 0 < number <= _MAX_VALUES:
        return None
    size = struct.calcsize(code) * number
    if size > field:
        offset_code = "Q" if dialect.is_big else "I"
        (value_at,) = struct.unpack_from(dialect.order + offset_code, data, value_at)
    if value_at + size > len(data):
        return None
    return struct.unpack_from(f"{dialect.order}{number}{code}", data, value_at)
