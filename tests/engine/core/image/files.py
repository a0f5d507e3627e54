"""Image files written byte by byte, for what no library writes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.reading import decode, read_header


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    """Return the file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def read_and_decode(data: bytes) -> np.ndarray:
    """Decode as a shard does: header first; both have to agree about the size."""
    header = read_header(data)
    pixels = decode(data)
    assert pixels.shape == (header.height, header.width, 3)
    assert np.array_equal(pixels, decode(data))
    return pixels


def reason_of(data: bytes) -> str:
    """Return the reason for which these bytes cannot be used, or nothing."""
    try:
        read_and_decode(data)
    except SampleError as error:
        return error.reason
    return ""


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a PNG chunk with the right size and CRC."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(samples: np.ndarray, bits: int, order: str = ">") -> bytes:
    """Return rows of unsigned samples (height, width, channels) of any count of bits."""
    if bits in (8, 16, 32, 64):
        return samples.astype(f"{order}u{bits // 8}").tobytes()
    rows = samples.reshape(len(samples), -1, 1).astype(np.uint64)
    flags = rows >> np.arange(bits - 1, -1, -1, dtype=np.uint64) & np.uint64(1)
    return np.packbits(flags.astype(np.uint8).reshape(len(samples), -1), axis=1).tobytes()


PNG_COLOURS = {"grey": 0, "rgb": 2, "palette": 3, "grey_alpha": 4, "rgb_alpha": 6}


def png(samples: np.ndarray, bits: int, colour: str, *middle: bytes) -> bytes:
    """Return a PNG file of samples (height, width, channels), with more chunks before the rows."""
    height, width = samples.shape[:2]
    rows = packed(samples, bits)
    stride = len(rows) // height
    filtered = b"".join(b"\0" + rows[at : at + stride] for at in range(0, len(rows), stride))
    head = struct.pack(">IIBBBBB", width, height, bits, PNG_COLOURS[colour], 0, 0, 0)
    chunks = [png_chunk(b"IHDR", head), *middle, png_chunk(b"IDAT", zlib.compress(filtered))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IEND", b"")


def tiff(
    samples: np.ndarray, bits: int, *, order: str = "<", planar: bool = False, kind: int = 1,
    photometric: int | None = None, extra: int | None = None, orientation: int | None = None,
    deflate: bool = False, predictor: bool = False, xmp: bytes = b"", colours: tuple[int, ...] = (),
) -> bytes:  # fmt: skip
    """Return a TIFF file of samples (height, width, channels) in strips of three rows."""
    height, width, channels = samples.shape
    stored = samples
    if predictor:
        stored = samples.copy()
        stored[:, 1:] -= samples[:, :-1]
    planes = np.moveaxis(stored, 2, 0)[..., None] if planar else stored[None]
    strips = [plane[at : at + 3] for plane in planes for at in range(0, height, 3)]
    dtype = samples.dtype.newbyteorder(order)
    blocks = [
        packed(strip, bits, order) if kind == 1 else strip.astype(dtype).tobytes()
        for strip in strips
    ]
    blocks = [zlib.compress(block) if deflate else block for block in blocks]
    offsets = np.cumsum([8, *map(len, blocks)])
    if photometric is None:
        photometric = 2 if channels >= 3 else 1
    fields: dict[int, tuple[str, tuple[int, ...]]] = {
        256: ("I", (width,)), 257: ("I", (height,)), 258: ("H", (bits,) * channels),
        259: ("H", (8 if deflate else 1,)), 262: ("H", (photometric,)),
        273: ("I", tuple(map(int, offsets[:-1]))), 277: ("H", (channels,)), 278: ("I", (3,)),
        279: ("I", tuple(map(len, blocks))), 284: ("H", (2 if planar else 1,)),
        339: ("H", (kind,) * channels),
    }  # fmt: skip
    if orientation is not None:
        fields[274] = ("H", (orientation,))
    if predictor:
        fields[317] = ("H", (2,))
    if colours:
        fields[320] = ("H", colours)
    if extra is not None:
        fields[338] = ("H", (extra,))
    if xmp:
        fields[700] = ("B", tuple(xmp))
    body = b"".join(blocks)
    body += bytes(len(body) % 2)
    start = 8 + len(body)
    tail_at = start + 2 + 12 * len(fields) + 4
    entries, tail = b"", b""
    for tag, (code, values) in sorted(fields.items()):
        value = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(value) > 4:
            field, tail = struct.pack(order + "I", tail_at + len(tail)), tail + value
        else:
            field = value.ljust(4, b"\0")
        kind_of_field = {"B": 1, "H": 3, "I": 4}[code]
        entries += struct.pack(order + "HHI", tag, kind_of_field, len(values)) + field
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order]
    head = magic + struct.pack(order + "I", start)
    return head + body + struct.pack(order + "H", len(fields)) + entries + bytes(4) + tail


def exif(orientation: int) -> bytes:
    """Return an EXIF block, without its magic, that states an orientation."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes().removeprefix(b"Exif\0\0")


def xmp(orientation: int, *, element: bool = False, prefix: str = "tiff") -> bytes:
    """Return an XMP packet that states an orientation as an attribute or as an element."""
    name = f"{prefix}:Orientation"
    inner = f"<{name}>{orientation}</{name}>" if element else ""
    attribute = "" if element else f" {name}='{orientation}'"
    return (
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'>"
        "<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        f"<rdf:Description rdf:about='' xmlns:{prefix}='http://ns.adobe.com/tiff/1.0/'{attribute}>"
        f"{inner}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def with_segments(jpeg: bytes, *bodies: bytes) -> bytes:
    """Return a JPEG file with APP1 segments put at its beginning."""
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in bodies)
    return jpeg[:2] + segments + jpeg[2:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP file of these chunks."""
    parts = [b"WEBP"]
    for kind, body in chunks:
        parts += [kind, struct.pack("<I", len(body)), body, bytes(len(body) & 1)]
    rest = b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(rest)) + rest


def riff_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the chunks of a WebP file."""
    chunks, position = [], 12
    while position < len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        chunks.append((data[position : position + 4], data[position + 8 : position + 8 + size]))
        position += 8 + size + (size & 1)
    return chunks


def targa(
    pixels: bytes, size_wh: tuple[int, int], depth: int, descriptor: int, attributes: int | None
) -> bytes:
    """Return an uncompressed Targa file; `attributes` is the type in its extension area."""
    kind = 3 if depth == 8 else 2
    head = struct.pack("<BBBHHBHHHHBB", 0, 0, kind, 0, 0, 0, 0, 0, *size_wh, depth, descriptor)
    body = head + pixels
    if attributes is None:
        return body
    area = struct.pack("<H", 495) + bytes(492) + bytes([attributes])
    return body + area + struct.pack("<II", len(body), 0) + b"TRUEVISION-XFILE.\0"
