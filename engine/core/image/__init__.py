"""Untrusted bytes become upright RGB pixels; pixels become a JPEG or a PNG.

`reading` has the two functions `read_header` and `decode`, `header` the limits, `tones` bit depth
and transparency, `orientation` the turning upright; each format that needs checks has a module. A
file with all its pixels is decoded even if its metadata is broken; a truncated file is refused.
Errors are `SampleError` with a reason.
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
