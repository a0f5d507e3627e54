from __future__ import annotations

import logging
from pathlib import Path

import pytest

from florilegium.engine.execution.observer import (
    Fact,
    Observer,
    Observers,
    PoolLoad,
    RunFailed,
    RunStarted,
    RunStopped,
    WorkersStarted,
    WorkFound,
    observed,
)
from florilegium.engine.execution.preparation import prepare
from florilegium.engine.execution.run import started
from tests.building import configure

STARTED = RunStarted(sources=("a",), output="b", recipe="c", runner="local", started_s=0.0)


class Keeping(Observer):
    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def observe(self, fact: Fact) -> None:
        self.facts.append(fact)


class Failing(Keeping):
    def observe(self, fact: Fact) -> None:
        super().observe(fact)
        raise OSError("no route to the collector")


def test_an_optional_one_that_fails_is_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own, failing, other = Keeping(), Failing(), Keeping()
    both = Observers(own, optional=[failing, other])
    facts = [WorkersStarted(), WorkFound(shards=1, stages=("a",))]
    with caplog.at_level(logging.WARNING):
        for fact in facts:
            both.observe(fact)
    assert own.facts == other.facts == facts
    assert failing.facts == facts[:1]
    assert [record.message for record in caplog.records] == [
        "Failing failed at WorkersStarted and gets no further facts"
    ]


def test_an_observer_of_the_run_itself_may_end_it() -> None:
    with pytest.raises(OSError, match="no route"):
        Observers(Failing()).observe(WorkersStarted())


@pytest.mark.parametrize(
    ("error", "end"), [(ValueError("broken"), RunFailed), (KeyboardInterrupt(), RunStopped)]
)
def test_how_a_run_ends_is_reported(error: BaseException, end: type[Fact]) -> None:
    keeping = Keeping()
    with pytest.raises(type(error)), observed(keeping, STARTED):
        raise error
    assert keeping.facts[0] == STARTED
    assert [type(fact) for fact in keeping.facts[1:]] == [end]
    assert getattr(keeping.facts[1], "error", error) is error


def test_the_start_of_a_run_names_urls_without_secrets(album: Path, tmp_path: Path) -> None:
    run = prepare(configure(f"{album}", tmp_path / "out"))
    fact = started(run, step="round 1")
    assert fact.output == str(tmp_path / "out")
    assert fact.sources == (str(album),)
    assert (fact.recipe, fact.runner, fact.step) == (run.graph.recipe, "in_process", "round 1")


@pytest.mark.parametrize(("calls", "running", "queued"), [(0, 0, 0), (2, 2, 0), (7, 4, 3)])
def test_calls_beyond_the_width_of_a_pool_are_queued(calls: int, running: int, queued: int) -> None:
    load = PoolLoad(pool="cpu", width=4, calls=calls)
    assert (load.running, load.queued) == (running, queued)
