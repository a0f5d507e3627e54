"""The peak memory of a process is its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from florilegium.engine.core.peak_memory import peak_mib

_CHILD = "from florilegium.engine.core.peak_memory import peak_mib; print(peak_mib())"
_FREED = f"{_CHILD}; held = b'x' * (64 << 20); del held; print(peak_mib())"


def _printed(program: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return [float(line) for line in done.stdout.split()]


def test_memory_that_was_freed_counts() -> None:
    before, after = _printed(_FREED)
    assert after >= before + 32


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not tell it")
def test_a_child_does_not_begin_with_the_peak_of_its_parent() -> None:
    held = bytearray(256 << 20)
    held[::4096] = b"x" * len(held[::4096])
    (own,) = _printed(_CHILD)
    assert own < 200 < peak_mib()
    assert held
