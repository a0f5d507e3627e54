"""TIFF: samples of every depth, sign and plane; colours by PhotometricInterpretation.

Grey, RGB, palette and CMYK pixels that are stored plain, LZW, deflate or PackBits are read here.
Everything else (JPEG, fax, YCbCr) has eight bits or less and is decoded by libtiff through Pillow.
"""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image import jpeg, pillow
from florilegium.engine.core.image import tiff_directory as tags
from florilegium.engine.core.image.header import (
    MAX_PIXELS,
    NOT_AN_IMAGE,
    TOO_MANY_PIXELS,
    Bytes,
    ImageHeader,
    corrupt,
)
from florilegium.engine.core.image.orientation import xmp_orientation
from florilegium.engine.core.image.tiff_directory import FLOAT, INT, UINT, Directory, read_directory
from florilegium.engine.core.image.tiff_samples import UNPACKED, check_segments, samples_of
from florilegium.engine.core.image.tones import (
    as_rgb,
    eight_bits,
    over_white,
    premultiplied_over_white,
    stretched,
    unsigned,
)

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}
_CAMERA_RAW = (32803, 34892)
_JPEG = 7
_PRIVATE = 65000  # a tag without a meaning
_ASSOCIATED, _UNASSOCIATED = 1, 2
_DEPTHS = {UINT: (*range(1, 17), 32, 64), INT: (8, 16, 32, 64), FLOAT: (16, 32, 64)}
_MAX_SAMPLE_BYTES = 12 * MAX_PIXELS


def header(data: Bytes) -> ImageHeader:
    """Read size and orientation of the first picture."""
    directory = read_directory(data)
    _check_kind(directory)
    width, height = directory.size_wh
    return ImageHeader(width, height, _orientation(directory), "tif")


def pixels(data: Bytes) -> np.ndarray:
    """Decode the first picture to RGB, uint8, as stored."""
    directory = read_directory(data)
    colours = _COLOURS.get(directory.first(tags.PHOTOMETRIC, _BLACK_IS_ZERO))
    if colours is None or directory.first(tags.COMPRESSION, 1) not in UNPACKED:
        return _by_libtiff(data, directory)
    _check_samples(directory, colours)
    alpha = _alpha_kind(directory, colours)
    samples = samples_of(data, directory, colours + bool(alpha))
    shown = _colours(samples[..., :colours], directory)
    if not alpha:
        return as_rgb(shown)
    opacity = _opacity(samples[..., colours], directory)
    blend = premultiplied_over_white if alpha == _ASSOCIATED else over_white
    return as_rgb(blend(shown, opacity))


def _check_kind(directory: Directory) -> None:
    """Refuse raw files of cameras and previews, whose first picture is not the picture."""
    is_raw = directory.first(tags.PHOTOMETRIC) in _CAMERA_RAW or tags.DNG_VERSION in directory.tags
    is_preview = (
        directory.first(tags.NEW_SUBFILE_TYPE) & 1 and tags.SUB_DIRECTORIES in directory.tags
    )
    if is_raw or is_preview:
        raise SampleError(NOT_AN_IMAGE, "a raw file of a camera; convert it to JPEG or TIFF first")
    width, height = directory.size_wh
    count = directory.first(tags.CHANNELS, 1)
    size = width * height * count * directory.first(tags.BITS, 1) // 8
    if size > _MAX_SAMPLE_BYTES:
        raise SampleError(
            TOO_MANY_PIXELS, f"{size} bytes of samples, the limit is {_MAX_SAMPLE_BYTES}"
        )


def _orientation(directory: Directory) -> int:
    stated = directory.first(tags.ORIENTATION)
    if 1 <= stated <= 8:
        return stated
    packet = directory.all(tags.XMP)
    return xmp_orientation(bytes(value & 0xFF for value in packet)) or 1


def _check_samples(directory: Directory, colours: int) -> None:
    bits, kinds = directory.all(tags.BITS, 1), directory.all(tags.SAMPLE_FORMAT, UINT)
    count = directory.first(tags.CHANNELS, 1)
    if len(set(bits)) > 1 or len(set(kinds)) > 1:
        raise corrupt(f"samples of different kinds: {bits} bits, formats {kinds}")
    if bits[0] not in _DEPTHS.get(directory.sample_format, ()):
        raise corrupt(f"samples of {bits[0]} bits and format {kinds[0]} are not known")
    named = len(directory.all(tags.EXTRA_SAMPLES))
    if count < colours or (colours == 1 and count > 2 and count - colours > named):
        raise corrupt(
            f"{count} samples in a pixel, {colours} of them colours, {named} others named"
        )


def _alpha_kind(directory: Directory, colours: int) -> int:
    """Return how the first extra sample is transparency; 0 when it is none."""
    kind = directory.first(tags.EXTRA_SAMPLES)
    is_there = directory.first(tags.CHANNELS, 1) > colours
    return kind if is_there and kind in (_ASSOCIATED, _UNASSOCIATED) else 0


def _colours(samples: np.ndarray, directory: Directory) -> np.ndarray:
    """Return the colour samples as uint8, one channel for grey, else three."""
    photometric = directory.first(tags.PHOTOMETRIC, _BLACK_IS_ZERO)
    if photometric == _PALETTE:
        return _from_palette(samples[..., 0], directory)
    shown = _reduced(samples, directory)
    if photometric == _WHITE_IS_ZERO:
        return 255 - shown
    if photometric == _CMYK:
        return np.asarray(Image.fromarray(np.ascontiguousarray(shown), "CMYK").convert("RGB"))
    return shown


def _reduced(samples: np.ndarray, directory: Directory) -> np.ndarray:
    if samples.dtype.kind == "f":
        return stretched(samples)
    return eight_bits(unsigned(samples), _maximum(directory))


def _maximum(directory: Directory) -> int:
    """The largest unsigned sample."""
    return 2 ** directory.first(tags.BITS, 1) - 1


def _opacity(samples: np.ndarray, directory: Directory) -> np.ndarray:
    """Return the alpha samples as uint8; those of float go from 0 to 1."""
    if samples.dtype.kind == "f":
        return (np.nan_to_num(samples).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return eight_bits(
        samples.view(f"u{samples.dtype.itemsize}"), 2 ** directory.first(tags.BITS, 1) - 1
    )


def _from_palette(indices: np.ndarray, directory: Directory) -> np.ndarray:
    bits = directory.first(tags.BITS, 1)
    table = np.array(directory.all(tags.COLOUR_MAP), np.int64)
    if indices.dtype.kind != "u" or bits > 16 or len(table) != 3 * 2**bits:
        raise corrupt(f"a palette of {len(table)} numbers for samples of {bits} bits")
    if table.max() > 255:  # some programs write eight bits where the standard wants sixteen
        table >>= 8
    return table.astype(np.uint8).reshape(3, -1).T[indices]


def _by_libtiff(data: Bytes, directory: Directory) -> np.ndarray:
    check_segments(data, directory)
    if directory.first(tags.COMPRESSION) == _JPEG:
        _check_jpeg(data, directory)
    if directory.first(tags.BITS, 1) > 8:
        raise corrupt(f"samples of {directory.first(tags.BITS)} bits in a compression of eight")
    stored = bytearray(data)
    for tag in (tags.ORIENTATION, tags.XMP):  # Pillow would turn the pixels by itself
        if tag in directory.positions:
            struct.pack_into(
                directory.dialect.order + "H", stored, directory.positions[tag], _PRIVATE
            )
    return pillow.pixels(bytes(stored))


def _check_jpeg(data: Bytes, directory: Directory) -> None:
    """Decode each strip or tile strictly, as libtiff keeps the warnings of libjpeg to itself."""
    tables = bytes(directory.all(tags.JPEG_TABLES))
    for start, size in zip(*directory.segments, strict=True):
        segment = bytes(data[start : start + size])
        jpeg.pixels(tables[:-2] + segment[2:] if tables else segment)
