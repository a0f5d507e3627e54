"""Unit vectors as short texts, and which of them are close by their cosine.

Candidates are found by the signs of random projections (SimHash; Charikar, "Similarity estimation
techniques from rounding algorithms", 2002) in tables of 16 of them, so a search is a little less
than complete: pairs at the threshold are found with the probability `recall_of`.
"""

from __future__ import annotations

import math
from base64 import b85decode, b85encode
from collections.abc import Iterator
from functools import cache

import numpy as np

from florilegium.pipelines.sample_filters.bands import BAND_BITS, BandTable, flips

TABLES = 16
"""Tables of 16 signs each."""
_PROBED = 1
"""Signs of a table in which two vectors may differ and are compared."""
_AT_ONCE = 1 << 14
"""Pairs whose cosines are computed together."""
_SEED = 20
_GRAIN = 256
"""Steps of a standard deviation to which the directions are rounded."""


def to_text(vector: np.ndarray) -> str:
    """Write a vector as text: a byte for each number, relative to the largest. Of random vectors
    with 64 numbers, cosines change by 0.001 at most, with 512 by half of that (measured)."""
    largest = float(np.abs(vector).max(initial=0)) or 1.0
    return b85encode(np.rint(vector / largest * 127).astype(np.int8).tobytes()).decode()


def from_texts(texts: list[str]) -> np.ndarray:
    """Read vectors of one width back, int8, shape (n, width)."""
    return np.stack([np.frombuffer(b85decode(text), np.int8) for text in texts])


def recall_of(cosine: float) -> float:
    """Return the probability that two random vectors with this cosine are compared, 0..1."""
    differs = math.acos(min(cosine, 1.0)) / math.pi
    in_one = sum(
        math.comb(BAND_BITS, count) * differs**count * (1 - differs) ** (BAND_BITS - count)
        for count in range(_PROBED + 1)
    )
    return 1 - (1 - in_one) ** TABLES


def with_keys(vectors: np.ndarray) -> np.ndarray:
    """Append to each vector, int8, shape (n, width), its keys, so that they are made once: int8,
    shape (n, width + 2 * `TABLES`). Sums of whole numbers are exact in any order, so keys are the
    same on every machine."""
    signs = vectors.astype(np.float64) @ _axes(vectors.shape[1]) > 0
    return np.concatenate([vectors, np.packbits(signs, axis=1).view(np.int8)], axis=1)


class VectorIndex:
    """Vectors `with_keys`, to be searched for those with at least some cosine.

    It takes the width and 132 bytes for each vector, and 8 MB.
    """

    def __init__(self, items: np.ndarray, least_cosine: float) -> None:
        """Index vectors for a least cosine, 0..1."""
        self._least = least_cosine
        self._vectors, self._squares, keys = _parts(items)
        self._masks = flips(_PROBED)
        self._tables = [BandTable(keys[:, table]) for table in range(TABLES)]

    def near(self, items: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows of vectors and of the index's own with at least that cosine; a pair may
        come several times, and some are missed."""
        vectors, squares, keys = _parts(items)
        for table, own_keys in zip(self._tables, keys.T, strict=True):
            for all_rows, all_own in table.candidates(own_keys, self._masks):
                for first in range(0, len(all_rows), _AT_ONCE):
                    rows, own = (one[first : first + _AT_ONCE] for one in (all_rows, all_own))
                    products = np.einsum(
                        "ij,ij->i", vectors[rows], self._vectors[own], dtype=np.float32
                    )
                    # One root of whole numbers is exact for equal vectors; two lengths are not.
                    lengths = np.sqrt(squares[rows].astype(np.float64) * self._squares[own])
                    is_near = products >= self._least * lengths
                    yield rows[is_near], own[is_near]


def _parts(items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vectors, the squares of their lengths and their keys, uint16, shape (n, `TABLES`)."""
    vectors = items[:, : -2 * TABLES]
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float32)
    keys = np.ascontiguousarray(items[:, -2 * TABLES :]).view("<u2")
    return vectors, squares, keys


@cache
def _axes(width: int) -> np.ndarray:
    """Return the directions on which vectors are projected, whole numbers, float64."""
    generator = np.random.Generator(np.random.PCG64(_SEED))
    return np.rint(generator.standard_normal((width, TABLES * BAND_BITS)) * _GRAIN)
