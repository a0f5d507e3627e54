"""Limits of time and memory on what a worker process does, held while it does it.

A call runs in a thread of its own, and its caller checks every quarter of a second whether it
is within its limits. Code that never gives Python a turn is ended by the system: a timer that no
Python has to answer kills the process. Either way the owner replaces the process.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from florilegium.engine.core.errors import WorkerDied, WorkerStuck
from florilegium.engine.core.image.header import OUT_OF_MEMORY
from florilegium.engine.execution.answer import SHARD_TIMEOUT
from florilegium.engine.execution.unused_memory import UnusedMemory
from florilegium.engine.execution.worker_log import about

T = TypeVar("T")
Note = Callable[[float], object]
"""Stores, outside of the process, the seconds that a block may take from now on; infinite between
two blocks."""

TICK_S = 0.25
"""Seconds between looks at a call."""
GRACE_S = 5.0
"""Seconds beyond a limit after which the system ends the process."""
NO_TURN = "it went beyond its time and never gave Python a turn"
"""Why a process ended when its timer went off."""
_SLACK_S = 1.0
_LONGEST_S = 1e8  # the most that a timer of the system holds
_MB = 1 << 20


class Doing(NamedTuple):
    """What a call is at, and the seconds that it may take.

    `what` describes it for people, `limit` names the option; the rest as in `WorkerDied`.
    """

    what: Callable[[], str]
    seconds: float
    limit: str
    reason: str
    stage: str = ""
    samples: tuple[int, ...] = ()
    spot: tuple[int, int, bool] | None = None

    def overdue(self) -> WorkerStuck:
        """Return the error of a call that took too long."""
        message = f"{self.what()} took longer than {self.limit} = {self.seconds:g} seconds allows"
        return self._stuck(message, self.reason)

    def too_large(self, memory_mb: int) -> WorkerStuck:
        """Return the error of a call whose process took too much memory."""
        message = (
            f"{self.what()} took more memory than limits.worker_memory_mb = {memory_mb} allows"
        )
        return self._stuck(message, OUT_OF_MEMORY)

    def _stuck(self, message: str, reason: str) -> WorkerStuck:
        return WorkerStuck(
            message, reason=reason, stage=self.stage, samples=self.samples, spot=self.spot
        )


class Watch:
    """The calls of one process, each with what it is at. `over` outside of `call` limits nothing:
    a worker in the process of a debugger may wait as long as it likes. What is done between two
    blocks, where nothing should take long, has `own_seconds`."""

    def __init__(self, *, memory_mb: int | None = None, own_seconds: float = math.inf) -> None:
        self._memory_mb = memory_mb
        self._own = Doing(
            what=lambda: "what the engine does between the calls of stages",
            seconds=own_seconds,
            limit="limits.shard_seconds",
            reason=SHARD_TIMEOUT,
        )
        self._own_since: dict[int, float] = {}  # by thread, when its last block ended
        self._threads = {
            name: ThreadPoolExecutor(thread_name_prefix=name) for name in ("stages", "io")
        }
        self._unused_memory = UnusedMemory()  # which counts for the limit until it is given back
        self._doing: dict[int, tuple[float, Doing]] = {}  # by thread, with the time it ends
        self._notes: dict[int, Note] = {}  # by thread
        self._watched: set[int] = set()
        self._timer_s = 0.0  # when the system ends the process, unless set again; 0 for never

    def call(self, threads: str, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a function in a thread (`stages` or `io`) and return its result.

        Raises:
            WorkerStuck: it goes beyond its limits and is still running.
            WorkerDied: it raised `SystemExit` or the like.
        """
        is_done = threading.Event()
        thread: list[int] = []

        def run() -> T:
            own = threading.get_ident()
            self._own_since[own] = time.monotonic()
            self._watched.add(own)
            thread.append(own)  # from now on it is checked
            try:
                return function(*arguments, **options)
            finally:
                self._watched.discard(own)
                is_done.set()

        future = self._threads[threads].submit(run)
        while not is_done.wait(TICK_S):
            self._unused_memory.give_back()
            try:
                if thread:
                    self._check(thread[0])
            except WorkerStuck:
                if not is_done.is_set():  # else it ended meanwhile: `is_spent` tells of its memory
                    raise
        self._unused_memory.give_back()
        self._set_timer()
        try:
            return future.result()
        except Exception:
            raise
        except BaseException as error:
            raise WorkerDied(f"a {type(error).__name__} that no stage should raise") from None

    def noting(self, note: Note, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function, and note the limit of each block in its thread."""
        thread = threading.get_ident()
        self._notes[thread] = note
        try:
            return function(*arguments)
        finally:
            del self._notes[thread]

    def over(self, doing: Doing) -> AbstractContextManager[None]:
        """Limit the block, in the thread of a call; what it logs names the stage."""
        return _Block(self, doing)

    def _begin(self, thread: int, doing: Doing) -> None:
        """Note what a call is at from now on."""
        if note := self._notes.get(thread):
            note(doing.seconds)
        self._doing[thread] = (time.monotonic() + doing.seconds, doing)
        self._set_timer()

    def _end(self, thread: int) -> None:
        """Note that a call is between two blocks."""
        self._own_since[thread] = time.monotonic()
        del self._doing[thread]
        if note := self._notes.get(thread):
            note(math.inf)

    @property
    def is_spent(self) -> bool:
        """Whether the process keeps more memory than its limit after a call has ended."""
        return self._memory_mb is not None and memory_mb() > self._memory_mb

    def _check(self, thread: int) -> None:
        self._set_timer()
        end_s, doing = self._doing.get(thread) or (0.0, self._own)
        if doing is self._own:  # read after the block was seen to be over
            end_s = self._own_since[thread] + self._own.seconds
        if self._memory_mb is not None and memory_mb() > self._memory_mb:
            raise doing.too_large(self._memory_mb)
        if time.monotonic() > end_s:
            raise doing.overdue()

    def _set_timer(self) -> None:
        """Have the system end the process some time after the earliest limit.

        There are thousands of blocks: a timer that is set a little late is left as it is.
        """
        ends = [end_s for end_s, _ in list(self._doing.values())]
        if not ends:
            if self._timer_s:
                self._timer_s = 0.0
                signal.setitimer(signal.ITIMER_REAL, 0)
            return
        earliest_s = min(ends) + GRACE_S
        if not earliest_s <= self._timer_s <= earliest_s + _SLACK_S:
            self._timer_s = earliest_s + _SLACK_S
            left_s = max(self._timer_s - time.monotonic(), GRACE_S)
            signal.setitimer(signal.ITIMER_REAL, min(left_s, _LONGEST_S))


class _Block(AbstractContextManager[None]):
    """The block of `Watch.over`. There is one for every batch of a stage: a generator would cost
    three times as much."""

    __slots__ = ("_about", "_doing", "_thread", "_watch")

    def __init__(self, watch: Watch, doing: Doing) -> None:
        self._watch = watch
        self._doing = doing
        self._about = about(stage=doing.stage)
        self._thread: int | None = None

    def __enter__(self) -> None:
        thread = threading.get_ident()
        if thread in self._watch._watched:
            self._thread = thread
            self._watch._begin(thread, self._doing)
        self._about.__enter__()

    def __exit__(self, *raised: object) -> None:
        self._about.__exit__()
        if self._thread is not None:
            self._watch._end(self._thread)


def memory_mb() -> float:
    """Return the memory in MiB of this process and, on Linux, of those that its stages started,
    without what they share with others."""
    import psutil

    memory = psutil.Process(os.getpid()).memory_info()
    mine_mb = (memory.rss - getattr(memory, "shared", 0)) / _MB
    return mine_mb + sum(map(_unshared_mb, started_by(os.getpid())))


def started_by(pid: int) -> Iterator[int]:
    """Yield the processes that one started, and those that they started, as Linux knows them."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it ended meanwhile
            for child in map(int, task.read_bytes().split()):
                yield child
                yield from started_by(child)


def _unshared_mb(pid: int) -> float:
    """Return what would be free if a process ended; of a fork, not what it only looks at."""
    import psutil

    try:
        return psutil.Process(pid).memory_full_info().uss / _MB
    except (psutil.Error, OSError):  # it ended meanwhile, or is another user's
        return 0.0
