from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from florilegium.pipelines.terminal import stopping
from florilegium.pipelines.terminal.stopping import STOPPED, Stop, stoppable

pytestmark = pytest.mark.attack("hangs")


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """An entry for each time that the process would have ended at once."""
    found: list[bool] = []
    monkeypatch.setattr(Stop, "end_now", lambda stop: found.append(stop.is_asked))
    # A shell starts what runs in its background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield found
    signal.signal(signal.SIGINT, before)


def watchers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if "_watch" in one.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_raises_keyboard_interrupt_in_the_block(
    number: signal.Signals, ends: list[bool]
) -> None:
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


def test_a_second_signal_ends_the_process_at_once(ends: list[bool]) -> None:
    with stoppable():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        for thread in watchers():
            thread.join()
        assert ends == [True]


def test_slow_cleanup_after_a_signal_is_killed(
    ends: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "PATIENCE_S", 0.01)
    with stoppable():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        for thread in watchers():
            thread.join()
        assert ends == [True]


def test_a_signal_that_is_ignored_stays_ignored(ends: list[bool]) -> None:
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
