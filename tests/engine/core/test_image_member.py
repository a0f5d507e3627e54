from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.image.reading import decode, read_header
from florilegium.engine.core.image_member import image_member


def photo(size_wh: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return a picture with its left half red and its right half green."""
    image = Image.new("RGB", size_wh, "green")
    image.paste("red", (0, 0, size_wh[0] // 2, size_wh[1]))
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_an_upright_baseline_jpeg_stays_byte_for_byte() -> None:
    data = saved(photo(), "JPEG", quality=80)
    assert image_member(data, kind="jpg", extension="jpg") == ("jpg", data)


@pytest.mark.parametrize(
    "data",
    [
        saved(photo(), "JPEG", exif=turned()),
        saved(photo(), "JPEG", progressive=True),
        saved(photo().convert("CMYK"), "JPEG"),
        saved(photo(), "PNG"),
        saved(photo(), "PNG", exif=turned()),
        saved(photo(), "TIFF"),
        saved(photo(), "WEBP", lossless=True),
        saved(photo(), "GIF"),
        saved(photo().convert("RGBA"), "PNG"),
        saved(Image.fromarray(np.full((48, 64), 30000, np.uint16)), "PNG"),
    ],
)
def test_anything_else_is_encoded_once_as_an_upright_jpeg_that_pillow_reads(data: bytes) -> None:
    pixels, extension = decode(data), read_header(data).extension
    name, member = image_member(data, kind="jpg", extension=extension)
    assert name == "jpg"
    with Image.open(io.BytesIO(member)) as image:
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert image.getexif().get(0x0112, 1) == 1
        assert image.size == pixels.shape[1::-1]
        # 4:4:4: the colours of the two halves do not run into each other.
        assert np.abs(np.asarray(image).astype(int) - pixels).mean() < 2
    assert image_member(data, kind="jpg", extension=extension).data == member
    assert image_member(member, kind="jpg", extension="jpg").data == member


def test_a_png_member_has_the_very_pixels() -> None:
    data = saved(photo(), "JPEG", exif=turned())
    name, member = image_member(data, kind="png", extension="jpg")
    assert name == "png"
    with Image.open(io.BytesIO(member)) as image:
        assert np.array_equal(np.asarray(image), decode(data))


def test_an_original_member_has_the_bytes_of_the_source() -> None:
    data = saved(photo(), "TIFF")
    assert image_member(data, kind="original", extension="tif") == ("tif", data)
