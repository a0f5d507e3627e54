"""Hashes of what an image looks like: close for copies that were resized or compressed again.

The 64-bit hash pHash (Zauner, "Implementation and benchmarking of perceptual image hash functions",
2010): the signs of the low frequencies of the grey image, about their median. Own code, as the
packages that have it bring wavelets, or must be compiled.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from florilegium.pipelines.sample_filters.bands import (
    BANDS,
    BandTable,
    band_radii,
    bands_of,
    flips,
)

BITS = 64
MAX_RADIUS = 10
"""Bits in which hashes of copies may differ, at most: a search for more would not be fast, and a
million random hashes have five thousand pairs that close by chance."""
_SIDE = 32
_LOW = 8
_LEAST_CONTRAST = 2.0
"""Root mean square of the low frequencies in grey levels, below which their signs are noise."""


def perceptual_hash(pixels: np.ndarray) -> int | None:
    """Return the hash of RGB pixels, uint8, (height, width, 3), as an unsigned 64-bit number.

    `None` for an image without contrast: all of them would be copies of each other.
    """
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_LOW, :_LOW].ravel()
    own = low[1:]  # without the mean
    if np.sqrt((own**2).sum()) / _SIDE < _LEAST_CONTRAST:
        return None
    bits = low > np.median(own)
    bits[0] = low[0] > _SIDE * 127.5  # the mean: dark or bright
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


class HashIndex:
    """Hashes, uint64, shape (n,), to be searched for those within a Hamming distance.

    It takes 24 bytes for each hash, and 2 MB.
    """

    def __init__(self, hashes: np.ndarray, radius: int) -> None:
        """Index hashes for a radius in bits, 0..`MAX_RADIUS`."""
        self._hashes, self._radius = hashes, radius
        self._masks = [flips(one) for one in band_radii(radius)]
        keys = bands_of(hashes[:, None])
        self._tables = [BandTable(keys[:, band]) for band in range(BANDS)]

    def near(self, items: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows of hashes and of the index's own within the radius, all of them; a pair
        may come twice."""
        keys = bands_of(items[:, None])
        for band, (table, masks) in enumerate(zip(self._tables, self._masks, strict=True)):
            for rows, own in table.candidates(keys[:, band], masks):
                distance = np.bitwise_count(items[rows] ^ self._hashes[own])
                is_near = distance <= self._radius
                yield rows[is_near], own[is_near]
