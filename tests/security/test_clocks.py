"""Clocks that step: nothing but the lease decides by one, and no byte depends on one."""

from __future__ import annotations

import ast
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.building import BRIGHT_ENOUGH, DESCRIBED
from tests.security.points import files_of, whole_build

pytestmark = pytest.mark.attack("faults")

ROOT = Path(__file__).parents[2]
KEYS: dict[str, Any] = {"specialists": DESCRIBED, "filters": BRIGHT_ENOUGH, "shard_size": 3}
READS_THE_CLOCK = {
    "engine/storage/lease.py": "a doubt only: a lease that looks old is watched",
    "engine/execution/log.py": "the times in run.log, which is no part of what a dataset promises",
    "specialists/online/failure.py": "a date in Retry-After, which `longest_wait_s` bounds",
}
WALL = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime", "ctime", "strftime"}
"""Functions of `time` and `datetime` that a step of the clock changes."""


@pytest.mark.parametrize("seed", range(3))
def test_a_build_under_a_clock_that_jumps_gives_the_same_bytes(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    whole_build(album, tmp_path / "steady", **KEYS)
    chance, now = random.Random(seed), time.time
    monkeypatch.setattr(time, "time", lambda: max(0.0, now() + chance.uniform(-2e9, 2e9)))
    monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9))
    whole_build(album, tmp_path / "out", **KEYS)
    whole_build(album, tmp_path / "out", **KEYS)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "steady")


def clocks_of(path: Path) -> Iterator[str]:
    """Yield what a module calls of the clocks that step."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in ("time", "datetime", "date") and node.attr in WALL:
                yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{name.name}" for name in node.names if name.name in WALL)


def test_only_the_lease_decides_by_a_clock_that_steps() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for room in ("engine", "pipelines", "specialists")
        for path in (ROOT / room).rglob("*.py")
        if list(clocks_of(path))
    }
    assert readers == set(READS_THE_CLOCK)
