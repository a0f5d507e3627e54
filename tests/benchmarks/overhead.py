"""What does the engine cost beside the stages? CPU-seconds per image, Ray over a bare loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.benchmarks.children import BY_HAND, DRIVER, run
from tests.benchmarks.jobs import ANNOTATED, job
from tests.benchmarks.photographs import take_photographs
from tests.benchmarks.table import Row

IMAGES = 120
TURNS = 2
LIMIT = 1.05
BUILDS = (
    ("a bare loop in one process", BY_HAND, ("1",), None),
    ("Ray with one worker", DRIVER, (), 1),
    ("Ray with a worker per core", DRIVER, (), None),
)
"""Name, program, its arguments, workers."""


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Build other photographs in each turn, by hand and on Ray, and compare within the turn."""
    count = max(1, (images or IMAGES) // TURNS)
    turns = [_turn(folder / f"turn_{turn}", count, turn) for turn in range(TURNS)]
    how = f"CPU-seconds of all processes, {TURNS} x {count} photographs, after start-up"
    for name, *_ in BUILDS:
        cost = median(turn[name] for turn in turns)
        yield Row(what=f"per image, {name}", value=1000 * cost, unit="CPU-ms", how=how)
    loop = BUILDS[0][0]
    for name, *_ in BUILDS[1:]:
        ratio = median(turn[name] / turn[loop] for turn in turns)
        yield Row(what=f"{name} / {loop}", value=ratio, limit=LIMIT, how="median of the turns")


def _turn(folder: Path, count: int, turn: int) -> dict[str, float]:
    album = take_photographs(folder / "photographs", count, seed=turn)
    cost = {}
    for number, (name, program, arguments, workers) in enumerate(BUILDS):
        place = folder / f"build_{number}"
        document = job(album, place / "out", workers=workers, **ANNOTATED)
        cost[name] = run(program, place, document, *arguments).timeline.work_cpu_s / count
    return cost
