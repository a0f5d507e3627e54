"""Untrusted bytes become upright RGB pixels; pixels become a JPEG or a PNG.

The rooms: `header` the limits, `reading` the two doors `read_header` and `decode`, `tones` depth
and transparency, `orientation`, and a module for each format that is read with care: a file whose
pixels are all there is decoded though its metadata is broken; a file that is cut is refused. This
package knows no samples: it raises `SampleError` with a reason.
"""

from engine.core.image.encoding import encode_jpeg, encode_png, is_upright_baseline_jpeg
from engine.core.image.header import (
    CORRUPT_IMAGE,
    EMPTY_FILE,
    MAX_BYTES,
    MAX_PIXELS,
    MISSING_PACKAGE,
    NOT_AN_IMAGE,
    OUT_OF_MEMORY,
    PIXELS_VERSION,
    TOO_MANY_BYTES,
    TOO_MANY_PIXELS,
    ImageHeader,
)
from engine.core.image.reading import decode, image_suffixes, read_header
from engine.core.image.resizing import shrunk

__all__ = [
    "CORRUPT_IMAGE",
    "EMPTY_FILE",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MISSING_PACKAGE",
    "NOT_AN_IMAGE",
    "OUT_OF_MEMORY",
    "PIXELS_VERSION",
    "TOO_MANY_BYTES",
    "TOO_MANY_PIXELS",
    "ImageHeader",
    "decode",
    "encode_jpeg",
    "encode_png",
    "image_suffixes",
    "is_upright_baseline_jpeg",
    "read_header",
    "shrunk",
]
