"""Compressed files as plain bytes, streamed: gzip, bzip2, xz, lzma and Zstandard.

A compressed file may be several streams in a row, as `cat` and parallel compressors write them: all
are read. The format is known by the first bytes, not by the name. This module knows no tars.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from florilegium.engine.core.limits import Limits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_XZ_BYTES = 256 << 20
"""An xz stream that needs more memory than this is refused; `xz -9` needs 65 MiB."""

_FREE_BYTES = 1 << 20
"""Unpacked bytes that any file may have, whatever its packed size."""
_CHUNK = 1 << 16
_PIECE = 20 * 512
_MAGIC_BYTES = 10


class UnreadCompression(Exception):
    """The compression of a file is not supported; the message has the cure."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"compressed by {name}, which is not read: decompress it, or compress it by gzip, "
            f"bzip2, xz or Zstandard"
        )

    @classmethod
    def twice(cls) -> UnreadCompression:
        """Return the error for compressed data in compressed data."""
        return cls("one program and then by another")


class UnpacksTooFar(Exception):
    """A file unpacks to more bytes than its limit; the message has the option."""


class Decompressed:
    """The plain bytes of a file, compressed or not, within the limits of an archive.

    Reading raises `UnreadCompression`, `UnpacksTooFar`, and other errors (each decompressor has its
    own) when the compressed bytes are truncated or damaged, or when other bytes follow them.
    """

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._file = _Counted(file)
        self._pieces = _pieces(self._file)
        self._limits = limits
        self.unpacked = 0

    def read(self, _size: int) -> bytes:
        """Return the next bytes, any number of them, and none at the end."""
        piece = next(self._pieces, b"")
        self.unpacked += len(piece)
        self._check()
        return piece

    def _check(self) -> None:
        limits = self._limits
        if self.unpacked > limits.max_archive_bytes:
            raise UnpacksTooFar(
                f"more than {limits.max_archive_bytes} bytes when unpacked "
                f"(limits.max_archive_bytes)"
            )
        if self.unpacked > _FREE_BYTES + limits.max_compression_ratio * self._file.count:
            raise UnpacksTooFar(
                f"{self._file.count} bytes unpack to more than {limits.max_compression_ratio:g} "
                f"times as many (limits.max_compression_ratio)"
            )


class _Counted:
    """Counts the bytes that are read from a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data


class _Decoder(Protocol):
    """The common interface of the standard library's decompressors, for one stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """One gzip member; `zlib` checks its length and its checksum."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        plain = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(plain) < max_length
        return plain


def _lzma() -> _Decoder:
    return lzma.LZMADecompressor(memlimit=MAX_XZ_BYTES)


_DECODERS: tuple[tuple[bytes, Callable[[], _Decoder]], ...] = (
    (b"\x1f\x8b\x08", _Gzip),
    *((b"BZh%d1AY&SY" % level, bz2.BZ2Decompressor) for level in range(1, 10)),
    *((b"BZh%d\x17\x72\x45\x38\x50\x90" % level, bz2.BZ2Decompressor) for level in range(1, 10)),
    (b"\xfd7zXZ\0", _lzma),
    # Old .lzma files have no magic, only the usual properties and the size of a dictionary.
    *((b"]\0\0" + (1 << bit).to_bytes(2, "little"), _lzma) for bit in range(13)),
    (b"\x28\xb5\x2f\xfd", zstd.ZstdDecompressor),
    # Skippable frames, which parallel and seekable Zstandard writes between others.
    *((bytes([kind]) + b"\x2a\x4d\x18", zstd.ZstdDecompressor) for kind in range(0x50, 0x60)),
)
_UNREAD = (
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x1f\x9d", "compress (.Z)"),
    (b"LZIP\x01", "lzip"),
    (b"\x89LZO\0", "lzop"),
    (b"\xff\x06\0\0sNaPpY", "snappy"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
)


def _pieces(file: _Counted) -> Iterator[bytes]:
    head = _head(file, b"")
    if name := next((name for magic, name in _UNREAD if head.startswith(magic)), None):
        raise UnreadCompression(name)
    decoder = _decoder_of(head)
    if decoder is None:
        yield head
        while data := file.read(_PIECE):
            yield data
        return
    is_first = True
    while decoder is not None:
        for piece in _stream(file, decoder, head):
            if is_first and _decoder_of(piece) is not None:
                raise UnreadCompression.twice()
            is_first = False
            yield piece
        head = _head(file, decoder.unused_data, padding=b"\0")
        decoder = _decoder_of(head)
    if head:
        raise ValueError("something that is not compressed follows the compressed data")


def _stream(file: _Counted, decoder: _Decoder, data: bytes) -> Iterator[bytes]:
    """Decompress one stream that begins with these bytes, a piece at a time."""
    while True:
        if plain := decoder.decompress(data, _PIECE):
            yield plain
        if decoder.eof:
            return
        data = file.read(_CHUNK) if decoder.needs_input else b""
        if decoder.needs_input and not data:
            raise EOFError("the compressed data are cut")


def _head(file: _Counted, data: bytes, *, padding: bytes = b"") -> bytes:
    """Read until there are enough bytes after any padding to know the format."""
    data = data.lstrip(padding) if padding else data
    while len(data) < _MAGIC_BYTES and (more := file.read(_CHUNK)):
        data = (data + more).lstrip(padding) if padding else data + more
    return data


def _decoder_of(head: bytes) -> _Decoder | None:
    return next((make() for magic, make in _DECODERS if head.startswith(magic)), None)
