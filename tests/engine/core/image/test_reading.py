"""Pixels from untrusted bytes: every format, every orientation, every kind of damage."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.header import MAX_BYTES
from florilegium.engine.core.image.reading import decode, image_suffixes, read_header

RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000_000))
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def float_tiff(values: np.ndarray) -> bytes:
    return cv2.imencode(".tiff", values)[1].tobytes()


def read_and_decode(data: bytes) -> np.ndarray:
    read_header(data)
    return decode(data)


def reason_of(data: bytes) -> str:
    """Return the reason for which the engine cannot use these bytes."""
    with pytest.raises(SampleError) as error:
        read_and_decode(data)
    return error.value.reason


def test_a_photograph_is_decoded_as_pillow_does_and_read_only(photographs: dict[str, Path]) -> None:
    for path in photographs.values():
        data = path.read_bytes()
        pixels = decode(data)
        header = read_header(data)
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, expected)
        assert pixels.shape == (header.height, header.width, 3)
        assert not pixels.flags.writeable


def test_bytes_in_shared_memory_are_read_like_bytes(photographs: dict[str, Path]) -> None:
    data = photographs["rocket"].read_bytes()
    view = np.frombuffer(data, np.uint8).data
    assert read_header(view) == read_header(data)
    assert np.array_equal(decode(view), decode(data))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "MPO", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_upright(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(NOISE.repeat(8, 0).repeat(8, 1)), format, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    header = read_header(data)
    assert np.array_equal(decode(data), expected)
    assert (header.height, header.width) == expected.shape[:2]
    assert header.orientation == orientation


def test_an_orientation_behind_the_pixels_of_a_png_counts_in_header_and_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(NOISE), "PNG")
    chunk = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    data = data[:-12] + chunk + data[-12:]
    assert read_header(data)[:3] == (6, 9, 6)
    assert np.array_equal(decode(data), np.rot90(NOISE, -1))


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert read_header(saved(Image.fromarray(NOISE), "PNG", exif=exif))[:3] == (9, 6, 1)


GREY16 = (NOISE[..., 0].astype(np.uint16) << 8) | 0x7F
LOSSLESS = {
    "grey": (saved(Image.fromarray(NOISE[..., 0]), "PNG"), NOISE[..., :1].repeat(3, 2)),
    "one pixel": (saved(Image.fromarray(NOISE[:1, :1]), "PNG"), NOISE[:1, :1]),
    "16-bit grey PNG": (saved(Image.fromarray(GREY16), "PNG"), NOISE[..., :1].repeat(3, 2)),
    "16-bit grey TIFF": (saved(Image.fromarray(GREY16), "TIFF"), NOISE[..., :1].repeat(3, 2)),
    "16-bit RGB PNG": (
        cv2.imencode(".png", NOISE[..., ::-1].astype(np.uint16) << 8)[1].tobytes(),
        NOISE,
    ),
    "16-bit RGB TIFF": (float_tiff(NOISE[..., ::-1].astype(np.uint16) << 8), NOISE),
    "BMP": (saved(Image.fromarray(NOISE), "BMP"), NOISE),
    "PPM": (saved(Image.fromarray(NOISE), "PPM"), NOISE),
    "PAM": (
        b"P7\nWIDTH 9\nHEIGHT 6\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + NOISE.tobytes(),
        NOISE,
    ),
    "Sun raster": (
        cv2.imencode(".ras", np.ascontiguousarray(NOISE[..., ::-1]))[1].tobytes(),
        NOISE,
    ),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_format_gives_its_exact_pixels(name: str) -> None:
    data, expected = LOSSLESS[name]
    assert np.array_equal(decode(data), expected)
    assert read_header(data)[:2] == (expected.shape[1], expected.shape[0])


def test_one_bit_images_are_black_and_white() -> None:
    bits = NOISE[..., 0] > 127
    data = saved(Image.fromarray(bits), "PNG")
    assert np.array_equal(decode(data), np.where(bits[..., None], 255, 0).repeat(3, 2))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_show_white(mode: str) -> None:
    image = Image.new(mode, (4, 4), 0)
    assert (decode(saved(image, "PNG")) == 255).all()


def test_a_palette_with_transparency_shows_white_there() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    for transparency in (1, b"\xff\x00"):
        pixels = decode(saved(image, "PNG", transparency=transparency))
        assert pixels.tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_a_cmyk_jpeg_keeps_its_colour() -> None:
    data = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert np.abs(decode(data).astype(int) - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    options: dict[str, object] = {"lossless": True} if format == "WEBP" else {}
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert (decode(data) == (255, 0, 0)).all()


def test_a_multi_picture_jpeg_gives_its_first_picture_and_is_named_jpg() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert read_header(data).extension == "jpg"
    assert np.abs(decode(data).astype(int) - [255, 0, 0]).max() <= 4


def test_a_very_wide_image_is_an_image() -> None:
    data = saved(Image.new("RGB", (20_000, 3), "red"), "PNG")
    assert read_header(data)[:2] == (20_000, 3)
    assert decode(data).shape == (3, 20_000, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_float_images_are_stretched_from_minimum_to_maximum(channels: int) -> None:
    values = np.zeros((4, 5, channels), np.float32)
    values[0, 0], values[1, 1], values[2, 2], values[3, 3] = -2.0, np.nan, 2.0, 1e-9
    pixels = decode(float_tiff(values))
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[2, 2].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [127, 127, 127]


@pytest.mark.parametrize("extreme", [np.inf, -np.inf, 1.7e308, -1.7e308])
def test_extreme_floats_are_decoded_without_a_warning(extreme: float) -> None:
    values = np.zeros((4, 5, 3), np.float64)
    values[0, 0] = extreme
    assert decode(float_tiff(values)).shape == (4, 5, 3)


def test_the_widest_range_of_floats_is_stretched_without_overflow() -> None:
    values = np.zeros((1, 3), np.float64)
    values[0, 0], values[0, 2] = -1.7e308, 1.7e308
    pixels = decode(float_tiff(np.repeat(values[..., None], 3, axis=2)))
    assert pixels[0, :, 0].tolist() == [0, 127, 255]


def test_a_constant_float_image_is_black() -> None:
    assert not decode(float_tiff(np.full((4, 5), 3.5, np.float32))).any()


def test_a_portable_float_map_is_stretched() -> None:
    ramp = np.linspace(0, 900, 30, dtype=np.float32).reshape(5, 6)
    data = cv2.imencode(".pfm", np.stack([ramp] * 3, axis=2))[1].tobytes()
    assert read_header(data) == (6, 5, 1, "pfm")
    pixels = decode(data)
    assert pixels[0, 0, 0] == 0
    assert pixels[-1, -1, 0] == 255


def test_a_radiance_image_is_gamma_encoded_light() -> None:
    light = np.full((5, 6, 3), 0.5**2.2, np.float32)
    light[0, 0] = 40.0
    data = cv2.imencode(".hdr", light)[1].tobytes()
    assert read_header(data) == (6, 5, 1, "hdr")
    pixels = decode(data)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert abs(int(pixels[3, 3, 0]) - 127) <= 2


def test_an_empty_file_says_so() -> None:
    assert reason_of(b"") == "empty_file"


def test_more_bytes_than_the_limit_are_refused_unread() -> None:
    assert reason_of(bytes(MAX_BYTES + 1)) == "too_many_bytes"


BOMBS = {
    "PNG": png_claiming(60_000, 60_000),
    "PNG just over the limit": png_claiming(10_001, 10_000),
    "BMP": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
    "HDR": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n" + bytes(2000),
    "PFM": b"PF\n60000 60000\n-1\n" + bytes(2000),
    "PAM": b"P7\nWIDTH 60000\nHEIGHT 60000\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
    + bytes(99),
    "Sun raster": struct.pack(">8I", 0x59A66A95, 60_000, 60_000, 24, 9, 1, 0, 0) + bytes(99),
    "float TIFF": float_tiff(np.zeros((2, 2, 3), np.float32)),
}
BOMBS["float TIFF"] = (
    BOMBS["float TIFF"]
    .replace(struct.pack("<HHIHH", 256, 3, 1, 2, 0), struct.pack("<HHII", 256, 4, 1, 60_000))
    .replace(struct.pack("<HHIHH", 257, 3, 1, 2, 0), struct.pack("<HHII", 257, 4, 1, 60_000))
)


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_refused_from_its_header(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(SampleError) as error:
        read_header(BOMBS[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.value.reason == "too_many_pixels"
    assert peak < 1_000_000 + len(BOMBS[name])


def test_a_png_header_is_read_without_decoding_pixels() -> None:
    data = png_claiming(9_000, 9_000)
    damaged = data[:60] + bytes(len(data) - 60)
    assert read_header(damaged)[:2] == (9_000, 9_000)


def test_a_smaller_limit_of_pixels_is_kept() -> None:
    data = saved(Image.new("RGB", (100, 100)), "PNG")
    with pytest.raises(SampleError, match="100x100 pixels, the limit is 9999"):
        read_header(data, max_pixels=9_999)


def zip_file() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", "no image")
    return buffer.getvalue()


IMPOSTORS = {
    "text": b"This is not an image.\n" * 50,
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
    "HTML": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "zip": zip_file(),
    "EPS, which would start Ghostscript": saved(Image.fromarray(NOISE), "EPS"),
    "PDF": b"%PDF-1.7\n" + bytes(500),
    "zeros": bytes(4096),
    "noise": RNG.bytes(4096),
    "one byte": b"\xff",
    "JPEG start": b"\xff\xd8\xff",
    "PNG start": b"\x89PNG\r\n\x1a\n",
    "PNG of no width": png_claiming(0, 10),
    "TIFF start": b"II*\0\x08\0\0\0",
    "TIFF directory that points to itself": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "HDR without a size": b"#?RADIANCE\n\n",
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(200),
}


@pytest.mark.parametrize("name", IMPOSTORS)
def test_what_is_no_image_is_named_so(name: str) -> None:
    assert reason_of(IMPOSTORS[name]) == "not_an_image"


def test_the_name_of_a_file_plays_no_part() -> None:
    data = saved(Image.fromarray(NOISE), "PNG")  # however it is called
    assert read_header(data).extension == "png"


FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "JPEG2000", "AVIF", "TGA"]
ENCODED = {format: saved(Image.fromarray(NOISE.repeat(8, 0).repeat(8, 1)), format)
           for format in FORMATS}  # fmt: skip
ENCODED |= {
    suffix: cv2.imencode(suffix, NOISE.repeat(8, 0).repeat(8, 1).astype(dtype))[1].tobytes()
    for suffix, dtype in {".hdr": "f4", ".pfm": "f4", ".pam": "u1", ".ras": "u1"}.items()
}
ENCODED["float TIFF"] = float_tiff(NOISE.astype(np.float32))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "JPEG2000"])
def test_a_truncated_image_is_corrupt_not_half_grey(name: str) -> None:
    data = ENCODED[name]
    assert reason_of(data[: len(data) * 2 // 3]) in ("corrupt_image", "not_an_image")


@pytest.mark.parametrize("name", ENCODED)
def test_hostile_bytes_end_in_pixels_or_in_a_sample_error(name: str) -> None:
    rng = np.random.default_rng(11)
    for _ in range(60):
        data = np.frombuffer(ENCODED[name], np.uint8).copy()
        places = rng.integers(0, min(len(data), rng.choice([60, 400, 100_000])), 6)
        data[places] = rng.integers(0, 256, 6)
        hostile = data[: rng.integers(1, len(data) + 1)].tobytes()
        try:
            header = read_header(hostile, max_pixels=1_000_000)
            pixels = decode(hostile)
        except SampleError:
            continue
        assert pixels.shape == (header.height, header.width, 3)


def test_decoding_in_threads_lets_no_warning_through(photographs: dict[str, Path]) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    data = saved(image, "PNG", transparency=b"\xff\x00")  # Pillow warns when it converts this
    errors: list[BaseException] = []

    def decode_often() -> None:
        try:
            for _ in range(50):
                decode(data)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=decode_often) for _ in range(4)]
    with warnings.catch_warnings(action="error"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors


def test_suffixes_are_complete_in_a_fresh_process_and_hold_no_program_formats() -> None:
    code = (
        "from florilegium.engine.core.image.reading import image_suffixes;"
        "print(*sorted(image_suffixes()))"
    )
    root = Path(__file__).parents[4]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    suffixes = set(run.stdout.split())
    assert suffixes == image_suffixes()
    wanted = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".bmp", ".mpo", ".hdr", ".ras"}
    assert wanted <= suffixes
    assert not suffixes & {".eps", ".wmf", ".emf", ".ps", ".mpg", ".pdf", ".svg", ".h5"}


def test_importing_the_module_does_not_import_opencv_or_change_pillow() -> None:
    code = (
        "import sys; from PIL import Image; limit = Image.MAX_IMAGE_PIXELS;"
        "from florilegium.engine.core.image import encoding, reading, resizing;"
        "assert Image.MAX_IMAGE_PIXELS == limit; assert 'cv2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[4], check=True)


@pytest.mark.attack("memory")
def test_pixels_for_which_there_is_no_memory_are_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def pixels(data: bytes) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr("florilegium.engine.core.image.png.pixels", pixels)
    with pytest.raises(SampleError, match="no memory for the pixels of 9x6") as error:
        decode(saved(Image.fromarray(NOISE), "PNG"))
    assert error.value.reason == "out_of_memory"
