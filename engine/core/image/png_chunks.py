"""The chunks of a PNG file: found even after a wrong size, and checked by their CRC."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from florilegium.engine.core.image.header import Bytes

MAGIC = b"\x89PNG\r\n\x1a\n"
_KNOWN = re.compile(rb"PLTE|IDAT|IEND|tRNS|eXIf|iTXt|tEXt|zTXt|fdAT|fcTL|acTL")
_MAX_TEXT = 4 * 1024 * 1024
_RAW_PROFILE = re.compile(rb"\s*\w+\s+\d+\s")


class Chunk(NamedTuple):
    """One chunk: its name, its data, and whether its CRC is right.

    `is_cut` is whether the file ends within it or its CRC; then the CRC is not checked.
    """

    kind: bytes
    data: Bytes
    is_sound: bool
    is_cut: bool

    @property
    def is_critical(self) -> bool:
        """Whether the picture cannot be shown without it."""
        return not self.kind[0] & 0x20


def chunks_of(data: Bytes) -> Iterator[Chunk]:
    """Yield the chunks up to IEND. After an ancillary chunk of wrong size the next is searched."""
    position = len(MAGIC)
    view = memoryview(data)
    while position + 8 <= len(view):
        length, kind = struct.unpack_from(">I4s", view, position)
        if not kind.isalpha():
            return
        end = position + 8 + length
        is_cut = end + 4 > len(view)
        body = view[position + 8 : end]
        is_sound = view[end : end + 4] == zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big")
        chunk = Chunk(kind, body, is_sound, is_cut)
        if not is_sound and not chunk.is_critical and not _is_boundary(view, end + 4):
            position = _next_sound(view, position + 8)
            continue
        yield chunk
        if kind == b"IEND":
            return
        position = end + 4


def _is_boundary(view: memoryview, position: int) -> bool:
    """Whether a chunk may begin here, by its size and name."""
    if position + 8 > len(view):
        return False
    length, kind = struct.unpack_from(">I4s", view, position)
    return kind.isalpha() and position + 12 + length <= len(view)


def _next_sound(view: memoryview, position: int) -> int:
    """Return where the next known chunk begins whose CRC is right; the end where there is none."""
    for match in _KNOWN.finditer(view, position):
        start = match.start() - 4
        (length,) = struct.unpack_from(">I", view, start)
        end = match.end() + length
        if end + 4 <= len(view):
            crc = zlib.crc32(view[match.start() : end])
            if view[end : end + 4] == crc.to_bytes(4, "big"):
                return start
    return len(view)


def exif_and_xmp(chunks: list[Chunk]) -> tuple[Bytes | None, Bytes | None]:
    """Return the EXIF and XMP blocks, from their own chunks first, then from raw profiles."""
    sound = [chunk for chunk in chunks if chunk.is_sound]
    texts = [found for chunk in sound if (found := _text(chunk))]
    exif = [chunk.data for chunk in sound if chunk.kind == b"eXIf"]
    xmp = [text for keyword, text in texts if keyword == b"XML:com.adobe.xmp"]
    for keyword, text in texts:
        if keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
            block = _raw_profile(text)
            is_xmp = block.startswith(b"http://ns.adobe.com/xap/")
            (xmp if is_xmp else exif).append(block)
        elif keyword == b"Raw profile type xmp":
            xmp.append(_raw_profile(text))
    return (exif[0] if exif else None), (xmp[0] if xmp else None)


def _text(chunk: Chunk) -> tuple[bytes, bytes] | None:
    """Return keyword and text of a text chunk that may hold metadata of the camera."""
    if chunk.kind not in (b"tEXt", b"zTXt", b"iTXt"):
        return None
    keyword, _, rest = bytes(chunk.data[:100]).partition(b"\0")
    if keyword != b"XML:com.adobe.xmp" and not keyword.startswith(b"Raw profile type "):
        return None
    text = chunk.data[len(keyword) + 1 :]
    if chunk.kind == b"tEXt":
        return keyword, bytes(text[:_MAX_TEXT])
    if chunk.kind == b"zTXt":
        return keyword, _inflated(text[1:])
    is_compressed = rest[:1] == b"\1"
    text = bytes(text[2 : 2 + _MAX_TEXT]).split(b"\0", 2)[-1]  # after language and keyword
    return keyword, _inflated(text) if is_compressed else text


def _inflated(data: Bytes) -> bytes:
    """Return the beginning of a compressed text, which may be a bomb."""
    try:
        return zlib.decompressobj().decompress(data, _MAX_TEXT)
    except zlib.error:
        return b""


def _raw_profile(text: bytes) -> bytes:
    """Return the bytes of an ImageMagick profile: a name, a length, hexadecimal digits."""
    match = _RAW_PROFILE.match(text)
    digits = bytes(text[match.end() :]).translate(None, b" \r\n\t") if match else b""
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return b""
