"""Which items repeat an earlier one: the first of a group is kept, the others are its duplicates.

An item is a duplicate when an earlier item that was kept is close to it; the earliest counts. So
items that are kept are never close to each other, no chain of small changes joins what is far
apart, and an answer never changes when more items come. What close means is up to a `Near`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

NONE = -1
"""The number of no item."""
_RECENT = 1 << 14
"""Kept items that are indexed again with each part; older ones are in an index that stays."""
_AT_ONCE = 1 << 10
"""Items that are compared with each other at once: all pairs of these may be close."""


class Near(Protocol):
    """Finds what is close among the items, rows of an array, that it was made from."""

    def near(self, items: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield pairs of close items: rows of `items`, rows of its own. Memory is bounded."""


class Leaders:
    """The items that were kept so far. The answers do not depend on how items are cut into calls.

    Items are numbered from 0 in the order in which they are added.
    """

    def __init__(self, index: Callable[[np.ndarray], Near]) -> None:
        """Start with no items; `index` prepares items to be searched."""
        self._index = index
        self._old: _Part | None = None
        self._recent: _Part | None = None
        self._count = 0

    def add(self, items: np.ndarray) -> np.ndarray:
        """Return, for each item, the number of the kept item that it repeats, or `NONE`, int64,
        shape (n,)."""
        cuts = range(0, len(items), _AT_ONCE)
        return np.concatenate(
            [np.empty(0, np.int64), *(self._add(items[cut : cut + _AT_ONCE]) for cut in cuts)]
        )

    def _add(self, items: np.ndarray) -> np.ndarray:
        _, first, same = np.unique(items, axis=0, return_index=True, return_inverse=True)
        same = first[same.ravel()]  # the first equal item of each has the same answer
        distinct = np.sort(first)
        leader = np.full(len(items), NONE, np.int64)
        leader[distinct] = self.find(items[distinct])
        fresh = distinct[leader[distinct] == NONE]
        own = self._among(items[fresh])
        is_repeat = own != NONE
        leader[fresh[is_repeat]] = fresh[own[is_repeat]] + self._count
        kept = fresh[~is_repeat]
        later = np.flatnonzero(same != np.arange(len(items)))
        of_first = leader[same[later]]
        leader[later] = np.where(of_first == NONE, same[later] + self._count, of_first)
        self._keep(items[kept], kept + self._count)
        self._count += len(items)
        return leader

    def find(self, items: np.ndarray) -> np.ndarray:
        """Return the number of the earliest kept item close to each, or `NONE`; none is added."""
        last = np.iinfo(np.int64).max
        found = np.full(len(items), last)
        for part in (self._old, self._recent):
            if part is None:
                continue
            for rows, own in part.index.near(items):
                np.minimum.at(found, rows, part.numbers[own])
        found[found == last] = NONE
        return found

    def _among(self, items: np.ndarray) -> np.ndarray:
        """Return the row of the earliest kept item close to each, among the items before it."""
        leader = np.full(len(items), NONE, np.int64)
        if not len(items):
            return leader
        pairs = [np.empty((0, 2), np.int64)]
        for rows, others in self._index(items).near(items):
            is_before = others < rows
            pairs.append(np.stack([rows[is_before], others[is_before]], axis=1).astype(np.int64))
        # In the order of the later item, then of the earlier: the first that is kept counts.
        for row, other in np.unique(np.concatenate(pairs), axis=0).tolist():
            if leader[row] == NONE and leader[other] == NONE:
                leader[row] = other
        return leader

    def _keep(self, items: np.ndarray, numbers: np.ndarray) -> None:
        """Add kept items to the recent ones; once these are many, to the old ones."""
        self._recent = self._joined(self._recent, items, numbers)
        if len(self._recent.items) >= _RECENT:
            self._old = self._joined(self._old, self._recent.items, self._recent.numbers)
            self._recent = self._part(items[:0], numbers[:0])

    def _joined(self, part: _Part | None, items: np.ndarray, numbers: np.ndarray) -> _Part:
        if part is None:
            return self._part(items, numbers)
        if not len(items):
            return part
        return self._part(
            np.concatenate([part.items, items]), np.concatenate([part.numbers, numbers])
        )

    def _part(self, items: np.ndarray, numbers: np.ndarray) -> _Part:
        return _Part(items, numbers, self._index(items))


@dataclass(frozen=True, eq=False)
class _Part:
    """Some kept items, with their numbers and their index."""

    items: np.ndarray
    numbers: np.ndarray
    index: Near
