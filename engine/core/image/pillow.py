"""The formats that Pillow reads without further checks, and how its modes become RGB."""

from __future__ import annotations

import io
import warnings
from functools import cache

import numpy as np
from PIL import Image, UnidentifiedImageError

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image import targa
from florilegium.engine.core.image.header import (
    NOT_AN_IMAGE,
    TOO_MANY_PIXELS,
    Bytes,
    ImageHeader,
    corrupt,
)
from florilegium.engine.core.image.orientation import orientation_of
from florilegium.engine.core.image.tones import as_rgb, eight_bits, over_white, stretched, unsigned

_HEAD = 16
# These have no raster, call an external program, or have signs and ranges that Pillow ignores.
_REFUSED = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MCIDAS", "MPEG", "WMF"}


@cache
def formats() -> tuple[str, ...]:
    """Return the names of Pillow's formats, without those that are refused."""
    Image.init()
    return tuple(sorted(set(Image.OPEN) - _REFUSED))


def header(data: Bytes) -> ImageHeader:
    """Read size and orientation; the pixels stay undecoded."""
    with opened(data) as image:
        name = image.format or "bin"
        orientation = orientation_of(image.info.get("exif"), image.info.get("xmp"))
        return ImageHeader(*image.size, orientation, name.lower())


def pixels(data: Bytes) -> np.ndarray:
    """Decode to RGB, uint8, as stored."""
    with opened(data) as image:
        image.load()
        if image.format == "TGA":
            return targa.rgb(image, data)
        return rgb(image)


def opened(data: Bytes, *names: str) -> Image.Image:
    """Open an image in one of Pillow's formats, all of them when none is named.

    Raises:
        SampleError: `not_an_image` when Pillow does not know it, `too_many_pixels`.
    """
    # Pillow warns of damage that it survives. `catch_warnings` is not safe in threads, a
    # filter is; setting one that is there already changes nothing.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        return Image.open(io.BytesIO(data), formats=names or formats())
    except UnidentifiedImageError as error:
        raise _unknown(bytes(data[:_HEAD]), names or formats()) from error
    except Image.DecompressionBombError as error:
        raise SampleError(TOO_MANY_PIXELS, str(error)) from error


def _unknown(head: bytes, names: tuple[str, ...]) -> SampleError:
    """Return the error of a file that Pillow cannot open: a damaged header, or no image at all."""
    accepts = ((name, Image.OPEN[name][1]) for name in names)
    is_short = len(head) < _HEAD
    known = [name for name, accept in accepts if accept and not is_short and accept(head) is True]
    if known:
        return corrupt(f"it begins like {known[0]}, but its header is damaged or cut")
    return SampleError(NOT_AN_IMAGE, "no format of images that is known here")


def rgb(image: Image.Image) -> np.ndarray:
    """Return a loaded image of any of Pillow's modes as RGB over white."""
    if image.mode.startswith("I;16"):
        return as_rgb(eight_bits(np.asarray(image), 65535))
    if image.mode == "I":
        return as_rgb(eight_bits(unsigned(np.asarray(image)), 2**32 - 1))
    if image.mode == "F":
        return as_rgb(stretched(np.asarray(image)))
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return over_white(rgba[..., :3], rgba[..., 3])
    return np.asarray(image.convert("RGB"))
