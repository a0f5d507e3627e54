"""Is the engine as good as what one would write by hand? Against a pool of two processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.benchmarks.children import BY_HAND, DRIVER, Ended, run
from tests.benchmarks.jobs import ANNOTATED, job
from tests.benchmarks.photographs import take_photographs
from tests.benchmarks.table import Row

IMAGES = 60
TURNS = 2
PROCESSES = 2
LIMIT = 1.0
LIMIT_GB = 2.0
LIMIT_STARTUP_S = 8.0
SIDES = ("pool", "ray")


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Build the same photographs both ways, in turns."""
    count = images or IMAGES
    album = take_photographs(folder / "photographs", count)
    turns = [_turn(folder / f"turn_{turn}", album) for turn in range(TURNS)]
    for side in SIDES:
        speed = median(count / turn[side].timeline.work_s for turn in turns)
        how = f"{count} photographs, {TURNS} turns, first image to last shard published"
        yield Row(what=f"speed, {side}", value=speed, unit="images/s", how=how)
    ratio = median(turn["ray"].timeline.work_s / turn["pool"].timeline.work_s for turn in turns)
    yield Row(what="seconds per image, ray / pool", value=ratio, limit=LIMIT)
    for side in SIDES:
        limit = LIMIT_GB if side == "ray" else None
        peak = max(turn[side].peak_bytes for turn in turns) / 1e9
        how = "all processes, shared pages once (PSS), the largest of the turns"
        yield Row(what=f"peak memory, {side}", value=peak, unit="GB", limit=limit, how=how)
    for side in SIDES:
        limit = LIMIT_STARTUP_S if side == "ray" else None
        seconds = median(turn[side].startup_s for turn in turns)
        how = "start of the process to the first image, imports and models included"
        yield Row(what=f"start-up, {side}", value=seconds, unit="s", limit=limit, how=how)
    for side in SIDES:
        cost = median(turn[side].timeline.work_cpu_s for turn in turns)
        yield Row(what=f"work, {side}", value=cost, unit="CPU-s", how="all processes")


def _turn(folder: Path, album: Path) -> dict[str, Ended]:
    sides = {"pool": (BY_HAND, [str(PROCESSES)]), "ray": (DRIVER, [])}
    return {
        side: run(
            program,
            folder / side,
            job(album, folder / side / "out", workers=PROCESSES, **ANNOTATED),
            *arguments,
        )
        for side, (program, arguments) in sides.items()
    }
