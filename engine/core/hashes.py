"""Hashes of columns of texts, computed by columns: what may be equal among millions.

Different texts have the same hash of 64 bits by chance only, once in 10^19 pairs. The hashes of a
process are its own, by a random key, and are not stored: who names the files does not know them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes = npt.NDArray[np.uint64]

_KEY = np.uint64(secrets.randbits(64))
_ODD, _ODD_TOO = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_HALF, _LESS = np.uint64(32), np.uint64(29)
_PIECE = 1 << 17
"""Hashes that are looked up together."""
_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)
"""Masks of the first bytes of a little-endian word, by their number."""


def hashes_of(texts: pa.Array | pa.ChunkedArray, before: Hashes | None = None) -> Hashes:
    """Return a hash for each text of an array; with `before`, of what that was a hash of, too."""
    if not len(texts):
        return np.empty(0, np.uint64)
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    size, data = texts.buffers()[1:]
    ends = np.frombuffer(size, np.int32)[texts.offset :][: len(texts) + 1].astype(np.int64)
    padded = np.zeros(int(ends[-1] - ends[0]) + 8, np.uint8)
    if data is not None:
        padded[:-8] = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    words = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))
    starts, lengths = ends[:-1] - ends[0], np.diff(ends)
    found = mixed(np.full(len(texts), _KEY) if before is None else before, lengths)
    for position in range(0, int(lengths.max()), 8):
        rows = np.flatnonzero(lengths > position)
        left = np.minimum(lengths[rows] - position, 8)
        word = words[starts[rows] + position] & _FIRST_BYTES[left]
        found[rows] = mixed(found[rows], word)
    return found


def numbered(numbers: npt.NDArray[np.integer]) -> Hashes:
    """Return a hash of each number."""
    return mixed(np.full(len(numbers), _KEY), numbers)


def mixed(hashes: Hashes, numbers: npt.NDArray[np.integer]) -> Hashes:
    """Return hashes of what `hashes` are of, and of a number each."""
    found = (hashes ^ numbers.astype(np.uint64)) * _ODD
    found ^= found >> _HALF
    found *= _ODD_TOO
    found ^= found >> _LESS
    return found


def gathered(pieces: Iterable[Hashes], most: int) -> Hashes:
    """Return the hashes of all pieces, `most` at most, as one array."""
    found = np.empty(most, np.uint64)
    count = 0
    for piece in pieces:
        found[count : count + len(piece)] = piece
        count += len(piece)
    return found[:count]


def is_among(hashes: Hashes, ordered: Hashes) -> npt.NDArray[np.bool_]:
    """Return which hashes are among others, which are in ascending order."""
    if not len(ordered):
        return np.zeros(len(hashes), np.bool_)
    found = np.empty(len(hashes), np.bool_)
    for start in range(0, len(hashes), _PIECE):
        piece = hashes[start : start + _PIECE]
        order = np.argsort(piece)  # neighbours are found near each other
        places = np.minimum(np.searchsorted(ordered, piece[order]), len(ordered) - 1)
        found[start + order] = ordered[places] == piece[order]
    return found


def repeated(hashes: Hashes) -> Hashes:
    """Return the hashes that are there more than once, in ascending order."""
    ordered = np.sort(hashes)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
