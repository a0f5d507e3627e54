"""Why a worker of Ray died, as far as notes tell; no Ray is started."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from engine.core.errors import WorkerDied
from engine.execution.ray_runner import _Notes, died
from engine.execution.watch import GRACE_S


@pytest.mark.parametrize(
    ("limit_s", "took_s", "reason"),
    [
        (60, 60 + GRACE_S + 1, "stage_timeout"),  # the timer of the system ended the process
        (60, 60 + GRACE_S - 1, "process_died"),  # it had time left
        (math.inf, 1000, "process_died"),  # between two blocks: there is no timer
        (None, 1000, "process_died"),  # it died before its first block
    ],
)
def test_a_worker_is_too_long_in_a_block_or_died_of_something_else(
    limit_s: float | None, took_s: float, reason: str
) -> None:
    assert died(WorkerDied("exit code 7"), limit_s, took_s).reason == reason


def test_the_time_since_the_last_note_counts_and_not_that_of_the_whole_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times_s = iter([0.0, 50.0, 55.0, 120.0])
    clock = SimpleNamespace(monotonic=lambda: next(times_s))
    monkeypatch.setattr("engine.execution.ray_runner.time", clock)
    notes = _Notes()
    for limit_s in (60, math.inf, 60):
        notes.put(1, limit_s)
    assert notes.last(1) == (60, 65.0)


def test_a_call_without_notes_has_none() -> None:
    notes = _Notes()
    notes.put(1, 60)
    assert notes.last(2)[0] is None
