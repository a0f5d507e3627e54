"""PBM, PGM, PPM, PAM and PFM (netpbm.sourceforge.net); samples are scaled by the declared range."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.header import NOT_AN_IMAGE, Bytes, ImageHeader, corrupt
from florilegium.engine.core.image.tones import as_rgb, eight_bits, over_white, stretched

_MAX_HEADER = 64 * 1024
_NAMES = {1: "pbm", 4: "pbm", 2: "pgm", 5: "pgm", 3: "ppm", 6: "ppm"}
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_NUMBER = _GAP + rb"(\d{1,9})"
_BITMAP = re.compile(rb"P([14])" + 2 * _NUMBER + rb"(?:\s|#[^\n]*\n)")
_SAMPLES = re.compile(rb"P([2356])" + 3 * _NUMBER + rb"(?:\s|#[^\n]*\n)")
_PAM = re.compile(rb"P7\s*\n(.*?)^ENDHDR[ \t\r]*\n", re.DOTALL | re.MULTILINE)
_FLOAT = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+.\deE]{1,40})\s")
_COMMENT = re.compile(rb"#[^\r\n]*")


class _Picture(NamedTuple):
    """The values of a header, and where the samples begin. `kind` is the digit after the P."""

    kind: bytes
    width: int
    height: int
    channels: int
    maximum: int
    has_alpha: bool
    start: int


def is_netpbm(head: bytes) -> bool:
    """Whether a file begins as one of these formats does."""
    return re.match(rb"P[1-7Ff][\s#]", head) is not None


def header(data: Bytes) -> ImageHeader:
    """Read the size."""
    picture = _picture(data)
    extension = {b"7": "pam", b"F": "pfm", b"f": "pfm"}.get(picture.kind)
    return ImageHeader(picture.width, picture.height, 1, extension or _NAMES[int(picture.kind)])


def pixels(data: Bytes) -> np.ndarray:
    """Decode the first picture of the file to RGB, uint8."""
    picture = _picture(data)
    shape = (picture.height, picture.width, picture.channels)
    if picture.kind in (b"F", b"f"):
        order = "<" if picture.maximum < 0 else ">"
        floats = _binary(data, picture, np.dtype(order + "f4")).reshape(shape)
        return as_rgb(stretched(floats[::-1]))  # the lowest row comes first
    if picture.kind == b"4":
        rows = _rows_of_bits(data, picture)
        return as_rgb(np.where(rows, np.uint8(0), np.uint8(255)))
    if picture.kind == b"1":
        bits = _bits_in_words(data, picture).reshape(shape)
        return as_rgb(np.where(bits, np.uint8(0), np.uint8(255)))
    if picture.kind in (b"2", b"3"):
        samples = _words(data, picture)
    else:
        samples = _binary(data, picture, np.dtype("u1" if picture.maximum < 256 else ">u2"))
    if picture.maximum not in (255, 65535) and (largest := int(samples.max())) > picture.maximum:
        raise corrupt(f"a sample of {largest}, the header declares {picture.maximum} at most")
    colours = eight_bits(samples, picture.maximum).reshape(shape)
    if picture.has_alpha:
        return as_rgb(over_white(colours[..., :-1], colours[..., -1]))
    return as_rgb(colours)


def _picture(data: Bytes) -> _Picture:
    head = bytes(data[:_MAX_HEADER])
    if match := _BITMAP.match(head):
        return _Picture(match[1], int(match[2]), int(match[3]), 1, 1, False, match.end())
    if match := _SAMPLES.match(head):
        width, height, maximum = int(match[2]), int(match[3]), int(match[4])
        channels = 3 if match[1] in b"36" else 1
        return _checked(_Picture(match[1], width, height, channels, maximum, False, match.end()))
    if match := _FLOAT.match(head):
        sign = -1 if match[4].startswith(b"-") else 1
        channels = 3 if match[1] == b"F" else 1
        width, height = int(match[2]), int(match[3])
        return _Picture(match[1], width, height, channels, sign, False, match.end())
    if match := _PAM.match(head):
        return _checked(_pam(match[1], match.end()))
    raise SampleError(NOT_AN_IMAGE, "unreadable header of a portable map")


def _pam(lines: bytes, start: int) -> _Picture:
    words = [line.split(None, 1) for line in _COMMENT.sub(b"", lines).splitlines()]
    fields = {word[0]: word[1].strip() for word in words if len(word) == 2}
    try:
        width, height, depth, maximum = (
            int(fields[name]) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
        )
    except (KeyError, ValueError) as error:
        raise SampleError(NOT_AN_IMAGE, "the header of the PAM file lacks a number") from error
    if depth not in (1, 2, 3, 4):
        raise SampleError(NOT_AN_IMAGE, f"a PAM file of {depth} channels, 1 to 4 are known")
    return _Picture(b"7", width, height, depth, maximum, depth in (2, 4), start)


def _checked(picture: _Picture) -> _Picture:
    if not 1 <= picture.maximum <= 65535:
        raise SampleError(NOT_AN_IMAGE, f"a largest value of {picture.maximum}, 65535 at most")
    return picture


def _count(picture: _Picture) -> int:
    return picture.width * picture.height * picture.channels


def _binary(data: Bytes, picture: _Picture, dtype: np.dtype) -> np.ndarray:
    count = _count(picture)
    if len(data) - picture.start < count * dtype.itemsize:
        raise _cut((len(data) - picture.start) // dtype.itemsize, count)
    return np.frombuffer(data, dtype, count, picture.start)


def _rows_of_bits(data: Bytes, picture: _Picture) -> np.ndarray:
    stride = (picture.width + 7) // 8
    if len(data) - picture.start < stride * picture.height:
        raise _cut((len(data) - picture.start) * 8, _count(picture))
    rows = np.frombuffer(data, np.uint8, stride * picture.height, picture.start)
    return np.unpackbits(rows.reshape(-1, stride), axis=1, count=picture.width)


def _bits_in_words(data: Bytes, picture: _Picture) -> np.ndarray:
    text = _COMMENT.sub(b"", bytes(data[picture.start :])).translate(None, b" \t\r\n\v\f")
    bits = np.frombuffer(text, np.uint8, min(len(text), _count(picture))) - ord("0")
    if len(bits) < _count(picture):
        raise _cut(len(bits), _count(picture))
    if bits.max() > 1:
        raise corrupt("a bitmap holds something else than 0 and 1")
    return bits


def _words(data: Bytes, picture: _Picture) -> np.ndarray:
    count = _count(picture)
    words = _COMMENT.sub(b"", bytes(data[picture.start :])).split(None, count)[:count]
    if len(words) < count:
        raise _cut(len(words), count)
    samples = np.array(words, np.int64)
    if samples.min() < 0:
        raise corrupt("a sample is less than 0")
    return samples


def _cut(found: int, wanted: int) -> SampleError:
    return corrupt(f"the file is cut: {found} of {wanted} samples are there")
