"""Depth: the upper eight bits of the range that a file declares, the same in every format."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from tests.engine.core.image.files import packed, png, read_and_decode, reason_of, saved, tiff

RNG = np.random.default_rng(5)
SHAPE = (7, 9)


def samples(bits: int, channels: int) -> np.ndarray:
    values = RNG.integers(0, 2**bits, (*SHAPE, channels), dtype=np.uint64)
    values[0, 0], values[0, 1] = 0, 2**bits - 1
    return values


def upper_eight(values: np.ndarray, bits: int) -> np.ndarray:
    shown = values >> np.uint64(bits - 8) if bits >= 8 else values * (255 // (2**bits - 1))
    return np.broadcast_to(shown.astype(np.uint8), (*SHAPE, 3))


WHOLE_BYTES = (8, 16, 32, 64)
LAYOUTS = [
    *product((1, 2, 4, 8, 10, 12, 14, 16, 32, 64), ("plain", "planar", "deflate")),
    *((bits, "predictor") for bits in WHOLE_BYTES),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("bits", "layout"), LAYOUTS)
def test_a_tiff_keeps_its_upper_eight_bits(
    bits: int, channels: int, layout: str, order: str
) -> None:
    values = samples(bits, channels)
    stored = values.astype(f"u{bits // 8}") if layout == "predictor" else values
    data = tiff(
        stored,
        bits,
        order=order,
        planar=layout == "planar",
        deflate=layout in ("deflate", "predictor"),
        predictor=layout == "predictor",
    )
    assert np.array_equal(read_and_decode(data), upper_eight(values, bits))


@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16])
def test_white_is_zero_where_a_tiff_says_so(bits: int) -> None:
    values = samples(bits, 1)
    data = tiff(values, bits, photometric=0)
    assert np.array_equal(read_and_decode(data), 255 - upper_eight(values, bits))


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_samples_go_from_the_smallest_to_the_largest(bits: int) -> None:
    values = samples(bits, 1)
    signed = (values.astype(np.int64) - 2 ** (bits - 1)).astype(f"i{bits // 8}")
    assert np.array_equal(read_and_decode(tiff(signed, bits, kind=2)), upper_eight(values, bits))


@pytest.mark.parametrize("wide", [True, False])
def test_a_tiff_palette_has_sixteen_bits_or_eight(wide: bool) -> None:
    colours = RNG.integers(0, 256, (3, 16))
    data = tiff(
        indices := samples(4, 1), 4, photometric=3,
        colours=tuple(map(int, (colours * 257 if wide else colours).ravel())),
    )  # fmt: skip
    assert np.array_equal(read_and_decode(data), colours.T[indices[..., 0].astype(int)])


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_sixteen_bits_come_out_of_every_compression(compression: str) -> None:
    values = samples(16, 1)
    image = Image.fromarray(values[..., 0].astype(np.uint16))
    data = saved(image, "TIFF", compression=compression)
    assert np.array_equal(read_and_decode(data), upper_eight(values, 16))


@pytest.mark.parametrize(
    ("bits", "colour"), [*product((1, 2, 4, 8, 16), ["grey"]), (8, "rgb"), (16, "rgb")]
)
def test_a_png_keeps_its_upper_eight_bits(bits: int, colour: str) -> None:
    values = samples(bits, 3 if colour == "rgb" else 1)
    assert np.array_equal(read_and_decode(png(values, bits, colour)), upper_eight(values, bits))


@pytest.mark.parametrize("maximum", [1, 3, 15, 100, 255, 256, 300, 1000, 1023, 4095, 65535])
@pytest.mark.parametrize("letters", ["P2", "P3", "P5", "P6", "P7"])
def test_a_portable_map_goes_by_the_largest_value_it_declares(letters: str, maximum: int) -> None:
    channels = 3 if letters in ("P3", "P6", "P7") else 1
    values = RNG.integers(0, maximum + 1, (*SHAPE, channels))
    values[0, 0], values[0, 1] = 0, maximum
    height, width = SHAPE
    if letters == "P7":
        head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH 3\nMAXVAL {maximum}\nENDHDR\n".encode()
    else:
        head = f"{letters}\n# a comment\n{width} {height}\n{maximum}\n".encode()
    if letters in ("P2", "P3"):
        body = b"# here too\n" + b" ".join(str(value).encode() for value in values.ravel())
    else:
        body = packed(values, 8 if maximum < 256 else 16)
    shown = read_and_decode(head + body)
    exact = values * 255 / maximum if maximum < 256 else values * 256 / (maximum + 1)
    assert np.abs(shown - exact).max() <= (0.5 if maximum < 256 else 1)
    assert (shown[0, 0] == 0).all()
    assert (shown[0, 1] == 255).all()
    if maximum in (1023, 4095, 65535):
        bits = maximum.bit_length()
        assert np.array_equal(shown, upper_eight(values.astype(np.uint64), bits))


def test_bitmaps_are_black_where_they_are_one() -> None:
    bits = np.array([[1, 0, 1], [0, 0, 1]], np.uint8)
    expected = np.where(bits[..., None], 0, 255).repeat(3, 2)
    binary = b"P4 3 2\n" + np.packbits(bits, axis=1).tobytes()
    for data in (b"P1\n3 2\n1 0 1\n001", binary):
        assert np.array_equal(read_and_decode(data), expected)


def ramp() -> np.ndarray:
    """Grey from 20 % to 60 % in 16 bits."""
    return np.linspace(0x3333, 0x9999, 60).round().astype(np.uint64)[None, :, None].repeat(40, 0)


def ramps() -> dict[str, bytes]:
    """The same picture in many formats."""
    deep = ramp()
    grey16 = deep[..., 0].astype(np.uint16)
    pgm = b"P5 60 40 65535\n" + packed(deep, 16)
    return {
        "PNG": png(deep, 16, "grey"),
        "PNG, RGB": png(deep.repeat(3, 2), 16, "rgb"),
        "PGM": pgm,
        "PGM of 12 bits": b"P5 60 40 4095\n" + packed(deep >> np.uint64(4), 16),
        "TIFF": tiff(deep, 16),
        "TIFF of 12 bits": tiff(deep >> np.uint64(4), 12),
        "TIFF of 10 bits": tiff(deep >> np.uint64(6), 10, order=">"),
        "TIFF, white is zero": tiff(65535 - deep, 16, photometric=0),
        "TIFF of 8 bits": tiff(deep >> np.uint64(8), 8),
        "TIFF of 32 bits": tiff(deep << np.uint64(16), 32),
        "JPEG 2000": saved(Image.fromarray(grey16), "JPEG2000"),
        "mode I, saved as PGM": saved(Image.fromarray(grey16.astype(np.int32)), "PPM"),
        "SGI": saved(Image.fromarray((grey16 >> 8).astype(np.uint8)), "SGI"),
        "WebP": saved(Image.fromarray((grey16 >> 8).astype(np.uint8)), "WEBP", lossless=True),
    }


@pytest.mark.parametrize("name", ramps())
def test_the_same_picture_has_the_same_pixels_in_every_format(name: str) -> None:
    pixels = read_and_decode(ramps()[name])
    assert np.array_equal(pixels, np.broadcast_to(ramp() >> np.uint64(8), (40, 60, 3)))
    assert (pixels.min(), pixels.max()) == (51, 153)
    assert abs(pixels.mean() - 102) < 0.6


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
def test_only_float_is_stretched(dtype: str, channels: int, order: str, planar: bool) -> None:
    values = np.linspace(-3, 5, 7 * 9 * channels).reshape(*SHAPE, channels).astype(dtype)
    bits = 8 * values.dtype.itemsize
    pixels = read_and_decode(tiff(values, bits, kind=3, order=order, planar=planar))
    expected = (values.astype(np.float64) + 3) / 8 * 255
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.abs(pixels - expected).max() <= 1


def test_sixteen_bits_of_one_value_are_not_stretched() -> None:
    values = np.full((*SHAPE, 1), 0x7500, np.uint64)
    assert (read_and_decode(tiff(values, 16)) == 0x75).all()


def test_samples_beyond_the_declared_range_are_refused() -> None:
    data = b"P5 2 1 100\n" + bytes([7, 101])
    assert reason_of(data) == "corrupt_image"


@pytest.mark.parametrize("bits", [(5, 6, 5), (24, 24, 24)])
def test_samples_that_nobody_decodes_dependably_are_refused(bits: tuple[int, ...]) -> None:
    good = tiff(samples(16, 3), 16)
    assert good.count(b"\x10\0\x10\0\x10\0") == 1
    bad = good.replace(b"\x10\0\x10\0\x10\0", np.array(bits, "<u2").tobytes())
    assert reason_of(bad) == "corrupt_image"


def test_ten_bit_heic_keeps_its_upper_eight_bits() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    deep = ramp().repeat(3, 2).astype(np.uint16)
    buffer = io.BytesIO()
    pillow_heif.encode("RGB;16", (60, 40), deep.tobytes(), buffer, quality=-1, chroma=444)
    pixels = read_and_decode(buffer.getvalue())
    assert (pixels.min(), pixels.max()) == (51, 153)
    assert abs(pixels.mean() - 102) < 0.6
