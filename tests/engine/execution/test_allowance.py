"""CPUs and memory, as a container limits them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from florilegium.engine.execution import allowance
from florilegium.engine.execution.allowance import memory_left, memory_limit, usable_cpus

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "9900000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_cpus_are_those_that_affinity_and_cgroup_allow(
    tmp_path: Path, files: dict[str, str], cpus: int
) -> None:
    write(tmp_path, files)
    assert usable_cpus(tmp_path) == cpus


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"memory.max": "max"}, None),
        ({"memory.max": "1073741824"}, 1 << 30),
        ({"memory/memory.limit_in_bytes": "2147483648"}, 1 << 31),
    ],
)
def test_memory_is_limited_by_the_cgroup(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    write(tmp_path, files)
    assert memory_limit(tmp_path) == limit


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n")


def test_memory_that_a_cgroup_has_taken_is_not_free(tmp_path: Path) -> None:
    assert memory_left(tmp_path) is None
    stat = "anon 1\ninactive_file 100"
    write(tmp_path, {"memory.max": "1000", "memory.current": "700", "memory.stat": stat})
    assert memory_left(tmp_path) == 1000 - (700 - 100)


def test_a_limit_of_a_folder_above_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "jobs" / "mine"
    own.mkdir(parents=True)
    (own / "cpu.max").write_text("max 100000\n")
    (tmp_path / "jobs" / "cpu.max").write_text("400000 100000\n")
    read = allowance._read
    monkeypatch.setattr(
        allowance,
        "_read",
        lambda path: "0::/jobs/mine" if path == Path("/proc/self/cgroup") else read(path),
    )
    assert usable_cpus(tmp_path) == 4
