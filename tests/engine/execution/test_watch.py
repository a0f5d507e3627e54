from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from florilegium.engine.core.errors import SampleError, WorkerDied, WorkerStuck
from florilegium.engine.execution import watch
from florilegium.engine.execution.watch import GRACE_S, Doing, Watch, memory_mb


@pytest.fixture(autouse=True)
def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Keep the timer of the system from ending the tests; return what it was set to."""
    seconds: list[float] = []
    monkeypatch.setattr(watch, "TICK_S", 0.01)
    monkeypatch.setattr(signal, "setitimer", lambda _, left_s: seconds.append(left_s))
    return seconds


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """An event for which a call waits; it comes at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def doing(seconds: float) -> Doing:
    return Doing(
        what=lambda: "stage 'slow', asked about cat,", seconds=seconds,
        limit="limits.stage_seconds",
        reason="stage_timeout", stage="slow", samples=(3,),
    )  # fmt: skip


def within(one: Watch, seconds: float, work: Callable[[], object]) -> object:
    def limited() -> object:
        with one.over(doing(seconds)):
            return work()

    return one.call("stages", limited)


def refuse() -> None:
    raise SampleError("too_ugly", "no")


def test_a_call_returns_what_it_returns_and_raises_what_it_raises() -> None:
    assert within(Watch(), 60, lambda: 7) == 7
    with pytest.raises(SampleError, match="no"):
        within(Watch(), 60, refuse)


@pytest.mark.attack("hangs")
def test_a_call_that_takes_too_long_is_left_with_what_it_was_at(
    released: threading.Event,
) -> None:
    with pytest.raises(WorkerStuck) as stuck:
        within(Watch(), 0.05, released.wait)
    message = "stage 'slow', asked about cat, took longer than limits.stage_seconds = 0.05 seconds"
    assert str(stuck.value).startswith(message)
    known = (stuck.value.reason, stuck.value.stage, stuck.value.samples)
    assert known == ("stage_timeout", "slow", (3,))


@pytest.mark.attack("memory")
def test_a_call_whose_process_has_too_much_memory_is_left(released: threading.Event) -> None:
    with pytest.raises(WorkerStuck, match=r"more memory than limits.worker_memory_mb = 1") as stuck:
        within(Watch(memory_mb=1), 60, released.wait)
    assert (stuck.value.reason, stuck.value.samples) == ("out_of_memory", (3,))


def test_unused_memory_goes_back_while_a_call_runs_and_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_back: list[bool] = []
    during = threading.Event()

    def give_back(_: object) -> None:
        given_back.append(during.is_set())
        during.set()

    monkeypatch.setattr(watch.UnusedMemory, "give_back", give_back)
    assert within(Watch(), 60, lambda: during.wait(60))
    assert given_back[:2] == [False, True]


def test_a_process_is_spent_when_it_keeps_more_memory_than_it_may_have() -> None:
    assert Watch(memory_mb=1).is_spent
    assert not Watch(memory_mb=1_000_000).is_spent
    assert not Watch().is_spent


@pytest.mark.attack("hangs")
def test_the_system_ends_a_process_that_gives_python_no_turn(timers: list[float]) -> None:
    within(Watch(), 60, lambda: None)
    first, last = timers
    assert GRACE_S + 59 < first < GRACE_S + 62
    assert last == 0, "nothing goes on any more"


def test_many_blocks_set_the_timer_seldom(timers: list[float]) -> None:
    one = Watch()

    def work() -> None:
        for _ in range(50):
            with one.over(doing(60)):
                pass

    one.call("stages", work)
    assert len(timers) < 5


def test_of_two_calls_the_one_that_ends_first_sets_the_timer(
    timers: list[float], released: threading.Event
) -> None:
    one, is_inside = Watch(), threading.Event()

    def stay() -> None:
        is_inside.set()
        released.wait()

    other = threading.Thread(target=within, args=(one, 30, stay))
    other.start()
    is_inside.wait()
    within(one, 600, lambda: None)
    released.set()
    other.join()
    assert max(timers) < GRACE_S + 32


def test_the_limit_of_each_block_is_noted_in_the_thread_that_asks_for_it() -> None:
    one, notes = Watch(), list[float]()

    def work() -> None:
        for seconds in (60, 7):
            with one.over(doing(seconds)):
                notes.append(-seconds)

    one.call("io", one.noting, notes.append, work)
    assert notes == [60, -60, math.inf, 7, -7, math.inf]
    one.call("io", work)
    assert notes[6:] == [-60, -7]


def test_outside_of_a_call_nothing_is_limited(timers: list[float]) -> None:
    with Watch().over(doing(0)):
        pass
    assert timers == []


@pytest.mark.attack("hangs")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_error_that_would_end_the_process_is_a_death(error: type[BaseException]) -> None:
    def leave() -> None:
        raise error

    with pytest.raises(WorkerDied, match=error.__name__):
        Watch().call("stages", leave)


@pytest.mark.attack("hangs")
def test_what_the_engine_does_between_two_blocks_ends_too(released: threading.Event) -> None:
    """As where a stage's answer runs code of its own when it is forgotten."""
    one = Watch(own_seconds=0.05)

    def work() -> None:
        with one.over(doing(60)):
            pass
        released.wait()

    with pytest.raises(WorkerStuck, match=r"longer than limits.shard_seconds = 0.05") as stuck:
        one.call("stages", work)
    assert (stuck.value.reason, stuck.value.samples) == ("shard_timeout", ())


@pytest.mark.attack("memory")
def test_a_call_that_ends_while_it_is_checked_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it keeps is told by `is_spent`, where the stages are known."""
    is_checked, one = threading.Event(), Watch(memory_mb=1)

    def measured() -> float:
        is_checked.set()
        for thread in threading.enumerate():
            if thread.name.startswith("stages"):
                while thread.ident in one._watched:
                    time.sleep(0.001)
        time.sleep(0.01)  # until it is known to be over
        return 2.0

    monkeypatch.setattr(watch, "memory_mb", measured)
    assert within(one, 60, lambda: is_checked.wait(60))
    assert one.is_spent


@pytest.mark.attack("memory")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_the_memory_of_processes_that_were_started_here_counts() -> None:
    before = memory_mb()
    code = "held = b'x' * (200 << 20); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert memory_mb() > before + 200
        process.kill()
