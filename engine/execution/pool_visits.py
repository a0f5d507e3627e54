"""Which visits of pools are still to come: after the last one, a pool is released."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from florilegium.engine.execution.segments import Segment

_UNPLANNED = -1
"""The index of the visits of a shard whose segments are not known: it may visit every pool."""
_MORE_JOBS = ("", _UNPLANNED)
"""The visit of jobs that were not taken yet."""


class PoolVisits:
    """The visits to come, by pool; `release` is called for a pool that no shard needs any more."""

    def __init__(self, pools: Collection[str], release: Callable[[str], Awaitable[None]]) -> None:
        self._to_come = {pool: {_MORE_JOBS} for pool in pools}
        self._release = release

    def begin(self, shard: str) -> None:
        """Note that a shard was taken, which may visit every pool."""
        for visits in self._to_come.values():
            visits.add((shard, _UNPLANNED))

    async def no_more_jobs(self) -> None:
        """Note that all shards were taken."""
        for pool in self._to_come:
            await self._end(pool, _MORE_JOBS)

    async def plan(self, shard: str, segments: Sequence[Segment]) -> None:
        """Note which pools a shard will visit, now that it is known; one that starts again, after
        an earlier plan of which visits did not end, has another."""
        for visits in self._to_come.values():
            if stale := {visit for visit in visits if visit[0] == shard}:
                visits -= stale
                visits.add((shard, _UNPLANNED))
        for index, segment in enumerate(segments):
            if segment.pool in self._to_come:
                self._to_come[segment.pool].add((shard, index))
        for pool in self._to_come:
            await self._end(pool, (shard, _UNPLANNED))

    async def end(self, shard: str, index: int, pool: str) -> None:
        """Note that the visit for a segment of a shard, by its index, is over."""
        await self._end(pool, (shard, index))

    async def _end(self, pool: str, visit: tuple[str, int]) -> None:
        if visit in (visits := self._to_come.get(pool, set())):
            visits.remove(visit)
            if not visits:
                await self._release(pool)
