"""CPUs and memory that this process may use, by its affinity and its cgroup: a container may have
less than its machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
_MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit and use of a cgroup of version 2 and of version 1, and what `memory.stat` calls its cache.
"""


def usable_cpus(cgroup: Path = CGROUP) -> int:
    """Return how many CPUs this process may use at once: by its affinity and its cgroup."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cpus = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    for folder in _own_cgroups(cgroup, "cpu"):
        quota, period = _quota(folder)
        if quota > 0:
            cpus = min(cpus, max(1, round(quota / period)))
    return cpus


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Return the bytes of memory that the cgroup of this process allows; `None` without limit."""
    names = ("memory.max", "memory.limit_in_bytes")
    texts = [_read(folder / name) for folder in _own_cgroups(cgroup, "memory") for name in names]
    limits = [int(text) for text in texts if text.isdecimal()]
    return min(limits, default=None)


def memory_left(cgroup: Path = CGROUP) -> int | None:
    """Return the bytes that the cgroup of this process may still take; `None` without limit. Files
    that were read and can be dropped do not count as taken."""
    left: list[int] = []
    for folder in _own_cgroups(cgroup, "memory"):
        for most, used, cache in _MEMORY_FILES:
            limit, taken = _read(folder / most), _read(folder / used)
            if limit.isdecimal() and taken.isdecimal():
                lines = (line.split() for line in _read(folder / "memory.stat").splitlines())
                cached = next((int(value) for name, value in lines if name == cache), 0)
                left.append(max(0, int(limit) - max(0, int(taken) - cached)))
    return min(left, default=None)


def _own_cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroup, up to the root, of version 2 and of version 1."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = root / controller if controllers else root
        own = base / path.lstrip("/")
        yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(base))
    yield from (root, root / controller)


def _quota(folder: Path) -> tuple[float, float]:
    """Return the microseconds of CPU time in each period of so many; 0 without limit."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not period:
        quota = _read(folder / "cpu.cfs_quota_us")
        period = _read(folder / "cpu.cfs_period_us")
    is_limited = quota.isdecimal() and period.isdecimal()
    return (float(quota), float(period)) if is_limited else (0.0, 1.0)


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:  # another version, or another system
        return ""
