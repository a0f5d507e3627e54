"""From untrusted bytes to upright pixels, decoded once.

Sizes are checked in the header before a pixel is decoded. Each format has a module that reads its
header and its pixels. Colour profiles and gamma tags are ignored, as models expect.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Protocol

import numpy as np
from PIL import Image

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image import (
    avif,
    gif,
    heif,
    jpeg,
    jpeg2000,
    netpbm,
    pillow,
    png,
    png_chunks,
    qoi,
    radiance,
    tiff,
    tiff_directory,
    webp,
)
from florilegium.engine.core.image.boxes import brands_of
from florilegium.engine.core.image.header import (
    EMPTY_FILE,
    MAX_BYTES,
    MAX_PIXELS,
    OUT_OF_MEMORY,
    TOO_MANY_BYTES,
    Bytes,
    ImageHeader,
    check_size,
    corrupt,
)
from florilegium.engine.core.image.orientation import turned

_MORE_SUFFIXES = (".mpo", ".hdr", ".pic", ".pam", ".sr", *heif.SUFFIXES)


Parsed = tuple[ImageHeader, Callable[[], np.ndarray]]
"""The header of an image as it is stored, and what decodes its pixels."""


class Format(Protocol):
    """A module that reads one format, or several."""

    def header(self, data: Bytes) -> ImageHeader:
        """Return the size as stored, the orientation and the extension; decode no pixels."""

    def pixels(self, data: Bytes) -> np.ndarray:
        """Return RGB pixels, uint8, (height, width, 3), as stored."""


def read_header(
    data: Bytes, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> ImageHeader:
    """Read the upright size, orientation and format without decoding pixels.

    Raises:
        SampleError: `empty_file`, `too_many_bytes`, `too_many_pixels`, `not_an_image`,
            `missing_package`, or `corrupt_image` for a known format whose header is damaged.
    """
    return _within(data, max_pixels, max_bytes)[0].upright()


def check(data: Bytes, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> ImageHeader:
    """Read the header, as `read_header`, of an image whose pixels can be decoded.

    Raises:
        SampleError: as `read_header` and `decode`.
    """
    header, pixels = _within(data, max_pixels, max_bytes)
    _decoded(header, pixels)
    return header.upright()


def _within(data: Bytes, max_pixels: int, max_bytes: int) -> Parsed:
    """Parse an image that is within limits."""
    if len(data) == 0:
        raise SampleError(EMPTY_FILE, "the file has no bytes")
    if len(data) > max_bytes:
        raise SampleError(TOO_MANY_BYTES, f"{len(data)} bytes, the limit is {max_bytes}")
    header, pixels = _parsed(data)
    check_size(header, max_pixels)
    return header, pixels


def decode(data: Bytes) -> np.ndarray:
    """Decode the first frame to RGB, uint8, shape (height, width, 3), upright, read-only.

    Samples of more than eight bits keep their upper eight by the range that the file declares;
    float images are stretched from their minimum to their maximum; Radiance images, whose light
    is linear, are clipped at 1 and gamma-encoded. Transparent pixels show white. The caller has
    read the header, so the size is known to be within limits.

    Raises:
        SampleError: `corrupt_image` when pixels are missing, `not_an_image` when the format is
            unknown, `out_of_memory`.
    """
    return _decoded(*_parsed(data))


def _decoded(header: ImageHeader, decoder: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        pixels = decoder()
    except SampleError:
        raise
    except MemoryError as error:
        size = f"{header.width}x{header.height}"
        raise SampleError(OUT_OF_MEMORY, f"no memory for the pixels of {size}") from error
    except Exception as error:  # decoders of hostile bytes raise anything
        raise corrupt(f"cannot decode the pixels: {error}") from error
    if pixels.shape != (header.height, header.width, 3):
        raise corrupt(
            f"the header says {header.width}x{header.height} pixels,"
            f" there are {pixels.shape[1]}x{pixels.shape[0]}"
        )
    pixels = turned(pixels, header.orientation)
    pixels.flags.writeable = False
    return pixels


def _parsed(data: Bytes) -> Parsed:
    format = _format_of(data)
    try:
        if format is jpeg:
            return jpeg.parsed(data)
        return format.header(data), partial(format.pixels, data)
    except SampleError:
        raise
    except Exception as error:  # readers of hostile bytes raise anything
        raise corrupt(f"unreadable header: {error}") from error


def _format_of(data: Bytes) -> Format:
    """Return the module that reads these bytes, whatever the file's suffix is."""
    head = bytes(data[:16])
    if head.startswith(jpeg.MAGIC):
        return jpeg
    if head.startswith(png_chunks.MAGIC):
        return png
    if netpbm.is_netpbm(head):
        return netpbm
    if head.startswith(radiance.MAGIC):
        return radiance
    if head.startswith(tiff_directory.MAGICS):
        return tiff
    if head.startswith(gif.MAGICS):
        return gif
    if head.startswith(qoi.MAGIC):
        return qoi
    if webp.is_webp(head):
        return webp
    if head.startswith(jpeg2000.MAGICS):
        return jpeg2000
    brands = brands_of(data)
    if brands & avif.BRANDS:
        return avif
    if brands & heif.BRANDS:
        return heif
    return pillow


@cache
def image_suffixes() -> frozenset[str]:
    """Return the lower-case suffixes of image files, with their dot."""
    names = pillow.formats()  # registers the suffixes, so it comes first
    readable = {suffix for suffix, name in Image.EXTENSION.items() if name in names}
    return frozenset({*readable, *_MORE_SUFFIXES})
