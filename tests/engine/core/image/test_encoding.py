"""What may be published as it is, and what is encoded once."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.image.encoding import encode_jpeg, encode_png, is_upright_baseline_jpeg
from florilegium.engine.core.image.reading import decode
from tests.engine.core.image.files import exif, saved, with_segments, xmp

_ROWS, _COLUMNS = np.mgrid[:48, :64]
PIXELS = np.stack([_COLUMNS * 4, _ROWS * 5, 255 - _COLUMNS * 2], axis=2).astype(np.uint8)
IMAGE = Image.fromarray(PIXELS)
PLAIN = saved(IMAGE, "JPEG", quality=90)
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def adobe(transform: int) -> bytes:
    return b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])


PUBLISHED = {
    "plain": PLAIN,
    "grey": saved(IMAGE.convert("L"), "JPEG"),
    "optimized, with restarts": saved(IMAGE, "JPEG", optimize=True, restart_marker_rows=1),
    "with a profile and a comment": saved(IMAGE, "JPEG", icc_profile=bytes(3000), comment=b"hello"),
    "EXIF that says upright": with_segments(PLAIN, b"Exif\0\0" + exif(1)),
    "XMP that says upright": with_segments(PLAIN, XMP + xmp(1)),
    "XMP that is silent": with_segments(PLAIN, XMP + b"<x:xmpmeta/>"),
    "EXIF that is noise": with_segments(PLAIN, b"Exif\0\0" + bytes(range(200))),
    "bytes behind the end": PLAIN + b"more",
    "several pictures": saved(
        IMAGE, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")]
    ),
    "Adobe's word for YCbCr": PLAIN[:20] + adobe(1) + PLAIN[20:],
}
ENCODED = {
    "progressive": saved(IMAGE, "JPEG", progressive=True),
    "CMYK": saved(IMAGE.convert("CMYK"), "JPEG"),
    "stored as RGB": saved(IMAGE, "JPEG", keep_rgb=True),
    "Adobe's word for RGB": PLAIN[:20] + adobe(0) + PLAIN[20:],
    "EXIF turns it": with_segments(PLAIN, b"Exif\0\0" + exif(6)),
    "XMP turns it": with_segments(PLAIN, XMP + xmp(6)),
    "XMP turns it, EXIF does not": with_segments(PLAIN, b"Exif\0\0" + exif(1), XMP + xmp(6)),
    "the second EXIF turns it": with_segments(PLAIN, b"Exif\0\0" + exif(1), b"Exif\0\0" + exif(6)),
    "no end marker": PLAIN[:-2],
    "stray bytes": PLAIN[:20] + b"abc" + PLAIN[20:],
    "PNG": saved(IMAGE, "PNG"),
    "WebP": saved(IMAGE, "WEBP"),
    "nothing": b"",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_upright_baseline_jpeg_may_be_published_as_it_is(name: str) -> None:
    data = PUBLISHED[name]
    assert is_upright_baseline_jpeg(data)
    pixels = decode(data)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image.convert("RGB")), pixels)
    with_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(with_opencv.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("name", ENCODED)
def test_everything_else_is_encoded(name: str) -> None:
    assert not is_upright_baseline_jpeg(ENCODED[name])


def test_bytes_in_shared_memory_are_judged_like_bytes() -> None:
    assert is_upright_baseline_jpeg(np.frombuffer(PLAIN, np.uint8).data)


def test_a_photograph_may_be_published_as_it_is(photographs: dict[str, Path]) -> None:
    for path in photographs.values():
        assert is_upright_baseline_jpeg(encode_jpeg(decode(path.read_bytes())))


def test_an_encoded_jpeg_keeps_its_colours_and_no_metadata() -> None:
    data = encode_jpeg(PIXELS)
    assert data == encode_jpeg(PIXELS.copy())
    assert is_upright_baseline_jpeg(data)
    assert np.abs(decode(data).astype(int) - PIXELS).mean() < 1
    with Image.open(io.BytesIO(data)) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
        assert not image.getexif()
        assert "icc_profile" not in image.info


def test_an_encoded_png_keeps_every_pixel() -> None:
    data = encode_png(PIXELS)
    assert data == encode_png(PIXELS.copy())
    assert np.array_equal(decode(data), PIXELS)
