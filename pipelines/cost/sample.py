"""A sample of a source: images spread evenly over it, and the number of all its images.

Only sampled files are opened. One archive is read whole and represents the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.execution.preparation import Run
from florilegium.engine.planning.index import Entry
from florilegium.engine.planning.partition import Partition, ShardSpec, partition
from florilegium.engine.sources.source import Source


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Some items of one source as a shard, `spec`; the source has `items` in all."""

    spec: ShardSpec
    items: int

    def inputs(self, found: int) -> int:
        """Estimate the inputs of the whole source from the number `found` in the sample."""
        return round(self.items * found / len(self.spec.entries))


def sample_source(run: Run, count: int) -> list[Sampled]:
    """Take about `count` images, in proportion to the size of each source.

    Raises:
        ConfigError: the source has no images.
    """
    shards = partition(run.sources)
    items: Counter[int] = Counter()
    for shard in shards.shards():
        items[shard.source] += shard.inputs
    total = items.total()
    if not total:
        raise ConfigError("the source has no images; check its URL")
    return [
        Sampled(
            spec=ShardSpec(
                number=source,
                source=source,
                entries=tuple(_spread(shards, run.sources, source, own, count * own / total)),
            ),
            items=own,
        )
        for source, own in items.items()
    ]


def _spread(
    shards: Partition, sources: Sequence[Source[Any]], source: int, items: int, count: float
) -> Iterator[Entry]:
    """Yield evenly spaced entries of a source with so many items; one if they are archives."""
    wanted = 1 if sources[source].is_packed else min(items, max(1, round(count)))
    indices = np.linspace(0, items, wanted, endpoint=False).astype(int)
    start = 0
    for shard in shards.shards():
        if shard.source == source:
            first, last = np.searchsorted(indices, (start, start + shard.inputs))
            if first < last:
                entries = shards.spec(shard.number).entries
                yield from (entries[index - start] for index in indices[first:last])
            start += shard.inputs
