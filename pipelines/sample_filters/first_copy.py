"""Which samples of a run are copies of earlier ones, shard after shard: keys instead of numbers.

Earlier shards win; within a shard the image with the most pixels, then the first key. So a
verdict never changes when new images come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from florilegium.engine.core.judgement import SampleColumns
from florilegium.pipelines.sample_filters.leaders import NONE, Leaders, Near

EXACT, NEAR, LISTED = "exact", "near", "listed"
"""Kinds of copies: the same bytes, close by what is compared, or of a benchmark."""


class Copies(NamedTuple):
    """For each sample of a shard, in its order: the key that it repeats, and the kind; or ""."""

    copy_of: np.ndarray
    kind: np.ndarray


class FirstCopies:
    """The samples that were kept so far: a key, 32 bytes of digest and an item for each, about
    200 bytes and what the index takes."""

    def __init__(
        self,
        index: Callable[[np.ndarray], Near] | None,
        *,
        listed_digests: frozenset[bytes] = frozenset(),
        listed: np.ndarray | None = None,
    ) -> None:
        """Start with no samples.

        Args:
            index: prepares items to be searched; without it, only bytes are compared.
            listed_digests: SHA-256 of images that must not be in the dataset.
            listed: items of such images.
        """
        self._leaders = Leaders(index) if index else None
        self._listed_digests = listed_digests
        self._listed = index(listed) if index and listed is not None and len(listed) else None
        self._keys: list[str] = []
        self._by_digest: dict[bytes, str] = {}

    def add(self, samples: SampleColumns, items: np.ndarray, has_item: np.ndarray) -> Copies:
        """Return the copies in the next shard.

        Args:
            samples: those of the shard.
            items: what is compared of those that have it, in their order.
            has_item: which samples have it, bool, shape (n,).
        """
        count = len(samples)
        copies = Copies(np.full(count, "", object), np.full(count, "", object))
        is_listed = self.listed(samples, items, has_item)
        copies.kind[is_listed] = LISTED
        pixels = samples.width_px * samples.height_px
        order = sorted(range(count), key=lambda row: (-pixels[row], samples.key[row]))
        digests = [bytes.fromhex(one) for one in samples.sha256]
        exact, compared = [], []
        for row in (row for row in order if not is_listed[row]):
            first = self._by_digest.setdefault(digests[row], samples.key[row])
            if first != samples.key[row]:
                exact.append(row)
            elif has_item[row]:
                compared.append(row)
        if self._leaders and compared:
            rows_of_item = np.cumsum(has_item) - 1
            self._keys += [samples.key[row] for row in compared]
            leaders = self._leaders.add(items[rows_of_item[compared]]).tolist()
            for row, leader in zip(compared, leaders, strict=True):
                if leader != NONE:
                    copies.copy_of[row], copies.kind[row] = self._keys[leader], NEAR
                    self._by_digest[digests[row]] = self._keys[leader]
        for row in exact:  # of one that is kept: the first may be a copy itself
            copies.copy_of[row], copies.kind[row] = self._by_digest[digests[row]], EXACT
        return copies

    def listed(self, samples: SampleColumns, items: np.ndarray, has_item: np.ndarray) -> np.ndarray:
        """Return which samples are on the lists, whatever else is in the run, bool, shape (n,)."""
        is_listed = np.array(
            [bytes.fromhex(one) in self._listed_digests for one in samples.sha256], bool
        )
        if self._listed and len(items):
            rows_of_items = np.flatnonzero(has_item)
            for rows, _ in self._listed.near(items):
                is_listed[rows_of_items[rows]] = True
        return is_listed
