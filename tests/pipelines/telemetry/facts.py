"""Facts of a small run, made by hand."""

from __future__ import annotations

from florilegium.engine.core.sample import DeadLetter
from florilegium.engine.core.spent import Spent
from florilegium.engine.execution.observer import (
    CallFinished,
    Fact,
    PoolLoad,
    PoolsSeen,
    RunStarted,
    ShardFinished,
    ShardRestarted,
    ShardsSkipped,
    WorkerLost,
    WorkFound,
)
from florilegium.engine.execution.timing import StageTiming
from florilegium.engine.results.publication import FileStats, ShardStats

STARTED = RunStarted(
    sources=("photos",), output="out/mine", recipe="recipe", runner="local", started_s=1000.0
)


def stats(number: int, samples: int, *reasons: str) -> ShardStats:
    """Return the statistics of a shard with dead letters of a stage, by their reasons."""
    letters = tuple(
        DeadLetter(key=f"{number}{n}", source="", stage="tagger", reason=reason, message="")
        for n, reason in enumerate(reasons)
    )
    file = FileStats(bytes=0, sha256="")
    return ShardStats(
        number=number, recipe="", samples_digest="", samples=samples, annotations_kept=samples,
        annotations_dropped=1, tasks={}, specialists={}, drops={}, extensions={},
        dead_letters=letters, tar=file, parquet=file,
    )  # fmt: skip


TIMING = StageTiming(
    stage="tagger",
    started_s=1001.0,
    batch_samples=(8, 8, 4),
    batch_seconds=(0.25, 0.5, 2.0),
    failures=1,
    spent=Spent(requests=20, tokens=3000, cost=0.5),
)

FACTS: tuple[Fact, ...] = (
    STARTED,
    ShardsSkipped(shards=1, samples=20, dead_letters=0),
    WorkFound(shards=3, stages=("tagger",)),
    PoolsSeen(pools=(PoolLoad(pool="gpu", width=2, calls=7),), waiting="waiting for 1 GPU"),
    CallFinished(
        shard="000001", pool="gpu", stages=("tagger",), samples=20, started_s=1001.0, seconds=9.0,
        timings=(TIMING,), repeats=1,
    ),
    WorkerLost(
        shard="000001", pool="gpu", stages=("tagger",), samples=1, reason="process_died",
        message="killed",
    ),
    ShardRestarted(shard="000001", reason="a node left"),
    ShardFinished(
        shard="000001", stats=stats(1, 18, "too_ugly", "too_ugly"), started_s=1000.0, seconds=12.0
    ),
)  # fmt: skip
"""A run of four shards in its middle: one was done before, one is done now, two are left."""
