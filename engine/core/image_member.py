"""The image member of a sample in its tar, which every reader of the dataset can open.

Sources hold many formats, some turned by EXIF, some that only one decoder reads. By default a
dataset has one column of images, `jpg`, upright and readable by Pillow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from florilegium.engine.core.image.blurring import blurred
from florilegium.engine.core.image.encoding import encode_jpeg, encode_png, is_upright_baseline_jpeg
from florilegium.engine.core.image.reading import decode

ImageKind = Literal["jpg", "png", "original"]
"""How images are written: as JPEG, as PNG, or with the bytes of the source."""


class ImageMember(NamedTuple):
    """The bytes of an image and the extension under which they are stored."""

    extension: str
    data: bytes | memoryview


def image_member(
    data: bytes | memoryview,
    *,
    kind: ImageKind,
    extension: str,
    blurred_xyxy: Sequence[Sequence[float]] = (),
) -> ImageMember:
    """Return an image as it is written; `extension` is that of the source's bytes.

    With boxes that are `blurred`, it is encoded in any case: as PNG for `png`, else as JPEG.

    `jpg`: an upright baseline JPEG stays byte for byte; anything else is encoded once, with
    quality 95 and full colour resolution. `png`: encoded without loss. `original`: the bytes
    stay, whatever the format and the EXIF orientation are.

    Raises:
        SampleError: the pixels cannot be decoded.
    """
    if len(blurred_xyxy):
        pixels = blurred(decode(data), blurred_xyxy)
        if kind == "png":
            return ImageMember("png", encode_png(pixels))
        return ImageMember("jpg", encode_jpeg(pixels))
    if kind == "original":
        return ImageMember(extension, data)
    if kind == "png":
        return ImageMember("png", encode_png(decode(data)))
    if is_upright_baseline_jpeg(data):
        return ImageMember("jpg", data)
    return ImageMember("jpg", encode_jpeg(decode(data)))
