"""What is transparent shows white, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.engine.core.image.files import (
    png,
    png_chunk,
    read_and_decode,
    reason_of,
    saved,
    targa,
    tiff,
)

SIZE = (4, 6)  # height, width; the left half is transparent


def halves(left: tuple[int, ...], right: tuple[int, ...]) -> np.ndarray:
    values = np.empty((*SIZE, len(left)), np.uint64)
    values[:, :3], values[:, 3:] = left, right
    return values


def shows(data: bytes, left: object, right: object) -> None:
    pixels = read_and_decode(data)
    assert (pixels[:, :3] == left).all()
    assert (pixels[:, 3:] == right).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("key", [0, 1])
def test_one_grey_of_a_png_is_transparent(bits: int, key: int) -> None:
    other = 2**bits - 1 if key == 0 else 0
    shown = 255 if key == 0 else 0
    chunk = png_chunk(b"tRNS", key.to_bytes(2, "big"))
    shows(png(halves((key,), (other,)), bits, "grey", chunk), 255, shown)


def test_a_grey_that_has_only_its_upper_eight_bits_in_common_stays() -> None:
    chunk = png_chunk(b"tRNS", (0x7500).to_bytes(2, "big"))
    shows(png(halves((0x7500,), (0x7501,)), 16, "grey", chunk), 255, 0x75)


@pytest.mark.parametrize("bits", [8, 16])
def test_one_colour_of_a_png_is_transparent(bits: int) -> None:
    key, other = (10, 20, 30), (10, 20, 31)
    scale = 2 ** (bits - 8)
    chunk = png_chunk(b"tRNS", (np.array(key) * scale).astype(">u2").tobytes())
    data = png(halves(key, other) * np.uint64(scale), bits, "rgb", chunk)
    shows(data, 255, other)


def test_a_colour_of_sixteen_bits_that_differs_in_its_lower_eight_stays() -> None:
    key, other = (0x0A01, 0x1402, 0x1E03), (0x0A01, 0x1402, 0x1E04)
    chunk = png_chunk(b"tRNS", np.array(key, ">u2").tobytes())
    shows(png(halves(key, other), 16, "rgb", chunk), 255, (0x0A, 0x14, 0x1E))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_has_an_alpha_for_each_colour(bits: int) -> None:
    palette = png_chunk(b"PLTE", bytes([200, 30, 40, 10, 180, 60]))
    data = png(halves((0,), (1,)), bits, "palette", palette, png_chunk(b"tRNS", b"\0"))
    shows(data, 255, (10, 180, 60))
    half = png(halves((0,), (1,)), bits, "palette", palette, png_chunk(b"tRNS", b"\x80"))
    shows(half, (227, 142, 147), (10, 180, 60))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour", ["grey_alpha", "rgb_alpha"])
def test_an_alpha_channel_blends_over_white(colour: str, bits: int) -> None:
    full = 2**bits - 1
    grey = (40 * (full // 255),) * (1 if colour == "grey_alpha" else 3)
    shows(png(halves((*grey, 0), (*grey, full)), bits, colour), 255, 40)
    half = 0x80 * 2 ** (bits - 8)
    shows(png(halves((*grey, half), (*grey, full)), bits, colour), 147, 40)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", [False, True])
def test_the_extra_sample_of_a_tiff_is_alpha_if_it_says_so(bits: int, planar: bool) -> None:
    full = 2**bits - 1
    colour = tuple(value * (full // 255) for value in (200, 30, 40))
    values = halves((*colour, 0), (*colour, full))
    shows(tiff(values, bits, extra=2, planar=planar), 255, (200, 30, 40))
    shows(tiff(values, bits, extra=0, planar=planar), (200, 30, 40), (200, 30, 40))
    shows(tiff(values, bits, planar=planar), (200, 30, 40), (200, 30, 40))
    grey = halves((colour[0], 0), (colour[0], full))
    shows(tiff(grey, bits, extra=2, planar=planar), 255, 200)


def test_colours_that_were_multiplied_by_alpha_are_not_multiplied_again() -> None:
    values = halves((100, 15, 20, 128), (200, 30, 40, 255))
    shows(tiff(values, 8, extra=1), (227, 142, 147), (200, 30, 40))


BGRA = bytes([40, 30, 200, 0]) * 3 + bytes([40, 30, 200, 255]) * 3


@pytest.mark.parametrize(
    ("bits", "attributes", "left"),
    [
        (8, None, (255, 255, 255)),
        (8, 3, (255, 255, 255)),
        (0, None, (200, 30, 40)),
        (8, 0, (200, 30, 40)),
        (8, 1, (200, 30, 40)),
        (8, 2, (200, 30, 40)),
    ],
)
def test_a_targa_is_transparent_if_it_says_so(
    bits: int, attributes: int | None, left: tuple[int, int, int]
) -> None:
    data = targa(BGRA * 4, (6, 4), 32, 0x20 | bits, attributes)
    shows(data, left, (200, 30, 40))


@pytest.mark.parametrize("bit", [0, 1])
def test_a_targa_of_sixteen_bits_without_attribute_bits_is_opaque(bit: int) -> None:
    value = (bit << 15 | 31 << 10).to_bytes(2, "little")
    shows(targa(value * 24, (6, 4), 16, 0x20, None), (255, 0, 0), (255, 0, 0))


@pytest.mark.parametrize(("format", "options"), [
    ("WEBP", {"lossless": True}), ("TGA", {}), ("TIFF", {}), ("PNG", {}), ("ICO", {}),
    ("JPEG2000", {}), ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
])  # fmt: skip
def test_every_format_with_alpha_shows_white(format: str, options: dict[str, object]) -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, 16:] = (200, 30, 40, 255)
    shown = read_and_decode(saved(Image.fromarray(pixels), format, **options)).astype(int)
    near = 3 if format == "AVIF" else 0
    assert np.abs(shown[:, :14] - 255).max() <= near
    assert np.abs(shown[:, 18:] - (200, 30, 40)).max() <= near


def test_a_gif_is_transparent_in_one_colour_and_outside_of_its_picture() -> None:
    image = Image.new("P", (6, 4))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (3, 0, 6, 4))
    data = saved(image, "GIF", transparency=0)
    shows(data, 255, (0, 0, 255))
    opaque = saved(image, "GIF")
    shows(opaque, (255, 0, 0), (0, 0, 255))
    at = opaque.index(b",") + 1
    assert opaque[at : at + 8] == bytes([0, 0, 0, 0, 6, 0, 4, 0])
    wider = opaque[:6] + bytes([8, 0, 5, 0]) + opaque[10:]  # a canvas of 8x5
    pixels = read_and_decode(wider)
    assert pixels.shape == (5, 8, 3)
    assert (pixels[4] == 255).all()
    assert (pixels[:, 6:] == 255).all()
    assert (pixels[:4, :3] == (255, 0, 0)).all()


def test_a_pam_with_alpha_blends_over_white() -> None:
    head = b"P7\nWIDTH 6\nHEIGHT 4\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
    values = halves((200, 30, 40, 0), (200, 30, 40, 255)).astype(np.uint8)
    shows(head + values.tobytes(), 255, (200, 30, 40))


def test_transparency_that_is_damaged_is_not_guessed() -> None:
    chunk = bytearray(png_chunk(b"tRNS", b"\0\0"))
    chunk[-1] ^= 1
    assert reason_of(png(halves((0,), (9,)), 8, "grey", bytes(chunk))) == "corrupt_image"
