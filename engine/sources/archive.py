"""Members of a tar, streamed, with every damage named.

Python's `tarfile` treats a damaged header as the end of the archive. Here damage is reported and
reading goes on at the next intact header. Concatenated archives are read to the last one. Nothing
is extracted, no path or link is followed. This module knows no samples.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, cast

from florilegium.engine.core.errors import StorageError
from florilegium.engine.core.limits import Limits
from florilegium.engine.sources.compression import Decompressed, UnpacksTooFar, UnreadCompression
from florilegium.engine.sources.place import printable

CORRUPT_TAR = "corrupt_tar"
UNREAD_COMPRESSION = "unread_compression"
ARCHIVE_TOO_LARGE = "archive_too_large"
"""An archive unpacks to more bytes, or has more files, than the limits allow."""

MAX_HEADER_BYTES = 1 << 20
"""Bytes of a long name or a pax record, at most: they are read into memory."""
MAX_NAME_CHARACTERS = 1024
"""Characters of a member's name, at most: a million names may be in memory at once."""
MAX_NESTED_HEADERS = 4
"""Extension headers before one member, at most; each is read into memory."""
MAX_GLOBAL_RECORDS = 100
"""Global pax records, at most; each member gets a copy of them."""
MAX_GAP_BYTES = 256 << 20
"""Bytes of zeros or damage in which the next header is searched."""

_HEADER_TYPES = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class Damage(NamedTuple):
    """A part of the archive that cannot be read; after a fatal one, reading ends."""

    message: str
    reason: str = CORRUPT_TAR


class Member(NamedTuple):
    """A file in the archive. `read` it before the next one; reading may raise."""

    name: str
    size: int
    is_regular: bool
    archive: tarfile.TarFile
    info: tarfile.TarInfo

    def read(self) -> bytes:
        """Read the member into memory; check `size` first.

        Raises:
            Exception: the member is truncated or its compression is damaged; `tarfile` and its
                decompressors raise anything.
        """
        file = self.archive.extractfile(self.info)
        return file.read() if file is not None else b""


def members(file: BinaryIO, limits: Limits) -> Iterator[Member | Damage]:
    """Stream the files of a tar, compressed or not; folders are left out."""
    last = "the start"
    count = 0
    try:
        plain = Decompressed(file, limits)
        # tarfile needs no more than `read` of a stream.
        archive = _Archive.open(fileobj=cast(BinaryIO, plain), mode="r|", ignore_zeros=True)
        while (info := archive.next()) is not None:
            # tarfile keeps each member, though a stream never goes back.
            archive.members.clear()  # type: ignore[attr-defined]
            if damage := archive.take_damage(last):
                yield damage
            count += 1
            if count > limits.max_archive_members:
                limit = f"more than {limits.max_archive_members} files (limits.max_archive_members)"
                raise UnpacksTooFar(limit)
            if not info.isdir():
                last = printable(info.name)
                yield Member(last, info.size, info.isreg(), archive, info)
        if damage := archive.take_damage(last):
            yield damage
        elif not archive.has_ended:
            yield Damage(f"no end marker after {last}: the file may have been cut there")
    except UnreadCompression as error:
        yield Damage(str(error), UNREAD_COMPRESSION)
    except UnpacksTooFar as error:
        yield Damage(f"nothing is read after {last}: {error}", ARCHIVE_TOO_LARGE)
    except StorageError:
        raise
    except Exception as error:  # hostile bytes raise anything
        yield Damage(f"unreadable after {last}: {error}")


class _MemberInfo(tarfile.TarInfo):
    """A header that refuses excessive sizes, and reports damage to its archive."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _MemberInfo:
        if len(buf) < tarfile.BLOCKSIZE and buf and not any(buf):
            raise tarfile.EOFHeaderError("zeros up to the end")  # type: ignore[attr-defined]
        info = super().frombuf(buf, encoding, errors)
        is_bloated = info.type in _HEADER_TYPES and info.size > MAX_HEADER_BYTES
        if info.size < 0 or is_bloated:
            raise tarfile.InvalidHeaderError(f"a size of {info.size} bytes")  # type: ignore[attr-defined]
        return info

    def _refuse_sparse(self, *_: Any) -> Any:
        raise tarfile.InvalidHeaderError("a sparse file, whose holes may be of any size")  # type: ignore[attr-defined]

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse

    @classmethod
    def fromtarfile(cls, archive: _Archive) -> _MemberInfo:  # type: ignore[override]
        archive.nested += 1
        try:
            if archive.nested > MAX_NESTED_HEADERS + 1:
                raise tarfile.ReadError(f"more than {MAX_NESTED_HEADERS} headers for one member")
            info = super().fromtarfile(archive)
            if info.size < 0:
                raise tarfile.InvalidHeaderError(f"a size of {info.size} bytes")  # type: ignore[attr-defined]
            if len(info.name) > MAX_NAME_CHARACTERS:
                raise tarfile.InvalidHeaderError(f"a name of {len(info.name)} characters")  # type: ignore[attr-defined]
        except tarfile.HeaderError as error:
            archive.note(error)
            raise
        finally:
            archive.nested -= 1
        if len(archive.pax_headers) > MAX_GLOBAL_RECORDS:
            raise tarfile.ReadError(f"more than {MAX_GLOBAL_RECORDS} global records")
        archive.has_ended = False
        archive.gap = 0
        return info


class _Archive(tarfile.TarFile):
    tarinfo = _MemberInfo
    has_ended = False
    nested = 0
    gap = 0
    _damage = ""

    def next(self) -> tarfile.TarInfo | None:
        # tarfile skips a member in 10 KiB steps, however many its header claims; this stops
        # where the file does.
        is_first = self.firstmember is not None  # type: ignore[attr-defined]
        while not is_first and (left := self.offset - self.fileobj.tell()) > 0:
            if not self.fileobj.read(min(left, 1 << 20)):
                raise tarfile.ReadError("unexpected end of data")
        return super().next()

    def note(self, error: tarfile.HeaderError) -> None:
        if isinstance(error, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
            self.has_ended = True
        elif not isinstance(error, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            self._damage = self._damage or f"{error} at byte {self.offset}"
        self.gap += tarfile.BLOCKSIZE
        if self.gap > MAX_GAP_BYTES:
            raise tarfile.ReadError(f"no header in {MAX_GAP_BYTES} bytes")

    def take_damage(self, last: str) -> Damage | None:
        message, self._damage = self._damage, ""
        return Damage(f"{message}, after {last}") if message else None
