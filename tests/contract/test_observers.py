"""Every runner reports the same facts about the same build."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from florilegium.engine.core.spent import Spent
from florilegium.engine.execution.observer import (
    CallFinished,
    Fact,
    Observer,
    PoolsSeen,
    SamplesAnswered,
    ShardFinished,
    ShardOpened,
    ShardsSkipped,
    WorkerLost,
    WorkersStarted,
    WorkFound,
)
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.progress import Progress
from florilegium.engine.execution.run import execute
from tests.building import DESCRIBED, configure


class Facts(Observer):
    """Keeps all facts."""

    def __init__(self) -> None:
        self.all: list[Fact] = []

    def observe(self, fact: Fact) -> None:
        self.all.append(fact)

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.all if isinstance(fact, kind)]


def facts_of(album: Path, output: Path, **keys: Any) -> Facts:
    facts = Facts()
    execute(prepare(configure(album, output, **keys)), Progress(), observer=facts)
    return facts


@pytest.fixture(params=["in_process", "local", "ray"])
def any_runner(request: pytest.FixtureRequest) -> dict[str, object]:
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return {"kind": request.param, "workers": 1}


def test_each_runner_reports_shards_calls_and_what_stages_did(
    album: Path, tmp_path: Path, any_runner: dict[str, object]
) -> None:
    trouble = {"use": "tests.stages:Trouble", "key": "cup", "how": "refuse", "batch_size": 2}
    keys: dict[str, Any] = {"runner": any_runner, "shard_size": 6}
    facts = facts_of(album, tmp_path, specialists={**DESCRIBED, "trouble": trouble}, **keys)
    assert facts.of(WorkFound) == [WorkFound(shards=2, stages=("bright", "trouble", "describe"))]
    assert facts.of(WorkersStarted) == [WorkersStarted()]
    assert {(one.shard, one.inputs, one.unread) for one in facts.of(ShardOpened)} == {
        ("000000", 6, 0),
        ("000001", 6, 0),
    }
    assert {one.shard: one.stats.samples for one in facts.of(ShardFinished)} in (
        {"000000": 5, "000001": 6},
        {"000000": 6, "000001": 5},
    )
    calls = facts.of(CallFinished)
    assert all(0 < timing.seconds <= call.seconds for call in calls for timing in call.timings)
    asked, failures, answered = Counter[str](), Counter[str](), Counter[str]()
    for timing in (timing for call in calls for timing in call.timings):
        asked[timing.stage] += timing.samples
        failures[timing.stage] += timing.failures
        assert max(timing.batch_samples) <= (2 if timing.stage == "trouble" else 8)
        assert timing.spent == Spent()
    for one in facts.of(SamplesAnswered):
        answered[one.stage] += one.samples
    assert asked == {"bright": 12, "trouble": 12, "describe": 11}, "it reads what failed on one"
    assert answered == {"bright": 12, "trouble": 12, "describe": 12}
    assert +failures == {"trouble": 1}
    assert {load.pool for seen in facts.of(PoolsSeen) for load in seen.pools} == {"cpu"}
    again = facts_of(album, tmp_path, specialists={**DESCRIBED, "trouble": trouble}, **keys)
    assert [type(fact) for fact in again.all] == [ShardsSkipped, WorkFound]


def test_a_worker_that_dies_is_reported_with_its_stage(
    album: Path, tmp_path: Path, runner: dict[str, object]
) -> None:
    poisoned = {"use": "tests.stages:Trouble", "key": "flower", "how": "die"}
    facts = facts_of(album, tmp_path, runner=runner, specialists={"poisoned": poisoned})
    lost = facts.of(WorkerLost)
    assert [one.samples for one in lost][-1] == 1
    assert {(one.shard, one.pool, one.stages, one.reason) for one in lost} == {
        ("000000", "cpu", ("poisoned",), "process_died")
    }
