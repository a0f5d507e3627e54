"""From untrusted bytes to upright pixels, decoded once.

Sizes are checked in the header before a pixel is decoded. Pillow reads first; what it does
not know goes to OpenCV. This module knows no samples: it raises `SampleError` with a reason.
"""

from __future__ import annotations

import io
import os
import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from engine.errors import SampleError

MAX_PIXELS = 100_000_000
"""Images with more pixels than this are refused before decoding."""
MAX_BYTES = 256 * 1024 * 1024
"""Files with more bytes than this are refused before reading."""

# OpenCV reads its own limit once, when it is first imported.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
# The limit above replaces Pillow's own, which only warns.
Image.MAX_IMAGE_PIXELS = None

_EXIF_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXTENSIONS = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "JPEG2000": "jp2"}


class ImageHeader(NamedTuple):
    """What the header says: size in the upright frame, EXIF orientation 1..8, file extension."""

    width: int
    height: int
    orientation: int
    extension: str


def image_suffixes() -> frozenset[str]:
    """Return the lower-case suffixes, with their dot, that Pillow or OpenCV read as images."""
    readable = {suffix for suffix, name in Image.EXTENSION.items() if name in _pillow_formats()}
    return frozenset(readable | {".hdr", ".pic", ".sr", ".ras", ".pfm", ".exr"})


@cache
def _pillow_formats() -> tuple[str, ...]:
    """Pillow's formats without those that hold no raster or call an external program."""
    Image.init()
    return tuple(sorted(set(Image.OPEN) - {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}))


def _open(data: bytes | memoryview) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=_pillow_formats())


def read_header(data: bytes | memoryview, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read size, orientation and format without decoding pixels.

    Raises:
        SampleError: `empty_file`, `too_many_bytes`, `too_many_pixels` or `not_an_image`.
    """
    if len(data) == 0:
        raise SampleError("empty_file", "the file has no bytes")
    if len(data) > MAX_BYTES:
        raise SampleError("too_many_bytes", f"{len(data)} bytes, the limit is {MAX_BYTES}")
    try:
        with _quiet(), _open(data) as image:
            orientation = _orientation(image)
            width, height = image.size
            extension = _EXTENSIONS.get(image.format or "", (image.format or "bin").lower())
    except UnidentifiedImageError:
        pixels = _decode_with_opencv(data)
        return ImageHeader(pixels.shape[1], pixels.shape[0], 1, _opencv_extension(data))
    except Exception as error:  # decoders of hostile bytes raise anything
        raise SampleError("not_an_image", f"unreadable header: {error}") from error
    if width * height > max_pixels:
        raise SampleError(
            "too_many_pixels", f"{width}x{height} pixels, the limit is {max_pixels} in all"
        )
    if width < 1 or height < 1:
        raise SampleError("not_an_image", f"a size of {width}x{height} pixels")
    if orientation >= 5:
        width, height = height, width
    return ImageHeader(width, height, orientation, extension)


def decode(data: bytes | memoryview) -> np.ndarray:
    """Decode the first frame to RGB, uint8, shape (height, width, 3), upright, read-only.

    Transparent pixels show white. 16-bit images keep their upper eight bits; 32-bit and float
    images are stretched from their minimum to their maximum. The caller has read the header,
    so the size is known to be within limits.

    Raises:
        SampleError: `corrupt_image` when the pixels cannot be decoded.
    """
    try:
        with _quiet(), _open(data) as image:
            orientation = _orientation(image)
            upright = _to_rgb(image)
            if orientation in _TRANSPOSE:
                upright = upright.transpose(_TRANSPOSE[orientation])
            pixels = np.asarray(upright)
    except UnidentifiedImageError:
        pixels = _decode_with_opencv(data)
    except Exception as error:  # decoders of hostile bytes raise anything
        raise SampleError("corrupt_image", f"cannot decode the pixels: {error}") from error
    pixels.flags.writeable = False
    return pixels


def _quiet() -> warnings.catch_warnings:
    return warnings.catch_warnings(action="ignore")


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(_EXIF_ORIENTATION, 1)
    return value if value in _TRANSPOSE else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_stretched(np.asarray(image, dtype=np.float64))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _stretched(values: np.ndarray) -> np.ndarray:
    finite = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    return np.asarray((finite - low) * (255.0 / max(high - low, 1e-12)), dtype=np.uint8)


def _decode_with_opencv(data: bytes | memoryview) -> np.ndarray:
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise SampleError("not_an_image", f"neither Pillow nor OpenCV reads it: {error}") from error
    if pixels is None:
        raise SampleError("not_an_image", "neither Pillow nor OpenCV knows this format")
    return pixels


def _opencv_extension(data: bytes | memoryview) -> str:
    head = bytes(data[:11])
    if head.startswith((b"#?RADIANCE", b"#?RGBE")):
        return "hdr"
    return "exr" if head.startswith(b"\x76\x2f\x31\x01") else "bin"
