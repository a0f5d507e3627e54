"""Whole pixels are decoded though metadata is broken; what is cut or filled is a dead letter."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.engine.core.image.files import (
    exif,
    png_chunk,
    read_and_decode,
    reason_of,
    riff,
    riff_chunks,
    saved,
    with_segments,
)

_ROWS, _COLUMNS = np.mgrid[:96, :128]
PHOTO = np.stack([_COLUMNS * 2, _ROWS * 2, (_ROWS + _COLUMNS)], axis=2)
PHOTO = (PHOTO + np.random.default_rng(2).normal(0, 9, PHOTO.shape)).clip(0, 255).astype(np.uint8)
IMAGE = Image.fromarray(PHOTO)
EOI = b"\xff\xd9"

JPEGS = {
    "baseline": saved(IMAGE, "JPEG", quality=90),
    "full colour": saved(IMAGE, "JPEG", quality=90, subsampling=0),
    "optimized": saved(IMAGE, "JPEG", quality=90, optimize=True),
    "progressive": saved(IMAGE, "JPEG", quality=90, progressive=True),
    "restart markers": saved(IMAGE, "JPEG", quality=90, restart_marker_rows=1),
    "grey": saved(IMAGE.convert("L"), "JPEG", quality=90),
    "CMYK": saved(IMAGE.convert("CMYK"), "JPEG", quality=90),
}
OTHERS = {
    "PNG": saved(IMAGE, "PNG"),
    "PNG, interlaced": b"",
    "WebP": saved(IMAGE, "WEBP"),
    "WebP, lossless": saved(IMAGE, "WEBP", lossless=True),
    "GIF": saved(IMAGE.quantize(64), "GIF"),
    "AVIF": saved(IMAGE, "AVIF"),
    "JPEG 2000": saved(IMAGE, "JPEG2000"),
    "QOI": saved(IMAGE, "QOI"),
    "TIFF, LZW": saved(IMAGE, "TIFF", compression="tiff_lzw"),
    "TIFF, deflate": saved(IMAGE, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF, PackBits": saved(IMAGE, "TIFF", compression="packbits"),
    "TIFF, JPEG": saved(IMAGE, "TIFF", compression="jpeg"),
}
del OTHERS["PNG, interlaced"]
RAW = {
    "BMP": saved(IMAGE, "BMP"),
    "TGA": saved(IMAGE, "TGA"),
    "PPM": saved(IMAGE, "PPM"),
    "TIFF": saved(IMAGE, "TIFF"),
    "PAM": b"P7\nWIDTH 128\nHEIGHT 96\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + PHOTO.tobytes(),
    "PGM in letters": b"P2 128 96 255\n" + b" ".join(b"%d" % v for v in PHOTO[..., 0].ravel()),
}
CODED = {**{f"JPEG, {name}": data for name, data in JPEGS.items()}, **OTHERS}


@pytest.mark.parametrize("name", CODED | RAW)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.75, 0.95])
def test_a_file_that_is_cut_is_corrupt(name: str, share: float) -> None:
    data = (CODED | RAW)[name]
    assert reason_of(data[: int(len(data) * share)]) == "corrupt_image"


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("share", [0.35, 0.5, 0.75, 0.95])
def test_an_end_marker_behind_a_cut_changes_nothing(name: str, share: float) -> None:
    data = JPEGS[name]
    assert reason_of(data[: int(len(data) * share)] + EOI) == "corrupt_image"
    assert reason_of(data[:-6] + EOI) == "corrupt_image"


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
def test_a_tail_of_zeros_is_corrupt(name: str, share: float) -> None:
    data = CODED[name]
    kept = int(len(data) * share)
    filled = data[:kept] + bytes(len(data) - kept)
    assert reason_of(filled) == "corrupt_image"
    if name.startswith("JPEG, "):
        assert reason_of(filled[:-2] + EOI) == "corrupt_image"


@pytest.mark.parametrize("name", CODED)
@pytest.mark.parametrize("share", [0.5, 0.7])
def test_a_block_of_zeros_is_corrupt(name: str, share: float) -> None:
    data = CODED[name]
    start = int(len(data) * share)
    size = min(1024, len(data) // 5)
    assert reason_of(data[:start] + bytes(size) + data[start + size :]) == "corrupt_image"


def test_every_missing_scan_of_a_progressive_jpeg_is_missed() -> None:
    data = JPEGS["progressive"]
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(starts) > 5
    for start in starts[1:]:
        tables = data.rfind(b"\xff\xc4", 0, start)
        cut = start if tables < starts[0] else min(start, tables)
        assert reason_of(data[:cut] + EOI) == "corrupt_image"


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_without_end_marker_is_whole(name: str) -> None:
    data = JPEGS[name]
    expected = read_and_decode(data)
    assert np.array_equal(read_and_decode(data[:-2]), expected)
    assert np.array_equal(read_and_decode(data[:-1]), expected)


@pytest.mark.parametrize("name", CODED | RAW)
@pytest.mark.parametrize("tail", [b"Hello, world! " * 30, bytes(2000), b"\xff\xd8\xff\xd9"])
def test_what_follows_the_end_is_left_alone(name: str, tail: bytes) -> None:
    data = (CODED | RAW)[name]
    if name == "PGM in letters":
        data += b"\n"
    assert np.array_equal(read_and_decode(data + tail), read_and_decode(data))


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("colour", ["white", "black", "red"])
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "PNG", "AVIF", "TIFF", "GIF"])
def test_a_plain_picture_is_not_taken_for_zeros(format: str, colour: str, optimize: bool) -> None:
    options: dict[str, object] = {
        "JPEG": {"optimize": optimize},
        "WEBP": {"lossless": optimize},
        "TIFF": {"compression": "tiff_lzw" if optimize else "packbits"},
    }.get(format, {})
    image = Image.new("RGB", (900, 600), colour)
    expected = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    assert np.abs(read_and_decode(saved(image, format, **options)).astype(int) - expected).max() < 4


def test_a_plain_picture_of_a_fast_webp_encoder_is_not_taken_for_zeros() -> None:
    image = Image.new("RGB", (600, 400), "white")
    image.paste("red", (200, 133, 300, 200))
    ImageDraw.Draw(image).text((5, 5), "OPEN", fill="black")
    data = saved(image, "WEBP", lossless=True, method=0, quality=0)
    assert bytes(100) in data
    assert np.array_equal(read_and_decode(data), np.asarray(image))


JPEG = JPEGS["baseline"]
WHOLE_JPEGS = {
    "EXIF that is noise": with_segments(JPEG, b"Exif\0\0" + bytes(range(256))),
    "EXIF that is cut": with_segments(JPEG, b"Exif\0\0" + exif(1)[:13]),
    "empty EXIF": with_segments(JPEG, b"Exif\0\0"),
    "a size of EXIF that is too small": with_segments(JPEG, b"Exif\0\0" + exif(1)).replace(
        struct.pack(">HH", 0xFFE1, len(exif(1)) + 8), struct.pack(">HH", 0xFFE1, 12)
    ),
    "huge ICC profile": JPEG[:2]
    + b"".join(
        b"\xff\xe2" + struct.pack(">H", 65535) + b"ICC_PROFILE\0" + bytes([n, 40]) + bytes(65519)
        for n in range(1, 41)
    )
    + JPEG[2:],
    "a comment": JPEG[:2] + b"\xff\xfe" + struct.pack(">H", 60002) + bytes(60000) + JPEG[2:],
    "stray bytes before a segment": JPEG[:20] + b"abc" + JPEG[20:],
    "fill bytes before a segment": JPEG[:2] + b"\xff\xff\xff" + JPEG[2:],
    "an unknown version of JFIF": JPEG.replace(b"JFIF\0\1", b"JFIF\0\7"),
}


@pytest.mark.parametrize("name", WHOLE_JPEGS)
def test_a_jpeg_whose_metadata_is_broken_is_whole(name: str) -> None:
    assert WHOLE_JPEGS[name] != JPEG
    assert np.array_equal(read_and_decode(WHOLE_JPEGS[name]), read_and_decode(JPEG))


def test_zeros_in_the_last_scan_of_a_progressive_jpeg_are_not_taken_for_coefficients() -> None:
    data = JPEGS["progressive"]
    start = data.rindex(b"\xff\xda") + 20
    step = (len(data) - start - 200) // 20
    for at in range(start, start + 20 * step, step):
        assert reason_of(data[:at] + bytes(64) + data[at + 64 :]) == "corrupt_image"


def test_pixels_of_a_gif_that_go_on_behind_their_end_are_corrupt() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320), dtype=np.uint8)
    data = saved(Image.fromarray(noise), "GIF")
    for start in range(2602, len(data) - 300, 4289):
        filled = data[:start] + bytes(300) + data[start + 300 :]
        assert reason_of(filled) == "corrupt_image"


def test_a_thumbnail_is_never_taken_for_the_picture() -> None:
    thumbnail = saved(Image.new("RGB", (16, 16), "red"), "JPEG")
    data = with_segments(JPEG, b"Exif\0\0" + exif(1) + thumbnail)
    assert np.array_equal(read_and_decode(data), read_and_decode(JPEG))
    size = data[4:6]
    assert reason_of(data.replace(b"\xff\xe1" + size, b"\xff\xe1\0\x08", 1)) == "corrupt_image"


PNG = OTHERS["PNG"]
IDAT = PNG.index(b"IDAT") - 4
BAD_TEXT = png_chunk(b"tEXt", b"Comment\0" + b"all is well " * 9)
BROKEN_CHUNKS = {
    "text with a wrong CRC": BAD_TEXT[:-1] + bytes([BAD_TEXT[-1] ^ 1]),
    "text that states too many bytes": struct.pack(">I", 5000) + BAD_TEXT[4:],
    "text that states far too many bytes": b"\xff\xff\xff\xf0" + BAD_TEXT[4:],
    "text that states too few bytes": struct.pack(">I", 30) + BAD_TEXT[4:],
    "gamma of three bytes": png_chunk(b"gAMA", b"abc"),
    "density of one byte": png_chunk(b"pHYs", b"a"),
    "an ICC profile that is noise": png_chunk(b"iCCP", b"x\0\0" + bytes(99)),
    "an ICC profile that is a bomb": png_chunk(
        b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000), 9)
    ),
    "text that is a bomb": png_chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(50_000_000), 9)),
    "EXIF that is noise": png_chunk(b"eXIf", b"MM" + bytes(range(99))),
    "an unknown chunk": png_chunk(b"abCd", bytes(99)),
    "a time that does not exist": png_chunk(b"tIME", b"\xff" * 7),
}


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_whose_metadata_is_broken_is_whole(name: str, behind: bool) -> None:
    at = len(PNG) - 12 if behind else IDAT
    data = PNG[:at] + BROKEN_CHUNKS[name] + PNG[at:]
    assert np.array_equal(read_and_decode(data), PHOTO)


def test_a_bomb_in_the_metadata_of_a_png_is_not_unpacked() -> None:
    packet = zlib.compress(bytes(80_000_000), 9)
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packet)
    data = PNG[:IDAT] + text + BROKEN_CHUNKS["an ICC profile that is a bomb"] + PNG[IDAT:]
    tracemalloc.start()
    read_and_decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000


@pytest.mark.parametrize("missing", [1, 4, 12, 13, 16, 17, 20])
def test_a_png_without_its_end_is_whole_as_all_rows_are_there(missing: int) -> None:
    assert np.array_equal(read_and_decode(PNG[:-missing]), PHOTO)


def test_a_wrong_crc_of_pixels_is_corrupt() -> None:
    at = len(PNG) - 13
    assert reason_of(PNG[:at] + bytes([PNG[at] ^ 1]) + PNG[at + 1 :]) == "corrupt_image"


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_that_lacks_rows_is_corrupt_though_its_chunks_are_sound(interlaced: bool) -> None:
    head = struct.pack(">IIBBBBB", 128, 96, 8, 2, 0, 0, interlaced)
    rows = b"".join(b"\0" + row.tobytes() for row in PHOTO[:80])
    chunks = (png_chunk(b"IHDR", head), png_chunk(b"IDAT", zlib.compress(rows)))
    data = PNG[:8] + b"".join(chunks) + png_chunk(b"IEND", b"")
    assert reason_of(data) == "corrupt_image"


def test_a_gif_without_trailer_is_whole() -> None:
    data = OTHERS["GIF"]
    assert data.endswith(b"\0;")
    assert np.array_equal(read_and_decode(data[:-1]), read_and_decode(data))


def test_a_webp_that_is_cut_in_its_metadata_is_whole() -> None:
    chunks = riff_chunks(OTHERS["WebP"])
    canvas = bytes([0x0C, 0, 0, 0]) + struct.pack("<I", 127)[:3] + struct.pack("<I", 95)[:3]
    data = riff((b"VP8X", canvas), *chunks, (b"EXIF", exif(1)), (b"XMP ", bytes(500)))
    assert np.array_equal(read_and_decode(data[:-300]), read_and_decode(OTHERS["WebP"]))


def test_heic_that_is_cut_or_filled_is_corrupt() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    pillow_heif.from_pillow(IMAGE).save(buffer, quality=80)
    data = buffer.getvalue()
    assert read_and_decode(data).shape == PHOTO.shape
    half = len(data) // 2
    assert reason_of(data[:half]) == "corrupt_image"
    assert reason_of(data[:half] + bytes(len(data) - half)) == "corrupt_image"


def test_without_its_package_heic_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    with pytest.raises(Exception, match=r"pip install 'florilegium\[heic\]'") as error:
        read_and_decode(data)
    assert error.value.reason == "missing_package"
