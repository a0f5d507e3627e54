"""A sample of a source: images spread evenly over it, and the number of all its images.

Only sampled files are opened. One archive is read whole and represents the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from florilegium.engine.core.errors import ConfigError
from florilegium.engine.execution.preparation import Run
from florilegium.engine.planning.partition import Entry, ShardSpec, partition
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
    entries: dict[int, list[Entry]] = {}
    for spec in partition(run.sources):
        entries.setdefault(spec.source, []).extend(spec.entries)
    total = sum(map(len, entries.values()))
    if not total:
        raise ConfigError("the source has no images; check its URL")
    return [
        Sampled(
            spec=ShardSpec(
                number=source,
                source=source,
                entries=tuple(_spread(own, run.sources[source], count * len(own) / total)),
            ),
            items=len(own),
        )
        for source, own in entries.items()
    ]


def _spread(entries: Sequence[Entry], source: Source[Any], count: float) -> list[Entry]:
    """Return evenly spaced entries; one if they are archives."""
    wanted = 1 if source.is_packed else min(len(entries), max(1, round(count)))
    indices = np.linspace(0, len(entries), wanted, endpoint=False).astype(int)
    return [entries[index] for index in indices]
