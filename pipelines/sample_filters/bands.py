"""Which items may be close to which, without comparing all pairs: tables of 16-bit keys.

Two hashes of 64 bits within a distance of r differ, in one of their four bands of 16 bits, in few
bits (pigeonhole; multi-index hashing, Norouzi et al., arXiv 1307.2982). So it is enough to look up
each band and its neighbours. What is found is compared by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

BAND_BITS = 16
BANDS = 4
"""Bands of one word of 64 bits."""
_AT_ONCE = 1 << 22
"""Candidates that are returned together, about: bounds the memory of a search."""


def bands_of(words: np.ndarray) -> np.ndarray:
    """Cut words of 64 bits, uint64, shape (n, words), into keys, uint16, shape (n, 4 * words)."""
    return np.ascontiguousarray(words, dtype="<u8").view("<u2")


def band_radii(radius: int) -> tuple[int, ...]:
    """Return the distance up to which each band is searched, so that no pair within `radius` is
    missed; -1 for a band that need not be searched."""
    least, rest = divmod(radius, BANDS)
    return tuple(least if band <= rest else least - 1 for band in range(BANDS))


def flips(radius: int) -> np.ndarray:
    """Return all masks of 16 bits with at most `radius` bits set, uint16; none below 0."""
    found = [
        sum(1 << bit for bit in bits)
        for count in range(radius + 1)
        for bits in combinations(range(BAND_BITS), count)
    ]
    return np.array(found, dtype=np.uint16)


class BandTable:
    """The rows that have a key, for each of the 65,536 keys: 4 bytes a row, and 0.5 MB."""

    def __init__(self, keys: np.ndarray) -> None:
        """Sort rows by their keys, uint16, shape (n,)."""
        self._rows = np.argsort(keys, kind="stable").astype(np.uint32)
        counts = np.bincount(keys, minlength=1 << BAND_BITS)
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def candidates(
        self, keys: np.ndarray, masks: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield pairs (number of the query, row) whose keys differ by one of the masks: of
        ascending queries, a bounded number at a time."""
        sizes = np.diff(self._starts)
        counts = np.zeros(len(keys), dtype=np.int64)
        for mask in masks:
            counts += sizes[keys ^ mask]
        for first, last in _cut(counts):
            probed = (keys[first:last, None] ^ masks).astype(np.int64)
            lengths = sizes[probed].ravel()
            total = int(lengths.sum())
            if total:
                ends = np.cumsum(lengths)
                offsets = np.repeat(self._starts[probed].ravel() - (ends - lengths), lengths)
                queries = np.repeat(np.repeat(np.arange(first, last), len(masks)), lengths)
                yield queries, self._rows[offsets + np.arange(total)]


def _cut(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut queries into ranges with about `_AT_ONCE` candidates; one query may have more."""
    ends = np.cumsum(counts)
    first, done = 0, 0
    while first < len(counts):
        last = max(first + 1, int(np.searchsorted(ends, done + _AT_ONCE, side="right")))
        yield first, last
        first, done = last, int(ends[last - 1])
