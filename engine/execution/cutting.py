"""How the samples of a shard are cut into calls."""

from __future__ import annotations

import math
from collections.abc import Iterator

CHUNK = 32
"""Samples in one call, at most: long enough to hide the cost of a call, short enough to share."""


def whole_batches(count: int, *, width: int, batch: int) -> Iterator[int]:
    """Yield the lengths of calls that share samples among `width` workers, in whole batches."""
    share = math.ceil(count / (2 * width))
    size = max(batch, math.ceil(min(share, CHUNK) / batch) * batch)
    while count > 0:
        yield min(size, count)
        count -= size


def tapered(count: int, *, width: int, batch: int) -> Iterator[int]:
    """Yield the lengths of the last calls of a run, shorter and shorter, so that all workers end
    at about the same time: each takes a share of what is left, down to a quarter of a batch.

    (Guided self-scheduling: Polychronopoulos and Kuck, IEEE Transactions on Computers C-36, 1987.)
    """
    least = math.ceil(min(batch, CHUNK) / 4)
    while count > 0:
        share = min(math.ceil(count / (2 * width)), max(CHUNK, batch))
        size = max(least, share - share % batch if share > batch else share)
        yield min(size, count)
        count -= size
