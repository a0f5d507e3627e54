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
    unused = UnusedMemory(after_s=0)
    blocks = [b"x" * (20 * KIB) for _ in range(BLOCKS)]
    kept = blocks[::4]
    unused.give_back()
    before_kib = resident_kib()
    del blocks
    assert unused.give_back()
    freed_kib = before_kib - resident_kib()
    assert freed_kib > 0.5 * (BLOCKS - len(kept)) * 20


def test_it_is_not_given_back_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    times_s = iter([100.0, 101.0, 102.5, 103.0])
    monkeypatch.setattr(unused_memory.time, "monotonic", lambda: next(times_s))
    unused = UnusedMemory(after_s=2.0)
    assert [unused.give_back() for _ in range(3)] == [False, True, False]


def test_another_libc_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unused_memory.ctypes, "CDLL", lambda name: object())
    assert not UnusedMemory(after_s=0).give_back()
