"""From untrusted bytes to upright pixels, decoded once.

Sizes are checked in the header before a pixel is decoded. Pillow reads first; what it does
not know goes to OpenCV. Colour profiles and gamma tags are ignored, as models expect. This
module knows no samples: it raises `SampleError` with a reason.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from engine.errors import SampleError

MAX_PIXELS = 100_000_000
"""Images with more pixels than this are refused before decoding."""
MAX_BYTES = 256 * 1024 * 1024
"""Files with more bytes than this are refused before reading."""

EMPTY_FILE = "empty_file"
TOO_MANY_BYTES = "too_many_bytes"
TOO_MANY_PIXELS = "too_many_pixels"
NOT_AN_IMAGE = "not_an_image"
CORRUPT_IMAGE = "corrupt_image"

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
_COMMON_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")
# These hold no raster, or call an external program.
_REFUSED_FORMATS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
_OPENCV_SUFFIXES = (".hdr", ".pic", ".pfm", ".pam", ".sr", ".ras")


class ImageHeader(NamedTuple):
    """What the header says: size in the upright frame, EXIF orientation 1..8, file extension."""

    width: int
    height: int
    orientation: int
    extension: str


@cache
def image_suffixes() -> frozenset[str]:
    """Return the lower-case suffixes, with their dot, that Pillow or OpenCV read as images."""
    formats = _pillow_formats()  # registers the suffixes, so it comes first
    readable = {suffix for suffix, name in Image.EXTENSION.items() if name in (*formats, "MPO")}
    return frozenset({*readable, *_OPENCV_SUFFIXES})


@cache
def _pillow_formats() -> tuple[str, ...]:
    """Pillow's formats in the order to try, without those that are refused."""
    Image.init()
    return (*_COMMON_FORMATS, *sorted(set(Image.OPEN) - _REFUSED_FORMATS - set(_COMMON_FORMATS)))


def read_header(data: bytes | memoryview, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read size, orientation and format without decoding pixels.

    Raises:
        SampleError: `empty_file`, `too_many_bytes`, `too_many_pixels` or `not_an_image`.
    """
    if len(data) == 0:
        raise SampleError(EMPTY_FILE, "the file has no bytes")
    if len(data) > MAX_BYTES:
        raise SampleError(TOO_MANY_BYTES, f"{len(data)} bytes, the limit is {MAX_BYTES}")
    try:
        with _open(data) as image:
            header = ImageHeader(*image.size, 1, _extension(image))
            _check_size(header, max_pixels)
            if image.format == "PNG" and "exif" not in image.info:
                # Pillow would decode all pixels to get at an eXIf chunk that lies behind them.
                image.info["exif"] = _png_exif(data)
            orientation = _orientation(image)
            is_upright = image.format == "TIFF"  # Pillow turns these itself
    except UnidentifiedImageError:
        header = _opencv_header(data)
        _check_size(header, max_pixels)
        return header
    except SampleError:
        raise
    except Image.DecompressionBombError as error:
        raise SampleError(TOO_MANY_PIXELS, str(error)) from error
    except Exception as error:  # decoders of hostile bytes raise anything
        raise SampleError(NOT_AN_IMAGE, f"unreadable header: {error}") from error
    width, height = header.width, header.height
    if orientation >= 5 and not is_upright:
        width, height = height, width
    return ImageHeader(width, height, orientation, header.extension)


def decode(data: bytes | memoryview) -> np.ndarray:
    """Decode the first frame to RGB, uint8, shape (height, width, 3), upright, read-only.

    Transparent pixels show white. 16-bit images keep their upper eight bits; 32-bit and float
    images are stretched from their minimum to their maximum; Radiance images, whose light is
    linear, are clipped at 1 and gamma-encoded. The caller has read the header, so the size is
    known to be within limits.

    Raises:
        SampleError: `corrupt_image` when the pixels cannot be decoded, `not_an_image` when
            nobody knows the format.
    """
    try:
        with _open(data) as image:
            image.load()
            orientation = _orientation(image)  # now 1 if Pillow turned the pixels itself
            upright = _to_rgb(image)
            if orientation in _TRANSPOSE:
                upright = upright.transpose(_TRANSPOSE[orientation])
            pixels = np.asarray(upright)
    except UnidentifiedImageError:
        pixels = _decode_with_opencv(data)
    except Exception as error:  # decoders of hostile bytes raise anything
        raise SampleError(CORRUPT_IMAGE, f"cannot decode the pixels: {error}") from error
    pixels.flags.writeable = False
    return pixels


def shrunk(pixels: np.ndarray, long_side: int) -> np.ndarray:
    """Return pixels whose long side has so many at most; they are never enlarged."""
    import cv2

    height, width = pixels.shape[:2]
    shrink = long_side / max(height, width)
    if shrink >= 1:
        return pixels
    size_wh = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return np.asarray(cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA))


def _check_size(header: ImageHeader, max_pixels: int) -> None:
    width, height = header.width, header.height
    if width < 1 or height < 1:
        raise SampleError(NOT_AN_IMAGE, f"a size of {width}x{height} pixels")
    if width * height > max_pixels:
        raise SampleError(
            TOO_MANY_PIXELS, f"{width}x{height} pixels, the limit is {max_pixels} in all"
        )


def _open(data: bytes | memoryview) -> Image.Image:
    # Pillow warns of damage that it survives. `catch_warnings` is not safe in threads, a
    # filter is; setting one that is there already changes nothing.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return Image.open(io.BytesIO(data), formats=_pillow_formats())


def _extension(image: Image.Image) -> str:
    name = image.format or "bin"
    return _EXTENSIONS.get(name, name.lower())


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(_EXIF_ORIENTATION, 1)
    return value if value in _TRANSPOSE else 1


def _png_exif(data: bytes | memoryview) -> bytes | None:
    position = 8
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"eXIf":
            return bytes(data[position + 8 : position + 8 + length])
        position += 12 + length
    return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_stretched(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba)
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _stretched(values: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):  # values may be anything, NaN and the largest float too
        floats = values.astype(np.float64)
        np.nan_to_num(floats, copy=False, posinf=0.0, neginf=0.0)
        floats /= 255  # first, as the difference of two large values may overflow
        low, high = float(floats.min()), float(floats.max())
        floats -= low
        floats *= 255 / max(high - low, 1e-300)
        return floats.astype(np.uint8)


def _decode_with_opencv(data: bytes | memoryview) -> np.ndarray:
    header = _opencv_header(data)
    import cv2

    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise SampleError(CORRUPT_IMAGE, f"OpenCV cannot decode it: {error}") from error
    if pixels is None or pixels.shape != (header.height, header.width, 3):
        raise SampleError(CORRUPT_IMAGE, "OpenCV cannot decode it")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    if header.extension == "hdr":
        return (np.nan_to_num(pixels).clip(0, 1) ** (1 / 2.2) * 255).astype(np.uint8)
    return _stretched(pixels)


_RADIANCE = re.compile(rb"#\?(?:RADIANCE|RGBE)\b.*?\n\n-Y (\d{1,9}) \+X (\d{1,9})\n", re.DOTALL)
_PFM = re.compile(rb"P[Ff]\s(\d{1,9})\s(\d{1,9})\s")
_PAM = re.compile(rb"P7\n(?=.*?WIDTH (\d{1,9})\n)(?=.*?HEIGHT (\d{1,9})\n).*?ENDHDR\n", re.DOTALL)
_SUN_MAGIC = b"\x59\xa6\x6a\x95"


def _opencv_header(data: bytes | memoryview) -> ImageHeader:
    """Read the size in the formats that are left to OpenCV, which decodes before it tells."""
    head = bytes(data[:4096])
    if match := _RADIANCE.match(head):
        return ImageHeader(int(match[2]), int(match[1]), 1, "hdr")
    if match := _PFM.match(head):
        return ImageHeader(int(match[1]), int(match[2]), 1, "pfm")
    if match := _PAM.match(head):
        return ImageHeader(int(match[1]), int(match[2]), 1, "pam")
    if head.startswith(_SUN_MAGIC) and len(head) >= 32:
        width, height = struct.unpack_from(">II", head, 4)
        return ImageHeader(width, height, 1, "ras")
    if head.startswith((b"II*\0", b"MM\0*")):
        return _tiff_header(data)
    raise SampleError(NOT_AN_IMAGE, "neither Pillow nor OpenCV knows this format")


def _tiff_header(data: bytes | memoryview) -> ImageHeader:
    """Read the size of a TIFF whose pixels Pillow does not know, such as float RGB."""
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(bytes(data[:8]))
        file = io.BytesIO(data)
        file.seek(directory.next)
        directory.load(file)
        width, height = (
            directory[TiffImagePlugin.IMAGEWIDTH],
            directory[TiffImagePlugin.IMAGELENGTH],
        )
        return ImageHeader(int(width), int(height), 1, "tif")
    except Exception as error:  # decoders of hostile bytes raise anything
        raise SampleError(NOT_AN_IMAGE, f"unreadable header: {error}") from error
