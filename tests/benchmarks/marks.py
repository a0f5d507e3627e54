"""Moments of a run, written down by whichever process lives through them.

A mark has a time and the CPU-seconds that each process of the run has used by then. What comes
after start-up is counted per process: from a worker's first image on, when its models are loaded.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.processes import Family

STARTED = "started"
"""The first process of the run begins; the first mark of every run."""
FIRST_IMAGE = "first_image"
"""A worker has loaded its models and hands its first image to the first stage."""
SHARD = "shard"
"""A shard is published."""
FINISHED = "finished"
"""The dataset is complete."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment: what happened, in which process, when, and the CPU-seconds by process id."""

    what: str
    pid: int
    time_s: float
    cpu_s: dict[int, float]


def mark(path: str | Path, what: str) -> None:
    """Append a mark to the file of a run; the run is the family of the one who marked first."""
    root = _root(Path(path))
    now = Mark(
        what=what, pid=os.getpid(), time_s=time.monotonic(), cpu_s=Family(root).cpu_s_by_pid()
    )
    line = json.dumps(asdict(now)) + "\n"
    with open(path, "ab", buffering=0) as file:
        file.write(line.encode())


def _root(path: Path) -> int:
    with path.open("a+") as file:
        file.seek(0)
        first = file.readline()
    return int(json.loads(first)["pid"]) if first else os.getpid()


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The marks of one run, in their order."""

    marks: tuple[Mark, ...]

    @classmethod
    def read(cls, path: Path) -> Timeline:
        """Read the marks of a run, also of one that is still going on."""
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["cpu_s"] = {int(pid): seconds for pid, seconds in row["cpu_s"].items()}
        return cls(marks=tuple(sorted((Mark(**row) for row in rows), key=lambda one: one.time_s)))

    def of(self, what: str) -> list[Mark]:
        """Return the marks of one kind."""
        return [one for one in self.marks if one.what == what]

    @property
    def workers(self) -> set[int]:
        """The process ids of the workers that have begun."""
        return {one.pid for one in self.of(FIRST_IMAGE)}

    @property
    def work_s(self) -> float:
        """Seconds from the first image of the first worker to the last shard."""
        return self.of(SHARD)[-1].time_s - self.of(FIRST_IMAGE)[0].time_s

    @property
    def work_cpu_s(self) -> float:
        """CPU-seconds of all processes from start-up to the last shard."""
        begun = {one.pid: one.cpu_s.get(one.pid, 0.0) for one in self.of(FIRST_IMAGE)}
        before = self.of(FIRST_IMAGE)[0].cpu_s | begun
        after = self.of(SHARD)[-1].cpu_s
        return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items())

    def steady(self) -> tuple[float, float]:
        """Return CPU-seconds and seconds per shard, without the first quarter of the shards."""
        first, last, count = self._steady_shards()
        cpu_s = sum(last.cpu_s.values()) - sum(first.cpu_s.values())
        return cpu_s / count, (last.time_s - first.time_s) / count

    def driver_s(self) -> float:
        """Return CPU-seconds of the first process per shard, without the first quarter of them."""
        first, last, count = self._steady_shards()
        driver = self.of(STARTED)[0].pid
        return (last.cpu_s[driver] - first.cpu_s[driver]) / count

    def _steady_shards(self) -> tuple[Mark, Mark, int]:
        """Return the marks of two shards, and how many were finished after the first of them."""
        shards = self.of(SHARD)
        return shards[len(shards) // 4], shards[-1], len(shards) - 1 - len(shards) // 4
