"""HEIC and HEIF, which the optional package pillow-heif decodes and turns upright."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.boxes import check_media_data
from florilegium.engine.core.image.header import MISSING_PACKAGE, NOT_AN_IMAGE, Bytes, ImageHeader
from florilegium.engine.core.image.orientation import EXIF_MAGIC
from florilegium.engine.core.image.tones import (
    as_rgb,
    eight_bits,
    over_white,
    premultiplied_over_white,
)

if TYPE_CHECKING:
    from pillow_heif import HeifFile

BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
SUFFIXES = (".heic", ".heif", ".hif")


def header(data: Bytes) -> ImageHeader:
    """Read the size of the primary picture, upright."""
    width, height = _opened(data).size
    return ImageHeader(width, height, 1, "heic")


def pixels(data: Bytes) -> np.ndarray:
    """Decode the primary picture to RGB, uint8, upright."""
    picture = _opened(data)
    blocks = [block["data"] for block in picture.info.get("metadata", [])]
    blocks += [picture.info.get(name) or b"" for name in ("exif", "xmp", "icc_profile")]
    check_media_data(data, [block.removeprefix(EXIF_MAGIC) for block in blocks if block])
    samples = np.asarray(picture)
    shown = samples if samples.dtype == np.uint8 else eight_bits(samples, 65535)
    if picture.has_alpha:
        blend = premultiplied_over_white if picture.premultiplied_alpha else over_white
        return as_rgb(blend(shown[..., :-1], shown[..., -1]))
    return as_rgb(shown)


def _opened(data: Bytes) -> HeifFile:
    try:
        import pillow_heif
    except ImportError as error:
        raise SampleError(
            MISSING_PACKAGE, "HEIC needs a package: pip install 'florilegium[heic]'"
        ) from error
    try:
        return pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    except Exception as error:  # decoders of hostile bytes raise anything
        raise SampleError(NOT_AN_IMAGE, f"unreadable HEIC file: {error}") from error
