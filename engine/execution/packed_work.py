"""What calls carry to other processes: the work of a shard, and the answers about it.

A shard has a few calls for each of its stages. Packing its records for every call would be the
largest part of what a call costs: they are packed once, and unpacked once in each process. Answers
are packed where the driver only passes them on.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any
from uuid import uuid4

from florilegium.engine.execution.worker import LayerParts, ShardWork

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

    def all_of(self, arguments: Iterable[Any]) -> list[Any]:
        """Return the arguments of a worker's method, with works and parts unpacked."""
        return [
            self.of(one) if isinstance(one, PackedWork) else unpacked_part(one) for one in arguments
        ]


def unpacked_part(part: Any) -> Any:
    """Return the answers of a call, if the worker packed them; anything else as it is. The
    scheduler has put together those about an image that was given up."""
    return pickle.loads(part) if isinstance(part, bytes) else part


def packed_part(part: LayerParts) -> bytes:
    """Return the answers of a call as they pass a driver that does not look at them."""
    return pickle.dumps(part)
