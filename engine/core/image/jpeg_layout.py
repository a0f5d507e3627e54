"""The segments of a JPEG file (ITU-T T.81, annex B), without decoding any pixel.

A decoder fills in what a file lacks. The layout shows whether every coefficient of every component
is coded, and where the coded data are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from florilegium.engine.core.errors import SampleError
from florilegium.engine.core.image.header import NOT_AN_IMAGE, Bytes, corrupt

END = 0xD9
APP0, APP1, APP14, COMMENT = 0xE0, 0xE1, 0xEE, 0xFE
METADATA = {*range(APP0, APP0 + 16), COMMENT}
_START, _SCAN, _TABLES = 0xD8, 0xDA, 0xC4
_FRAMES = {*range(0xC0, 0xD0)} - {_TABLES, 0xC8, 0xCC}
BASELINE, EXTENDED, PROGRESSIVE = 0xC0, 0xC1, 0xC2
_NEXT_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One scan: the range of its coded data, and which bits of which coefficients they hold.

    `zeros_say_nothing`: in all Huffman tables of the scan the code of zeros alone means "no
    difference" or "end of block", so that a plain area is coded as a row of zero bytes.
    """

    start: int
    end: int
    components: tuple[int, ...]
    coefficients: range
    low_bit: int
    zeros_say_nothing: bool


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A JPEG file's frame, its scans and the segments of its metadata, in order.

    `sampling` holds (horizontal, vertical) by component identity. `has_end` is whether the end
    marker follows the last scan; `is_tidy` whether no stray byte lies between segments.
    """

    frame: int
    precision: int
    width: int
    height: int
    sampling: dict[int, tuple[int, int]]
    segments: tuple[tuple[int, int, int], ...]
    scans: tuple[Scan, ...]
    has_end: bool
    is_tidy: bool

    def bodies(self, data: Bytes, marker: int, magic: bytes) -> Iterator[Bytes]:
        """Yield the segments of one marker that begin with `magic`, without it."""
        for name, start, end in self.segments:
            if name == marker and data[start + 4 : start + 4 + len(magic)] == magic:
                yield data[start + 4 + len(magic) : end]

    def missing(self) -> str:
        """Return what the scans lack of the picture; "" when all is coded."""
        lacking = {part: [16] * 64 for part in self.sampling}  # the lowest bit, by coefficient
        for scan in self.scans:
            which = slice(scan.coefficients.start, scan.coefficients.stop)
            for part in scan.components:
                bits = lacking.setdefault(part, [0] * 64)
                bits[which] = [scan.low_bit] * len(scan.coefficients)
        parts = [part for part, bits in lacking.items() if any(bits)]
        return f"scans of {len(parts)} of {len(self.sampling)} components are missing" * bool(parts)


def layout_of(data: Bytes) -> Layout:
    """Walk through the segments up to the end marker or the end of the file.

    Raises:
        SampleError: `not_an_image` when there is no frame header, `corrupt_image` when a size is
            so wrong that a thumbnail would be taken for the picture.
    """
    walk = _Walk(data)
    walk.run()
    if walk.frame is None:
        raise SampleError(NOT_AN_IMAGE, "the JPEG file has no frame header")
    frame, precision, width, height, sampling = walk.frame
    return Layout(
        frame=frame,
        precision=precision,
        width=width,
        height=height,
        sampling=sampling,
        segments=tuple(walk.segments),
        scans=tuple(walk.scans),
        has_end=walk.has_end,
        is_tidy=walk.is_tidy,
    )


class _Walk:
    """The state of a walk through the segments."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.frame: tuple[int, int, int, int, dict[int, tuple[int, int]]] | None = None
        self.segments: list[tuple[int, int, int]] = []
        self.scans: list[Scan] = []
        self.has_end = False
        self.is_tidy = True
        self._first_symbols: dict[int, int] = {}  # of a Huffman table, by class and number

    def run(self) -> None:
        position = 2
        while True:
            match = _NEXT_MARKER.search(self.data, position)
            if match is None:
                return
            start, marker = match.start(), self.data[match.start() + 1]
            self.is_tidy &= not bytes(self.data[position:start]).strip(b"\xff")
            if marker == END:
                self.has_end = True
                return
            if marker == _START:
                raise corrupt("a second start in the JPEG file: a segment has a wrong size")
            end = start + 2 + int.from_bytes(self.data[start + 2 : start + 4], "big")
            if end < start + 4 or end > len(self.data):
                self.is_tidy = False
                position = start + 2
                continue
            self.segments.append((marker, start, end))
            position = self._segment(marker, bytes(self.data[start + 4 : end]), end)

    def _segment(self, marker: int, body: bytes, end: int) -> int:
        """Record one segment; return where the next may begin."""
        if marker in _FRAMES and len(body) >= 6 and self.frame is None:
            parts = [body[at : at + 3] for at in range(6, 6 + 3 * body[5], 3)]
            sampling = {part[0]: (part[1] >> 4, part[1] & 15) for part in parts if len(part) == 3}
            height, width = (int.from_bytes(body[at : at + 2], "big") for at in (1, 3))
            self.frame = (marker, body[0], width, height, sampling)
        elif marker == _TABLES:
            self._tables(body)
        elif marker == _SCAN and body and len(body) >= 4 + 2 * body[0]:
            match = _NEXT_MARKER.search(self.data, end)
            stop = match.start() if match else len(self.data)
            self.scans.append(self._scan(body, end, stop))
            return stop
        elif marker in METADATA and self.data[end : end + 1] != b"\xff":
            self.is_tidy = False
            return end - len(body)  # its size is wrong, or stray bytes follow
        return end

    def _tables(self, body: bytes) -> None:
        while len(body) >= 17:
            size = sum(body[1:17])
            if size and len(body) > 17:
                self._first_symbols[body[0]] = body[17]
            body = body[17 + size :]

    def _scan(self, body: bytes, start: int, end: int) -> Scan:
        count = body[0]
        components = body[1 : 1 + 2 * count : 2]
        tables = body[2 : 2 + 2 * count : 2]
        first, last, bits = body[1 + 2 * count : 4 + 2 * count]
        used = [table >> 4 for table in tables] if first == 0 else []
        used += [0x10 | table & 15 for table in tables] if last > 0 else []
        is_progressive = self.frame is not None and self.frame[0] == PROGRESSIVE
        return Scan(
            start=start,
            end=end,
            components=tuple(components),
            coefficients=range(first, min(last, 63) + 1) if is_progressive else range(64),
            low_bit=bits & 15 if is_progressive else 0,
            zeros_say_nothing=not any(self._first_symbols.get(table, 0) for table in used),
        )
