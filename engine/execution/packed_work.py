"""The work of a shard as calls carry it to other processes: packed once, and unpacked once in each.

A shard has a few calls for each of its stages. Packing its records for every call would be the
largest part of what a call costs.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from uuid import uuid4

from florilegium.engine.execution.worker import ShardWork

KEPT = 4
"""Works that a process keeps unpacked: of the shards that it is asked about in turns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedWork:
    """A pickled `ShardWork`. The key is its own: a shard that is read again has another one."""

    key: str
    data: bytes

    @classmethod
    def of(cls, work: ShardWork) -> PackedWork:
        """Pack the work of a shard that was just read."""
        return cls(key=uuid4().hex, data=pickle.dumps(work, protocol=pickle.HIGHEST_PROTOCOL))

    def unpacked(self) -> ShardWork:
        """Return the work."""
        work: ShardWork = pickle.loads(self.data)
        return work


class Unpacked:
    """The works that a process has unpacked last."""

    def __init__(self) -> None:
        self._works: OrderedDict[str, ShardWork] = OrderedDict()
        self._turn = Lock()  # a worker takes calls in several threads

    def of(self, packed: PackedWork) -> ShardWork:
        """Return a work, unpacked at most once while it is among the last."""
        with self._turn:
            work = self._works.pop(packed.key, None) or packed.unpacked()
            self._works[packed.key] = work
            if len(self._works) > KEPT:
                self._works.popitem(last=False)
            return work
