"""AVIF, decoded by Pillow, which reports the rotation of the file as EXIF orientation."""

from __future__ import annotations

import numpy as np

from florilegium.engine.core.image import pillow
from florilegium.engine.core.image.boxes import check_media_data
from florilegium.engine.core.image.header import Bytes, ImageHeader
from florilegium.engine.core.image.orientation import EXIF_MAGIC, exif_orientation

BRANDS = {b"avif", b"avis"}


def header(data: Bytes) -> ImageHeader:
    """Read size and orientation."""
    with pillow.opened(data, "AVIF") as image:
        return ImageHeader(*image.size, exif_orientation(image.info.get("exif")) or 1, "avif")


def pixels(data: Bytes) -> np.ndarray:
    """Decode the first picture to RGB, uint8, as stored."""
    with pillow.opened(data, "AVIF") as image:
        blocks = [image.info.get(name, b"") for name in ("exif", "xmp", "icc_profile")]
        check_media_data(data, [block.removeprefix(EXIF_MAGIC) for block in blocks if block])
        image.load()
        return pillow.rgb(image)
