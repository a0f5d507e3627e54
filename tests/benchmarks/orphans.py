"""What is left when the driver is killed in the middle of a build?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.children import DRIVER, Child, running
from tests.benchmarks.jobs import ANNOTATED, job
from tests.benchmarks.marks import FIRST_IMAGE
from tests.benchmarks.photographs import take_photographs
from tests.benchmarks.table import Row

IMAGES = 150
BUSY_S = 5.0
"""Seconds that the specialists work before the driver is killed."""
POLL_S = 0.05
PATIENCE_S = 120.0
LIMIT_WORK_S = 10.0
LIMIT_GONE_S = 65.0
"""Two agents of Ray, without work, try for 60 s to report that their node is gone: a constant of
Ray's (`publish_error_to_driver`)."""


def measure(folder: Path, images: int | None) -> Iterator[Row]:
    """Kill the driver while real specialists work, and watch what it leaves behind."""
    album = take_photographs(folder / "photographs", images or IMAGES)
    place = folder / "build"
    with running(DRIVER, place, job(album, place / "out", **ANNOTATED)) as child:
        _wait_for_work(child)
        child.process.kill()
        worked_s, gone_s = _watch(child)
    how = "kill -9 of the driver after 5 s of work; a worker works while it uses CPU"
    yield Row(what="specialists work on for", value=worked_s, unit="s", limit=LIMIT_WORK_S, how=how)
    yield Row(what="last process is gone after", value=gone_s, unit="s", limit=LIMIT_GONE_S)


def _wait_for_work(child: Child) -> None:
    while not child.marks.exists() or not child.timeline.of(FIRST_IMAGE):
        if child.process.poll() is not None:
            raise RuntimeError(f"the build ended early: {child.messages.read_text()[-2000:]}")
        child.family.members()
        time.sleep(POLL_S)
    time.sleep(BUSY_S)
    child.family.members()


def _watch(child: Child) -> tuple[float, float]:
    """Return seconds until no worker used CPU any more, and until nothing was left."""
    killed_s = time.monotonic()
    workers = child.timeline.workers
    worked_s = 0.0
    used: dict[int, float] = {}
    while (elapsed_s := time.monotonic() - killed_s) < PATIENCE_S:
        members = child.family.members()
        if not members:
            return worked_s, elapsed_s
        now = {process.pid: process.cpu_s for process in members if process.pid in workers}
        if any(cpu_s > used.get(pid, cpu_s) for pid, cpu_s in now.items()):
            worked_s = elapsed_s
        used = now
        time.sleep(POLL_S)
    return worked_s, PATIENCE_S
