"""How many calls can one driver schedule? Its own CPU-time, beside workers that do nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from florilegium.engine.execution.cutting import CHUNK
from tests.benchmarks.children import DRIVER, run
from tests.benchmarks.jobs import job, repeated
from tests.benchmarks.photographs import print_copies, take_photographs
from tests.benchmarks.table import Row

TURNS = 3
SMALL, LARGE = CHUNK, 16 * CHUNK
"""Samples in a shard of the two builds: one call of the stage, and sixteen."""
SHARDS = 24
LIMIT_MS = 3.0


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Build small and large shards, and divide the driver's CPU-time into shards and calls.

    `images` are those of the build of large shards.
    """
    shards = max(4, math.ceil((images or SHARDS * LARGE) / LARGE))
    album = take_photographs(folder / "photographs", 8, side=64)
    turns = [_turn(folder / f"turn_{turn}", album, shards) for turn in range(TURNS)]
    how = f"CPU-time of the driver alone, {TURNS} turns of {shards} shards, 2 workers"
    call_ms = median(call_ms for call_ms, _ in turns)
    yield Row(what="a call", value=call_ms, unit="ms", limit=LIMIT_MS, how=how)
    shard_ms = median(shard_ms for _, shard_ms in turns)
    yield Row(what="a shard, beside its calls", value=shard_ms, unit="ms", how="open and publish")
    yield Row(what="calls of stages that one driver can make", value=1000 / call_ms, unit="/s")
    images_s = 1000 * 256 / (shard_ms + 256 / CHUNK * call_ms)
    how = f"{CHUNK} images a call, 256 a shard"
    yield Row(what="images a stage that one driver can pass", value=images_s, unit="/s", how=how)


def _turn(folder: Path, album: Path, shards: int) -> tuple[float, float]:
    """Return the driver's milliseconds for a call of a stage, and for a shard beside its calls."""

    def of_shard(size: int) -> float:
        place = folder / str(size)
        source = print_copies(album, place / "copies", shards * size)
        document = job(source, place / "out", shard_size=size, **repeated("Silent", 1))
        return 1000 * run(DRIVER, place / "build", document).timeline.driver_s()

    small_ms, large_ms = of_shard(SMALL), of_shard(LARGE)
    call_ms = (large_ms - small_ms) / (LARGE / CHUNK - SMALL / CHUNK)
    return call_ms, small_ms - call_ms
