"""The answers of finished calls about a shard, kept until the shard is finished.

A shard that starts again, as a node left with its bytes, asks nothing twice. Parts of layers are
opaque here: only workers see what is in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.execution.worker import ShardWork


@dataclass
class Answered:
    """The samples that some stages have been asked about, and the parts with their answers."""

    samples: set[int] = field(default_factory=set)
    parts: list[Any] = field(default_factory=list)

    def add(self, samples: Collection[int], part: Any) -> None:
        """Keep the answers of a call."""
        self.samples.update(samples)
        self.parts.append(part)

    def clear(self) -> None:
        """Forget answers that are stored as layers."""
        self.samples.clear()
        self.parts.clear()


class Kept:
    """The answers about a shard, by the stages that were asked together.

    They count only for the same samples, of which the same are left to do for each of the stages.
    """

    def __init__(self) -> None:
        self._answered: defaultdict[Any, Answered] = defaultdict(Answered)

    def of(self, work: ShardWork, names: Sequence[str]) -> Answered:
        """Return what these stages have answered so far; to be added to."""
        return self._answered[work.shard.digest, tuple((name, work.todo[name]) for name in names)]
