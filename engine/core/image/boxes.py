"""Files made of boxes (ISO 14496-12): AVIF, HEIC and JPEG 2000."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from florilegium.engine.core.image.header import Bytes, corrupt

_ZEROS = re.compile(re.escape(bytes(16)))


class Box(NamedTuple):
    """A box: its kind and the range of its body; the file may be shorter than `end`."""

    kind: bytes
    start: int
    end: int


def boxes_of(data: Bytes) -> Iterator[Box]:
    """Yield the outermost boxes."""
    position = 0
    while position + 8 <= len(data):
        size, start = int.from_bytes(data[position : position + 4], "big"), position + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        end = position + size if size else len(data)
        if end < start:
            return
        yield Box(bytes(data[position + 4 : position + 8]), start, end)
        position = end


def brands_of(data: Bytes) -> set[bytes]:
    """Return the brands of the `ftyp` box that a file begins with."""
    if data[4:8] != b"ftyp":
        return set()
    body = bytes(data[8 : min(int.from_bytes(data[:4], "big"), 512)])
    return {body[at : at + 4] for at in range(0, len(body), 4) if at != 4}


def check_media_data(data: Bytes, metadata: Iterable[bytes]) -> None:
    """Raise when the coded pixels of AVIF or HEIC are truncated or hold a row of zero bytes.

    Their entropy coding never writes such a row; `metadata` beside them may.
    """
    for box in boxes_of(data):
        if box.kind != b"mdat":
            continue
        if box.end > len(data):
            raise corrupt(f"the file is cut: it has {len(data)} bytes of {box.end}")
        if _ZEROS.search(data, box.start, box.end):
            coded = bytes(data[box.start : box.end])
            for block in metadata:
                coded = coded.replace(block, b"")
            if _ZEROS.search(coded):
                raise corrupt("a part of the coded pixels is filled with zeros")
