"""Why a worker of Ray died, as far as notes tell; no Ray is started."""

from __future__ import annotations

import asyncio
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from florilegium.engine.core.errors import RunError, WorkerDied
from florilegium.engine.execution.actor_pool import ActorPool
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.ray_runner import (
    RayRunner,
    _init_options,
    _Notes,
    died,
    start_ray,
)
from florilegium.engine.execution.reply import Reply
from florilegium.engine.execution.watch import GRACE_S
from florilegium.engine.execution.worker import Ran
from florilegium.engine.planning.config import RunnerConfig
from florilegium.engine.planning.pools import Pool
from tests.building import configure


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


def test_the_threads_of_a_worker_share_one_arena_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started_with: list[str] = []
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda **_: started_with.append(os.environ["MALLOC_ARENA_MAX"]))
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert start_ray(RunnerConfig())
    assert os.environ["MALLOC_ARENA_MAX"] == "4"
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    assert start_ray(RunnerConfig())
    assert started_with == ["4", "1"]
    assert "MALLOC_ARENA_MAX" not in os.environ  # programs that the user starts have their own


def test_a_ray_that_does_not_start_in_time_is_an_error_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", late)
    with pytest.raises(RunError, match=r"cannot start a Ray: The current node timed out"):
        start_ray(RunnerConfig())
    with pytest.raises(RunError, match=r"cannot reach Ray at 'auto': The current node"):
        start_ray(RunnerConfig(address="auto"))


def test_only_a_ray_of_our_own_forgets_calls_at_once() -> None:
    """One that is joined has settings of its own, and Ray refuses others."""
    own, joined = (_init_options(address, None, 80) for address in ("local", "auto"))
    assert own["_system_config"] == {"task_events_report_interval_ms": 0}
    assert "_system_config" not in joined


def test_the_time_since_the_last_note_counts_and_not_that_of_the_whole_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times_s = iter([0.0, 50.0, 55.0, 120.0])
    clock = SimpleNamespace(monotonic=lambda: next(times_s))
    monkeypatch.setattr("florilegium.engine.execution.ray_runner.time", clock)
    notes = _Notes()
    for limit_s in (60, math.inf, 60):
        notes.put(1, limit_s)
    assert notes.last(1) == (60, 65.0)


def test_a_call_without_notes_has_none() -> None:
    notes = _Notes()
    notes.put(1, 60)
    assert notes.last(2)[0] is None


def test_a_call_that_is_made_again_as_its_node_is_gone_counts_its_repeats(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ActorDiedError()
    gone.error_msg = "The actor died because its node has died."
    ran = Reply(value=Ran(part=b"", timings=()))
    answers: list[Reply | Exception] = [gone, gone, ran, ran]

    async def answered(*_: object, **options: object) -> Reply:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ready(*_: object) -> Reply:
        return Reply()

    actor = SimpleNamespace(
        load=SimpleNamespace(remote=ready),
        node=SimpleNamespace(remote=ready),
        run=SimpleNamespace(remote=answered),
    )
    monkeypatch.setattr("ray.kill", lambda actor: None)
    run = prepare(configure(album, tmp_path))
    runner = RayRunner(run.config, run.graph, layers=run.layers, output=run.output)
    work = SimpleNamespace(shard=SimpleNamespace(name="000000"))
    opened: Any = SimpleNamespace(work=work, images=None, packed=None)

    async def repeats() -> list[int]:
        pool = ActorPool(Pool(name="cpu", size=1), lambda: actor, None)
        monkeypatch.setattr(runner, "_pools", SimpleNamespace(pool=lambda name: pool))
        return [(await runner.run("cpu", opened, ["bright"], [0])).repeats for _ in range(2)]

    assert asyncio.run(repeats()) == [2, 0]
