"""JPEG: strict decoding, and which files may be published as they are.

libjpeg-turbo fills in missing data and warns; here a warning is an error, unless metadata causes
it: after a warning, the file is decoded once more without its metadata.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import simplejpeg
from PIL import Image

from florilegium.engine.core.image.header import Bytes, ImageHeader, corrupt
from florilegium.engine.core.image.jpeg_layout import (
    APP0,
    APP1,
    APP14,
    BASELINE,
    END,
    EXTENDED,
    METADATA,
    PROGRESSIVE,
    Layout,
    Scan,
    layout_of,
)
from florilegium.engine.core.image.orientation import (
    EXIF_MAGIC,
    exif_orientation,
    orientation_of,
    xmp_orientation,
)

MAGIC = b"\xff\xd8\xff"
_XMP_MAGIC = b"http://ns.adobe.com/xap/1.0/\0"
_END = bytes([0xFF, END])
_ALL_COEFFICIENTS = bytes([0, 63, 0])  # the end of a sequential scan's header
_ZEROS = bytes(32)
_UNUSUAL_SAMPLING = "subsampling"  # simplejpeg's message for unknown sampling factors


def header(data: Bytes) -> ImageHeader:
    """Read the size as stored, and the orientation, without decoding."""
    return parsed(data)[0]


def pixels(data: Bytes) -> np.ndarray:
    """Decode to RGB, uint8, as stored; a file that may lack data is `corrupt_image`."""
    return parsed(data)[1]()


def parsed(data: Bytes) -> tuple[ImageHeader, Callable[[], np.ndarray]]:
    """Return `header` and what decodes `pixels`, for which the file is walked through once."""
    layout = layout_of(data)
    orientation = orientation_of(_exif(data, layout), _xmp(data, layout))
    header = ImageHeader(layout.width, layout.height, orientation, "jpg")
    return header, partial(_pixels, data, layout)


def _pixels(data: Bytes, layout: Layout) -> np.ndarray:
    _check_whole(data, layout)
    if not layout.has_end:
        data = bytes(data) + _END
    try:
        return _strictly(data, layout)
    except ValueError as error:
        plain = _without_metadata(data, layout)
        try:
            return _strictly(plain, layout)
        except ValueError:
            raise corrupt(f"cannot decode the pixels: {error}") from error


def upright_baseline_wh(data: Bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG file that every reader shows as `decode` does, without its
    metadata; `None` of any other file.

    Baseline or extended sequential, 8 bits, grey or YCbCr, complete and tidy, and no metadata
    that turns it. The caller has decoded it, so the pixels are complete.
    """
    if data[: len(MAGIC)] != MAGIC:
        return None
    layout = layout_of(data)
    is_sound = layout.has_end and layout.is_tidy and not layout.missing()
    is_plain = layout.frame in (BASELINE, EXTENDED) and layout.precision == 8
    is_shown = is_sound and is_plain and _has_plain_colours(data, layout)
    return (layout.width, layout.height) if is_shown and _is_upright(data, layout) else None


def _exif(data: Bytes, layout: Layout) -> Bytes | None:
    return next(layout.bodies(data, APP1, EXIF_MAGIC), None)


def _xmp(data: Bytes, layout: Layout) -> Bytes | None:
    return next(layout.bodies(data, APP1, _XMP_MAGIC), None)


def _is_upright(data: Bytes, layout: Layout) -> bool:
    exif = [exif_orientation(body) for body in layout.bodies(data, APP1, EXIF_MAGIC)]
    xmp = [xmp_orientation(body) for body in layout.bodies(data, APP1, _XMP_MAGIC)]
    return len(exif) <= 1 and {*exif, *xmp} <= {1, None}


def _has_plain_colours(data: Bytes, layout: Layout) -> bool:
    """Whether the file is grey or YCbCr by all rules that readers use."""
    if len(layout.sampling) == 1:
        return True
    if len(layout.sampling) != 3:
        return False
    transforms = {body[6] for body in layout.bodies(data, APP14, b"Adobe") if len(body) > 6}
    has_jfif = any(layout.bodies(data, APP0, b"JFIF\0"))
    is_numbered = tuple(layout.sampling) == (1, 2, 3)
    return transforms <= {1} and (has_jfif or bool(transforms) or is_numbered)


def _check_whole(data: Bytes, layout: Layout) -> None:
    """Raise where the layout shows that pixels are missing, which libjpeg does not report."""
    if layout.frame not in (BASELINE, EXTENDED, PROGRESSIVE):
        raise corrupt("only Huffman-coded sequential and progressive JPEG files are decoded")
    if missing := layout.missing():
        raise corrupt(f"the JPEG file is cut: {missing}")
    for scan in layout.scans:
        _check_zeros(data, layout, scan)


def _check_zeros(data: Bytes, layout: Layout, scan: Scan) -> None:
    """Raise when a scan holds a row of zero bytes that no encoder writes.

    Where zeros may stand for a plain area, libjpeg reports those that are too many or too few.
    """
    may_be_plain = layout.frame != PROGRESSIVE or scan.coefficients.stop == 1
    may_have_zeros = scan.zeros_say_nothing and may_be_plain
    if not may_have_zeros and _ZEROS in bytes(data[scan.start : scan.end]):
        raise corrupt("a part of the JPEG file is filled with zeros")


def _strictly(data: Bytes, layout: Layout) -> np.ndarray:
    """Decode; a warning of libjpeg is a `ValueError`."""
    if len(layout.sampling) == 4:
        cmyk = 255 - simplejpeg.decode_jpeg(data, "CMYK")  # Adobe stores it inverted
        return np.asarray(Image.fromarray(cmyk, "CMYK").convert("RGB"))
    try:
        return simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        if _UNUSUAL_SAMPLING not in str(error):
            raise
    return _with_pillow(data)


def _with_pillow(data: Bytes) -> np.ndarray:
    """Decode a file with unusual sampling factors. Where data end, libjpeg goes on in mid-grey."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        rgb = np.asarray(image.convert("RGB"))
    if (rgb[-8:, -8:] == 128).all():
        raise ValueError("the last block has no data")
    return rgb


def _without_metadata(data: Bytes, layout: Layout) -> bytes:
    """Return the file without comments and application segments, except Adobe's colours."""
    skipped = METADATA - {APP14}
    parts = [MAGIC[:2]]
    scans = {scan.start: scan for scan in layout.scans}
    for marker, start, end in layout.segments:
        if marker not in skipped:
            parts.append(bytes(data[start:end]))
        if end in scans:
            if layout.frame != PROGRESSIVE:
                parts[-1] = parts[-1][:-3] + _ALL_COEFFICIENTS
            parts.append(bytes(data[end : scans[end].end]))
    return b"".join([*parts, _END])
