"""The calls of a build, from the log that the stages write, and what the kills cost.

A line of the log is about one call of a stage. Those that one worker makes about the same images,
one stage after another, are one call of the engine, and are lost together.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Asked = tuple[str, str]
"""A stage and the key of an image: what is paid for."""
DELIVERY_S = 2.0
"""Seconds in which the answers of a call arrive, at most, and are stored."""


DRIVER = "driver"
"""The kind of disturbance in which the driver dies, and all workers with it."""


@dataclass(kw_only=True)
class Call:
    """A call of a stage; one that never ended has no `ended_s`. All times are monotonic."""

    pid: int
    stage: str
    keys: tuple[str, ...]
    begun_s: float
    ended_s: float | None = None

    @property
    def asked(self) -> list[Asked]:
        """The stage and each of the images."""
        return [(self.stage, key) for key in self.keys]


@dataclass(kw_only=True)
class Strike:
    """A disturbance: its kind, when it happened, and the workers that died of it."""

    kind: str
    at_s: float
    pids: frozenset[int] = frozenset()
    in_flight: frozenset[Asked] = frozenset()
    repeated: list[Asked] = field(default_factory=list)
    excess: list[Asked] = field(default_factory=list)
    """What was repeated without having been in flight."""
    recovered_s: float = 0.0
    """Seconds until all that was in flight was answered."""


class CallLog:
    """The log of the calls, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._open: dict[int, Call] = {}
        self.calls: list[Call] = []
        self.answered: set[Asked] = set()

    def update(self) -> None:
        """Read what was written since."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))

    def busy(self) -> dict[int, Call]:
        """Return the call that each process is at, by process id."""
        return dict(self._open)

    def _take(self, line: Mapping[str, object]) -> None:
        pid, at_s = int(str(line["pid"])), float(str(line["at_s"]))
        if "ended" in line:
            call = self._open.pop(pid)
            call.ended_s = at_s
            self.answered.update(call.asked)
            return
        keys = line["keys"]
        assert isinstance(keys, list)
        call = Call(pid=pid, stage=str(line["stage"]), keys=tuple(keys), begun_s=at_s)
        self._open[pid] = call
        self.calls.append(call)


def count_repeats(calls: Sequence[Call], strikes: Sequence[Strike]) -> None:
    """Find for each strike what was in flight, what was repeated, and when that was answered."""
    of_process = defaultdict(list)
    for call in calls:
        of_process[call.pid].append(call)
    for strike in strikes:
        lost = [_last(of_process[pid], strike.at_s) for pid in strike.pids]
        if strike.kind == DRIVER:  # what it had received is lost unless it was stored
            lost += [_recent(of_process[pid], strike.at_s) for pid in strike.pids]
        strike.in_flight = frozenset(asked for group in lost for asked in group)
    _count(calls, strikes)
    for strike in strikes:
        strike.recovered_s = _recovered_s(calls, strike)


def _last(calls: Sequence[Call], at_s: float) -> set[Asked]:
    """Return what a process was asked in its last call, unless that was over long before."""
    if not calls or (calls[-1].ended_s or at_s) < at_s - DELIVERY_S:
        return set()
    group: set[Asked] = set()
    for call in reversed(calls):
        keys = {key for _, key in group}
        if group and (keys.isdisjoint(call.keys) or not group.isdisjoint(call.asked)):
            break
        group.update(call.asked)
    return group


def _recent(calls: Sequence[Call], at_s: float) -> set[Asked]:
    """Return what a process has answered so late that it need not be stored yet."""
    return {
        asked
        for call in calls
        if call.ended_s is not None and at_s - DELIVERY_S < call.ended_s
        for asked in call.asked
    }


def _count(calls: Sequence[Call], strikes: Sequence[Strike]) -> None:
    last: dict[Asked, Call] = {}
    left = Counter((index, one) for index, strike in enumerate(strikes) for one in strike.in_flight)
    for call in sorted(calls, key=lambda one: one.begun_s):
        for asked in call.asked:
            before = last.get(asked)
            last[asked] = call
            if before is None:
                continue
            index = _cause(before, call, strikes)
            strikes[index].repeated.append(asked)
            left[index, asked] -= 1
            if left[index, asked] < 0:
                strikes[index].excess.append(asked)


def _cause(before: Call, again: Call, strikes: Sequence[Strike]) -> int:
    """Return the strike of which the process died that was asked before, or the last one."""
    killed = [index for index, one in enumerate(strikes) if before.pid in one.pids]
    earlier = [index for index, one in enumerate(strikes) if one.at_s < again.begun_s]
    return (killed or earlier or [0])[-1]


def _recovered_s(calls: Sequence[Call], strike: Strike) -> float:
    first: dict[Asked, float] = {}
    for asked, ended_s in _ends(calls):
        if ended_s > strike.at_s:
            first[asked] = min(ended_s, first.get(asked, ended_s))
    return max((first[one] - strike.at_s for one in strike.in_flight if one in first), default=0.0)


def _ends(calls: Sequence[Call]) -> Iterator[tuple[Asked, float]]:
    for call in calls:
        if call.ended_s is not None:
            for asked in call.asked:
                yield asked, call.ended_s
