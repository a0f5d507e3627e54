"""What is freed between blocks in use goes back to the system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from florilegium.engine.execution import unused_memory
from florilegium.engine.execution.unused_memory import UnusedMemory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is of glibc")
KIB = 1024
BLOCKS = 2000


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_memory_between_blocks_in_use_goes_back_to_the_system() -> None:
    unused = UnusedMemory(after_cpu_s=0)
    blocks = [b"x" * (20 * KIB) for _ in range(BLOCKS)]
    kept = blocks[::4]
    unused.give_back()
    before_kib = resident_kib()
    del blocks
    assert unused.give_back()
    freed_kib = before_kib - resident_kib()
    assert freed_kib > 0.5 * (BLOCKS - len(kept)) * 20


def test_it_is_given_back_after_each_second_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    times_cpu_s = iter([100.0, 100.9, 101.1, 101.9, 102.2])
    monkeypatch.setattr(unused_memory.time, "process_time", lambda: next(times_cpu_s))
    unused = UnusedMemory(after_cpu_s=1.0)
    assert [unused.give_back() for _ in range(4)] == [False, True, False, True]


def test_another_libc_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unused_memory.ctypes, "CDLL", lambda name: object())
    assert not UnusedMemory(after_cpu_s=0).give_back()
