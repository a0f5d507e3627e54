from __future__ import annotations

import signal
import threading

import pytest

from pipelines import stopping
from pipelines.stopping import STOPPED, stoppable

pytestmark = pytest.mark.attack("hangs")


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals with which the process would have ended at once."""
    found: list[int] = []
    monkeypatch.setattr(stopping, "_end", found.append)
    return found


def watchers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if "_watch" in one.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_raised_in_what_runs(number: signal.Signals, ends: list[int]) -> None:
    before = signal.getsignal(number)
    with stoppable() as stop:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert stop.is_asked
        watching = watchers()
    for thread in watching:
        thread.join()
    assert ends == [], "it came to its end by itself"
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_the_process_at_once(ends: list[int]) -> None:
    with stoppable():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        for thread in watchers():
            thread.join()
        assert ends == [signal.SIGTERM]


def test_tidying_up_that_takes_too_long_ends_with_the_process(
    ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "PATIENCE_S", 0.01)
    with stoppable():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        for thread in watchers():
            thread.join()
        assert ends == [signal.SIGINT]


def test_a_signal_that_is_ignored_stays_ignored(ends: list[int]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.is_asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_without_a_signal_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    with stoppable() as stop, pytest.raises(SystemExit) as ended:
        stop.end()
    assert ended.value.code == 130
    assert capsys.readouterr().err == f"{STOPPED}\n"
