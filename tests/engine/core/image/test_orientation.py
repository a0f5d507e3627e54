"""Orientation wherever a format keeps it: one frame for header and pixels."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from florilegium.engine.core.image.orientation import exif_orientation, turned, xmp_orientation
from florilegium.engine.core.image.reading import read_header
from tests.engine.core.image.files import (
    exif,
    png_chunk,
    read_and_decode,
    riff,
    riff_chunks,
    saved,
    tiff,
    with_segments,
    xmp,
)

STORED = np.zeros((40, 64, 3), np.uint8)
STORED[:, :32] = (200, 30, 40)
STORED[:16, 32:] = (20, 180, 60)
IMAGE = Image.fromarray(STORED)
XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"


def assert_upright(data: bytes, orientation: int, tolerance: int = 0) -> None:
    pixels = read_and_decode(data).astype(int)
    expected = turned(STORED, orientation)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() <= tolerance
    assert read_header(data).orientation == orientation


def png_with(*chunks: bytes, behind: bool) -> bytes:
    data = saved(IMAGE, "PNG")
    at = data.index(b"IEND") - 4 if behind else data.index(b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


def raw_profile(name: str, body: bytes, *, packed: bool) -> bytes:
    text = f"\n{name}\n{len(body):8}\n{body.hex()}\n".encode()
    keyword = f"Raw profile type {name}".encode() + b"\0"
    if packed:
        return png_chunk(b"zTXt", keyword + b"\0" + zlib.compress(text))
    return png_chunk(b"tEXt", keyword + text)


def itxt(body: bytes, *, packed: bool = False) -> bytes:
    text = zlib.compress(body) if packed else body
    head = b"XML:com.adobe.xmp\0" + bytes([packed, 0]) + b"\0\0"
    return png_chunk(b"iTXt", head + text)


PNG_CHUNKS = {
    "eXIf": lambda n: png_chunk(b"eXIf", exif(n)),
    "XMP": lambda n: itxt(xmp(n)),
    "XMP as an element": lambda n: itxt(xmp(n, element=True)),
    "XMP with another prefix": lambda n: itxt(xmp(n, prefix="t1")),
    "XMP, compressed": lambda n: itxt(xmp(n), packed=True),
    "raw profile exif": lambda n: raw_profile("exif", b"Exif\0\0" + exif(n), packed=False),
    "raw profile exif, compressed": lambda n: raw_profile("exif", exif(n), packed=True),
    "raw profile APP1": lambda n: raw_profile("APP1", b"Exif\0\0" + exif(n), packed=True),
    "raw profile APP1, XMP": lambda n: raw_profile("APP1", XMP_IN_JPEG + xmp(n), packed=True),
    "raw profile xmp": lambda n: raw_profile("xmp", xmp(n), packed=False),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("name", PNG_CHUNKS)
def test_a_png_is_turned_by_every_block_before_and_behind_its_pixels(
    name: str, behind: bool, orientation: int
) -> None:
    assert_upright(png_with(PNG_CHUNKS[name](orientation), behind=behind), orientation)


JPEG = saved(IMAGE, "JPEG", quality=95, subsampling=0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("element", [False, True])
def test_a_jpeg_is_turned_by_its_xmp(element: bool, orientation: int) -> None:
    data = with_segments(JPEG, XMP_IN_JPEG + xmp(orientation, element=element))
    assert_upright(data, orientation, 3)


@pytest.mark.parametrize("kinds", [(b"EXIF",), (b"XMP ",), (b"XMP ", b"EXIF")])
@pytest.mark.parametrize("flagged", [True, False])
def test_a_webp_is_turned_by_chunks_behind_its_pixels(
    kinds: tuple[bytes, ...], flagged: bool
) -> None:
    blocks = {b"EXIF": exif(6), b"XMP ": xmp(6 if len(kinds) == 1 else 3)}
    picture = riff_chunks(saved(IMAGE, "WEBP", lossless=True))
    flags = 0x0C if flagged else 0
    canvas = bytes([flags, 0, 0, 0]) + struct.pack("<I", 63)[:3] + struct.pack("<I", 39)[:3]
    data = riff((b"VP8X", canvas), *picture, *((kind, blocks[kind]) for kind in kinds))
    assert_upright(data, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "int16", "12 bits", "palette"])
def test_a_tiff_is_turned_whatever_its_samples(kind: str, orientation: int) -> None:
    if kind == "palette":
        colours = ((200, 20, 0), (30, 180, 0), (40, 60, 0))
        table = tuple(257 * value for row in colours for value in row) + (0,) * 3
        indices = np.where(STORED[..., 0] == 200, 0, np.where(STORED[..., 1] == 180, 1, 2))
        stored = indices[..., None].astype(np.uint64)
        data = tiff(stored, 2, photometric=3, colours=_padded(table), orientation=orientation)
    elif kind == "float32":
        data = tiff(STORED.astype(np.float32), 32, kind=3, orientation=orientation)
        pixels = read_and_decode(data)
        expected = turned((STORED / 200.0 * 255).astype(np.uint8), orientation)
        assert np.abs(pixels.astype(int) - expected).max() <= 1
        return
    elif kind == "int16":
        data = tiff(
            (STORED.astype(np.int32) * 257 - 32768).astype(np.int16), 16, kind=2,
            orientation=orientation,
        )  # fmt: skip
    else:
        bits = {"uint8": 8, "uint16": 16, "12 bits": 12}[kind]
        stored = STORED.astype(np.uint64) << np.uint64(bits - 8)
        data = tiff(stored, bits, orientation=orientation)
    assert_upright(data, orientation)


def _padded(table: tuple[int, ...]) -> tuple[int, ...]:
    """Spread three rows of three colours over three rows of four."""
    rows = [table[at : at + 3] for at in (0, 3, 6)]
    return tuple(value for row in rows for value in (*row, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "raw"])
def test_a_tiff_is_turned_whoever_decodes_it(compression: str, orientation: int) -> None:
    block = Image.Exif()
    block[0x0112] = orientation
    data = saved(IMAGE, "TIFF", compression=compression, exif=block)
    assert_upright(data, orientation, 5 if compression == "jpeg" else 0)


def test_a_tiff_is_turned_by_its_xmp_when_the_tag_is_silent() -> None:
    stored = STORED.astype(np.uint64)
    assert_upright(tiff(stored, 8, xmp=xmp(6)), 6)
    assert_upright(tiff(stored, 8, xmp=xmp(6), orientation=3), 3)
    assert_upright(tiff(stored, 8, xmp=xmp(6), orientation=1), 1)
    assert_upright(tiff(stored, 8, xmp=xmp(6), orientation=0), 6)


def test_a_gif_is_turned_by_its_xmp() -> None:
    data = saved(IMAGE.quantize(8), "GIF")
    at = data.index(b",")
    packet = b"!\xff\x0bXMP DataXMP" + xmp(6) + b"\x01" + bytes(range(255, -1, -1)) + b"\0"
    assert_upright(data[:at] + packet + data[at:], 6)


def test_a_jpeg_2000_is_turned_by_a_box() -> None:
    data = saved(IMAGE, "JPEG2000")
    body = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + xmp(6)
    box = struct.pack(">I4s", 8 + len(body), b"uuid") + body
    at = data.index(b"jp2c") - 4
    assert_upright(data[:at] + box + data[at:], 6)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_turned_once(orientation: int) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    block = Image.Exif()
    block[0x0112] = orientation
    buffer = io.BytesIO()
    pillow_heif.from_pillow(IMAGE).save(buffer, quality=-1, chroma=444, exif=block.tobytes())
    pixels = read_and_decode(buffer.getvalue()).astype(int)
    expected = turned(STORED, orientation)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() <= 2


def test_exif_wins_over_xmp() -> None:
    blocks = (b"Exif\0\0" + exif(3), XMP_IN_JPEG + xmp(6))
    assert_upright(with_segments(JPEG, *blocks), 3, 3)
    assert_upright(with_segments(JPEG, *reversed(blocks)), 3, 3)
    assert_upright(with_segments(JPEG, b"Exif\0\0" + exif(1), XMP_IN_JPEG + xmp(6)), 1, 3)
    chunks = (itxt(xmp(6)), png_chunk(b"eXIf", exif(3)))
    assert_upright(png_with(*chunks, behind=True), 3)


@pytest.mark.parametrize("value", [0, 9, 99])
def test_an_exif_orientation_that_does_not_exist_leaves_it_to_the_xmp(value: int) -> None:
    data = with_segments(JPEG, b"Exif\0\0" + exif(value), XMP_IN_JPEG + xmp(6))
    assert_upright(data, 6, 3)


@pytest.mark.parametrize("length", range(0, 26))
def test_exif_that_is_cut_says_nothing_or_the_truth(length: int) -> None:
    assert exif_orientation(exif(6)[:length]) in (None, 6)
    assert_upright(with_segments(JPEG, b"Exif\0\0" + exif(6)[:length]), 1 if length < 20 else 6, 3)


def test_exif_in_either_byte_order_is_read() -> None:
    for order, magic in (("<", b"II"), (">", b"MM")):
        block = magic + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, 8, 0, 0)
        assert exif_orientation(block) == 8
        assert exif_orientation(b"Exif\0\0" + block) == 8


def test_xmp_in_utf_16_is_read() -> None:
    assert xmp_orientation(xmp(6).decode().encode("utf-16")) == 6


def test_xmp_that_says_nothing_of_orientation_is_silent() -> None:
    assert xmp_orientation(b"<x:xmpmeta>tiff:Orientation</x:xmpmeta>") is None
    assert xmp_orientation(xmp(6).replace(b"Orientation", b"ResolutionUnit")) is None
