"""What processes cost, from the operating system (Linux: /proc).

A `Family` is a process with everything that descends from it, remembered by process id and
start time, so that members which outlive their parents, as after `kill -9`, still count.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


class Process(NamedTuple):
    """A line of the process table. `cpu_s` includes children that ended and were waited for."""

    pid: int
    parent: int
    started: int
    cpu_s: float
    is_zombie: bool


@dataclass
class Family:
    """A process and all of its descendants."""

    root: int
    _started: dict[int, int] = field(default_factory=dict)

    def members(self) -> list[Process]:
        """Return who is alive now, the root first."""
        table = {process.pid: process for process in _process_table()}
        alive = [table[pid] for pid in self._known(table)]
        for process in alive:
            born = [other for other in table.values() if other.parent == process.pid]
            alive += [child for child in born if child not in alive]
        self._started |= {process.pid: process.started for process in alive}
        return [process for process in alive if not process.is_zombie]

    def cpu_s_by_pid(self) -> dict[int, float]:
        """Return the CPU-seconds that each member has used, by process id."""
        return {process.pid: process.cpu_s for process in self.members()}

    def memory_bytes(self) -> int:
        """Return the memory of all members together; what they share counts once."""
        return sum(_proportional_set_size(process.pid) for process in self.members())

    def _known(self, table: dict[int, Process]) -> list[int]:
        known = self._started or {self.root: table[self.root].started if self.root in table else 0}
        return [pid for pid, start in known.items() if pid in table and table[pid].started == start]


class Peak:
    """The largest value of something that is watched."""

    def __init__(self) -> None:
        self.memory_bytes = 0


@contextmanager
def watched(family: Family, *, interval_s: float = 0.25) -> Iterator[Peak]:
    """Watch the memory of a family while the block runs."""
    peak, stop = Peak(), threading.Event()

    def watch() -> None:
        while not stop.wait(interval_s):
            peak.memory_bytes = max(peak.memory_bytes, family.memory_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def load_average() -> float:
    """Return how many processes wanted to run in the last minute, on average."""
    return os.getloadavg()[0]


def _process_table() -> Iterator[Process]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                yield _parsed((entry / "stat").read_text())


def _parsed(stat: str) -> Process:
    """Parse `/proc/PID/stat` (man 5 proc); the name in parentheses may hold anything."""
    pid, _, rest = stat.partition(" (")
    state, parent, *numbers = rest.rpartition(") ")[2].split()
    return Process(
        pid=int(pid),
        parent=int(parent),
        started=int(numbers[17]),
        cpu_s=sum(map(int, numbers[9:13])) / _TICKS_PER_S,
        is_zombie=state in "ZX",
    )


def _proportional_set_size(pid: int) -> int:
    with suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
