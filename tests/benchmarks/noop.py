"""What does a stage cost that does nothing? And one that touches the bytes of large images?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.benchmarks.children import DRIVER, run
from tests.benchmarks.jobs import job, repeated
from tests.benchmarks.photographs import print_copies, take_photographs
from tests.benchmarks.table import Row

TURNS = 3
FEW, MANY = 1, 33
"""Stages in the two builds whose difference is measured: enough that it exceeds the noise."""
TOUCHING = 8
"""Stages for which the limit of large images is meant."""
SHARD = 256
IMAGES = 20 * SHARD
LARGE_IMAGES = 12 * SHARD
LIMIT_US = 5.0
LIMIT_LARGE_US = 125.0


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Build with few and with many such stages, in turns; the rest of a build cancels out."""
    small = take_photographs(folder / "small", 8, side=64)
    large = take_photographs(folder / "large", 64)
    source = print_copies(small, folder / "small_copies", images or IMAGES)
    large_source = print_copies(large, folder / "large_copies", images or LARGE_IMAGES)
    how = f"CPU-time of all processes on Ray, {MANY} stages less {FEW}, {SHARD} samples a shard"
    silent = [_turn(folder / f"silent_{turn}", source, "Silent") for turn in range(TURNS)]
    touch = [_turn(folder / f"touch_{turn}", large_source, "Touch") for turn in range(TURNS)]
    cost = median(cpu_us for cpu_us, _ in silent)
    yield Row(what="no-op, sample and stage", value=cost, unit="µs", limit=LIMIT_US, how=how)
    clock = median(clock_us for _, clock_us in silent)
    yield Row(what="the same by the clock", value=clock, unit="µs", how="two workers share it")
    cost = TOUCHING * median(cpu_us for cpu_us, _ in touch)
    what = f"{TOUCHING} stages that touch 100 KB, sample"
    yield Row(what=what, value=cost, unit="µs", limit=LIMIT_LARGE_US, how=how)


def _turn(folder: Path, source: Path, use: str) -> tuple[float, float]:
    """Return what an additional stage costs per sample: CPU and clock, microseconds."""

    def build(stages: int) -> tuple[float, float]:
        place = folder / str(stages)
        document = job(source, place / "out", shard_size=SHARD, **repeated(use, stages))
        return run(DRIVER, place, document).timeline.steady()

    (few_cpu_s, few_s), (many_cpu_s, many_s) = build(FEW), build(MANY)
    count = (MANY - FEW) * SHARD
    return 1e6 * (many_cpu_s - few_cpu_s) / count, 1e6 * (many_s - few_s) / count
