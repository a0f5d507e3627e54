"""The header of an image, its limits, and the errors of refused images."""

from __future__ import annotations

from typing import NamedTuple

from florilegium.engine.core.errors import SampleError

PIXELS_VERSION = 2
"""To be raised when the same bytes decode to other pixels: all samples are then new."""
MAX_PIXELS = 100_000_000
"""Images with more pixels than this are refused before decoding."""
MAX_BYTES = 256 * 1024 * 1024
"""Files with more bytes than this are refused before reading."""

EMPTY_FILE = "empty_file"
TOO_MANY_BYTES = "too_many_bytes"
TOO_MANY_PIXELS = "too_many_pixels"
NOT_AN_IMAGE = "not_an_image"
CORRUPT_IMAGE = "corrupt_image"
OUT_OF_MEMORY = "out_of_memory"
MISSING_PACKAGE = "missing_package"

Bytes = bytes | memoryview


class ImageHeader(NamedTuple):
    """Size in pixels, orientation 1..8 as EXIF counts it, file extension without its dot.

    `read_header` gives the size in the upright frame, a format's own reader the size as stored.
    """

    width: int
    height: int
    orientation: int
    extension: str

    def upright(self) -> ImageHeader:
        """Return the header with the size of the upright image."""
        if self.orientation < 5:
            return self
        return self._replace(width=self.height, height=self.width)


def corrupt(message: str) -> SampleError:
    """Return the error of an image that lacks pixels."""
    return SampleError(CORRUPT_IMAGE, message)


def check_size(header: ImageHeader, max_pixels: int) -> None:
    """Raise `SampleError` when an image has no pixels, or more than `max_pixels`."""
    width, height = header.width, header.height
    if width < 1 or height < 1:
        raise SampleError(NOT_AN_IMAGE, f"a size of {width}x{height} pixels")
    if width * height > max_pixels:
        raise SampleError(
            TOO_MANY_PIXELS, f"{width}x{height} pixels, the limit is {max_pixels} in all"
        )
