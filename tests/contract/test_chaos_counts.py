"""What is counted as repeated, and as in flight; nothing is started or killed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chaos.calls import Call, CallLog, Strike, count_repeats

FIRST, SECOND = 11, 12


def call(pid: int, stage: str, *keys: str, begun_s: float, ended_s: float | None = None) -> Call:
    return Call(pid=pid, stage=stage, keys=keys, begun_s=begun_s, ended_s=ended_s)


BEFORE = [
    call(FIRST, "red", "a", "b", begun_s=0, ended_s=1),
    call(FIRST, "blue", "a", "b", begun_s=1, ended_s=2),
    call(FIRST, "red", "c", "d", begun_s=2, ended_s=3),
    call(FIRST, "blue", "c", "d", begun_s=3),
]
AGAIN = [
    call(SECOND, "red", "c", "d", begun_s=6, ended_s=7),
    call(SECOND, "blue", "c", "d", begun_s=7, ended_s=8),
]


def killed(*pids: int, kind: str = "worker") -> Strike:
    return Strike(kind=kind, at_s=3.5, pids=frozenset(pids))


def test_all_stages_of_the_last_call_of_a_killed_process_were_in_flight() -> None:
    strike = killed(FIRST)
    count_repeats([*BEFORE, *AGAIN], [strike])
    assert strike.in_flight == {("red", "c"), ("red", "d"), ("blue", "c"), ("blue", "d")}
    assert sorted(strike.repeated) == sorted(strike.in_flight)
    assert strike.excess == []
    assert strike.recovered_s == 4.5


def test_what_was_answered_before_the_last_call_may_not_be_repeated() -> None:
    strike = killed(FIRST)
    count_repeats([*BEFORE, call(SECOND, "blue", "a", begun_s=6, ended_s=7)], [strike])
    assert strike.excess == [("blue", "a")]


def test_what_was_in_flight_may_be_repeated_once_for_each_kill() -> None:
    strike = killed(FIRST)
    count_repeats([*BEFORE, *AGAIN, call(SECOND, "red", "c", begun_s=9, ended_s=10)], [strike])
    assert strike.excess == [("red", "c")]
    both = [killed(FIRST), Strike(kind="node", at_s=8.2, pids=frozenset({SECOND}))]
    count_repeats([*BEFORE, *AGAIN, call(13, "red", "c", begun_s=9, ended_s=10)], both)
    assert [one.excess for one in both] == [[], []]


def test_what_a_living_process_is_asked_again_was_not_in_flight() -> None:
    full = killed(kind="store")
    count_repeats([BEFORE[0], call(SECOND, "red", "a", begun_s=6, ended_s=7)], [full])
    assert full.excess == [("red", "a")]


def test_an_idle_process_had_nothing_in_flight() -> None:
    strike = killed(FIRST)
    count_repeats([call(FIRST, "red", "a", begun_s=0, ended_s=1)], [strike])
    assert strike.in_flight == set()


def test_a_line_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    log = CallLog(tmp_path / "log")
    log.update()
    lines = [
        json.dumps({"at_s": at_s, "pid": FIRST, "stage": "red", "keys": ["a"], what: True}) + "\n"
        for at_s, what in ((1.0, "begun"), (2.0, "ended"))
    ]
    (tmp_path / "log").write_text(lines[0] + lines[1][:9])
    log.update()
    assert (log.answered, [*log.busy()]) == (set(), [FIRST])
    (tmp_path / "log").write_text("".join(lines))
    log.update()
    assert (log.answered, log.busy()) == ({("red", "a")}, {})
    assert [(one.begun_s, one.ended_s) for one in log.calls] == [(1.0, 2.0)]
