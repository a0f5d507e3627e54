from __future__ import annotations

import asyncio

from florilegium.engine.execution.pool_visits import PoolVisits
from florilegium.engine.execution.segments import Segment


def segment(pool: str) -> Segment:
    return Segment(pool=pool, names=(pool,), after=frozenset())


def test_a_shard_that_starts_again_has_other_visits() -> None:
    """What the first time answered is kept: the second plan may be shorter."""
    released: list[str] = []

    async def release(pool: str) -> None:
        released.append(pool)

    async def work() -> None:
        visits = PoolVisits(["a", "b"], release)
        visits.begin("one")
        await visits.no_more_jobs()
        await visits.plan("one", [segment("a"), segment("b")])
        assert released == []
        await visits.plan("one", [segment("b")])
        assert released == ["a"]
        await visits.end("one", 0, "b")
        assert released == ["a", "b"]

    asyncio.run(work())
